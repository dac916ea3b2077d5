//! A directed story made again from its words and seeds alone, every chunk held to its hash.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::thread;

use shotstream_engine::error::SessionError;
use shotstream_engine::event::{Command, Event, EventReceiver, channel};
use shotstream_engine::meter::Meter;
use shotstream_engine::story::StoryState;
use shotstream_plan::recipe::Recipe;
use shotstream_plan::script::ShotScript;

use crate::blobs::Blobs;
use crate::camera::hash_of;
use crate::error::StoryError;
use crate::memory::{Frames, state_with};
use crate::record::TakeId;
use crate::teller::Teller;
use crate::tree::{Story, Take};

/// Chunks that may wait to be compared.
const CHUNKS_AHEAD: usize = 2;

/// What a replay found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Takes that were made again.
    pub takes: usize,
    /// Chunks of them.
    pub chunks: usize,
    /// Chunks with other frames than when they were made.
    pub differing: Vec<(TakeId, usize)>,
}

/// What a take of `chunks` chunks asks of the engine.
pub fn script_of(take: &Take, chunks: usize, recipe: &Recipe) -> ShotScript {
    let frames = Some(recipe.geometry().shot_from_chunks(chunks));
    let (caption, seed) = (take.asked.caption.clone(), Some(take.asked.seed));
    ShotScript { caption, frames, seed, then: take.words_to_make(chunks) }
}

/// Make every complete take again, after what was made again, and compare. Of what is kept only the
/// latents of pictures are read from `blobs`, which nobody can make again.
///
/// # Errors
/// When the engine fails.
pub fn replay(story: &Story, blobs: &Blobs, teller: &dyn Teller) -> Result<Replayed, StoryError> {
    let (commands, receiver) = sync_channel(2);
    let (sender, events) = channel(CHUNKS_AHEAD);
    thread::scope(|scope| {
        let tell = move || {
            let mut state = StoryState::default();
            teller.tell(&mut state, &receiver, &sender, &Meter::default())
        };
        let worker = thread::Builder::new().name("session".to_owned());
        worker.spawn_scoped(scope, tell).map_err(SessionError::Thread)?;
        let recipe = &teller.settings().recipe;
        let mut remembered: BTreeMap<TakeId, Frames> = BTreeMap::new();
        let mut replayed = Replayed::default();
        // Dropping the events, also on the way out with an error, is what ends the session.
        let events = events;
        for take in story.takes().iter().filter(|take| take.is_finished()) {
            let frames = |take: &Take| Ok(remembered.get(&take.id).cloned().unwrap_or_default());
            let state = Box::new(state_with(story, take, recipe, blobs, frames)?);
            let shot = script_of(take, take.chunks.len(), recipe);
            for command in [Command::GoTo { story: state }, Command::AddShot { shot }] {
                commands.send(command).map_err(|_| ended())?;
            }
            let story = compare(take, &events, &mut replayed)?;
            let past = story.shots.get(&take.shot).map(|past| past.frames.clone());
            remembered.insert(take.id, past.unwrap_or_default());
            replayed.takes += 1;
        }
        Ok(replayed)
    })
}

/// Watch one take to its end; its state afterwards.
fn compare(
    take: &Take,
    events: &EventReceiver,
    replayed: &mut Replayed,
) -> Result<StoryState, StoryError> {
    while let Ok(event) = events.recv() {
        match event {
            Event::Frames { chunk, frames, .. } => {
                replayed.chunks += 1;
                if take.chunks.get(chunk).map(|chunk| chunk.rgb) != Some(hash_of(&frames)) {
                    replayed.differing.push((take.id, chunk));
                }
            }
            Event::ShotFinished { story, .. } => return Ok(story),
            Event::Refused { error, .. } => return Err(StoryError::Edit(error.to_string())),
            Event::Failed { error } => return Err(error.into()),
            Event::ShotStarted { .. }
            | Event::Rewritten { .. }
            | Event::NotRewritten { .. }
            | Event::Latents { .. }
            | Event::Finished => {}
        }
    }
    Err(ended())
}

fn ended() -> StoryError {
    StoryError::Failed("the session ended early, this is a defect".to_owned())
}
