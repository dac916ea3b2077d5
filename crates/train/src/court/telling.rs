//! One shot of a story, told by a session of the engine.

use std::{sync::mpsc::sync_channel, thread};

use shotstream_engine::{
    event::{Command, Event, channel},
    meter::Meter,
    session::{self, Networks, Settings},
    story::StoryState,
};
use shotstream_media::Frame;

use super::{Court, CourtDenoiser, CourtError};

/// Chunks that may wait for the judge.
const CHUNKS_AHEAD: usize = 2;

/// The frames of the next shot of a story.
pub(super) fn shoot<D: CourtDenoiser>(
    court: &Court<D>,
    settings: &Settings,
    story: &mut StoryState,
    caption: &str,
) -> Result<Vec<Frame>, CourtError> {
    let (asks, commands) = sync_channel(1);
    asks.send(Command::add_shot(caption)).map_err(|_| CourtError::Unheard)?;
    drop(asks);
    let (sender, events) = channel(CHUNKS_AHEAD);
    let Court { text, denoiser, decoder, encoder, .. } = court;
    let networks = &Networks { text, denoiser, decoder, encoder };
    let meter = &Meter::default();
    thread::scope(|scope| {
        let teller = thread::Builder::new().name("session".to_owned());
        let tell = move || session::run(networks, settings, story, &commands, &sender, meter);
        teller.spawn_scoped(scope, tell)?;
        let mut shot = Vec::new();
        for event in events {
            match event {
                Event::Frames { frames, .. } => shot.extend(frames),
                Event::Refused { error, .. } => return Err(error.into()),
                Event::Failed { error } => return Err(error.into()),
                Event::Finished => return Ok(shot),
                _ => {}
            }
        }
        Err(CourtError::Unheard)
    })
}
