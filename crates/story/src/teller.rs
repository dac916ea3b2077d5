//! Whoever can tell a story: the engine with some networks.

use std::sync::mpsc::Receiver;

use shotstream_engine::event::{Command, EventSender};
use shotstream_engine::meter::Meter;
use shotstream_engine::network::{Latents, NetworkError, Pixels};
use shotstream_engine::session::{Ending, Settings};
use shotstream_engine::story::StoryState;

/// The engine with networks of some kind, shared by all sessions.
pub trait Teller: Send + Sync {
    /// How stories are told.
    fn settings(&self) -> &Settings;

    /// What the model is called.
    fn name(&self) -> &str;

    /// A picture as shots remember it: `[1, 3, H, W]` in `[-1, 1]` to latents `[1, C, h, w]`.
    ///
    /// # Errors
    /// When the network fails or sizes do not agree.
    fn remember(&self, picture: &Pixels) -> Result<Latents, NetworkError>;

    /// Tell a story on this thread; see [`shotstream_engine::session::run`].
    fn tell(
        &self,
        story: &mut StoryState,
        commands: &Receiver<Command>,
        events: &EventSender,
        meter: &Meter,
    ) -> Ending;
}
