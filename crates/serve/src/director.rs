//! The thread that directs a story: takes requests, drives the engine, saves every chunk and shows
//! it.
//!
//! What directors ask is answered in `director/asks.rs`, who pays is in `director/paying.rs`, and what
//! everybody is told in `director/telling.rs`. The thread owns the story. Requests come
//! over a bounded channel, the engine's events over another; everything a viewer sees goes out over
//! the story's [`Stream`].

mod asks;

mod paying;

mod telling;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use shotstream_engine::error::SessionError;
use shotstream_engine::event::{Command, Event, EventReceiver, channel};
use shotstream_engine::meter::{Meter, Stage};
use shotstream_engine::story::StoryState;
use shotstream_media::Frame;
use shotstream_plan::geometry::PixelFrames;
use shotstream_plan::script::Rewrite;
use shotstream_story::StoryError;
use shotstream_story::camera::Camera;
use shotstream_story::memory::{Context, state_before};
use shotstream_story::record::{Asked, Hash, Pin, Record, TakeId};
use shotstream_story::replay::script_of;
use shotstream_story::tree::{Story, Take};

use crate::error::ApiError;
use crate::hub::Hub;
use crate::live::{Letter, Live, Pace};
use crate::protocol::Said;
use crate::spans::Session;
use crate::strain::Strain;
use crate::stream::{Place, Stream};
use crate::view::{Timings, millis};

/// How often a thread that waits for the engine looks for requests.
const LOOK: Duration = Duration::from_millis(4);

/// How often an idle thread looks whether it is still needed.
const IDLE: Duration = Duration::from_millis(100);

/// Commands that may wait while the engine makes a chunk: each is written to the disk before, so
/// that there is no time for as many.
const COMMANDS: usize = 1024;

/// Chunks the engine may have decoded before they are taken.
const CHUNKS_AHEAD: usize = 2;

/// The engine on its thread, with both ends of its channels.
struct Engine {
    commands: SyncSender<Command>,
    events: EventReceiver,
    /// Frames of the stream before the engine's first.
    base: u64,
}

/// The take that is being made.
struct Running {
    take: TakeId,
    camera: Camera,
    /// When it could begin.
    asked: Instant,
}

/// The thread's side of a [`Live`].
pub(crate) struct Director {
    hub: Arc<Hub>,
    id: String,
    story: Story,
    stream: Stream,
    pace: Pace,
    /// The key of whoever began the session, and so pays for takes that nobody else asked for.
    key: Option<Hash>,
    live: Arc<Live>,
    engine: Option<Engine>,
    running: Option<Running>,
    spans: Session,
    meter: Arc<Meter>,
    strain: Strain,
    /// What takes are conditioned on, once it cannot change any more.
    contexts: BTreeMap<TakeId, Context>,
    /// The take the engine made last, and the state it left.
    after: Option<(TakeId, StoryState)>,
    /// The key of whoever pays for the take that is being made.
    payer: Option<Hash>,
    /// The take of which was said last that it waits for frames, and how many heard it.
    told: (TakeId, usize),
}

impl Director {
    /// A thread's worth of a story, before it runs.
    pub(crate) fn new(
        hub: Arc<Hub>,
        id: &str,
        story: Story,
        stream: Stream,
        live: Arc<Live>,
        (pace, key): (Pace, Option<Hash>),
    ) -> Self {
        let spans = hub.spans.session(id, hub.recipe().denoising_steps().len());
        Self {
            hub,
            id: id.to_owned(),
            story,
            stream,
            pace,
            key,
            live,
            engine: None,
            running: None,
            meter: Arc::new(spans.meter()),
            spans,
            strain: Strain::default(),
            contexts: BTreeMap::new(),
            after: None,
            payer: None,
            told: (0, 0),
        }
    }

    /// Direct until nobody does any more.
    pub(crate) fn direct(mut self, letters: &Receiver<Letter>) {
        self.hub.metrics.sessions_active.inc();
        let mut wanted = Instant::now();
        while !self.live.stopping.load(Ordering::Acquire) {
            if 0 < self.live.directors.load(Ordering::Acquire) {
                wanted = Instant::now();
            }
            let needed = match self.pace {
                Pace::Free => self.story.next_to_make().is_some(),
                Pace::Viewer => wanted.elapsed() < self.hub.config.linger,
            };
            if !needed {
                break;
            }
            let patience = if self.running.is_some() { LOOK } else { IDLE };
            if self.running.is_none() {
                if self.begin() {
                    continue;
                }
                // What chunks took when others were made besides says nothing any more.
                self.strain = Strain::default();
                self.live.strain.store(0, Ordering::Relaxed);
            }
            let mut letter = letters.recv_timeout(patience);
            while let Ok(Letter { ask, key, answer }) = letter {
                // Whoever asked may be gone.
                let _ = answer.send(self.take_ask(&ask, key));
                letter = letters.try_recv().map_err(|_| RecvTimeoutError::Timeout);
            }
            self.watch();
        }
        if self.hub.draining.load(Ordering::Acquire) {
            self.stream.say(&Said::Draining);
        }
    }

    /// Begin the next take that waits; whether there was one that may be made.
    fn begin(&mut self) -> bool {
        let Some(take) = self.story.next_to_make().cloned() else { return false };
        let begun = match self.may_make(&take) {
            Ok(false) => return false,
            Ok(true) => self.try_begin(&take),
            Err(error) => Err(error),
        };
        if let Err(error) = begun {
            self.fail(take.id, error);
        }
        true
    }

    fn try_begin(&mut self, take: &Take) -> Result<(), StoryError> {
        let asked = Instant::now();
        let hub = self.hub.clone();
        let recipe = hub.recipe();
        let chunks = match take.cut_asked {
            true => take.chunks.len().max(1),
            false => recipe.chunks_from_shot(PixelFrames(take.asked.frames))?,
        };
        let camera = Camera::new(take, recipe)?;
        let at_hand = self.after.take().filter(|(last, story)| {
            let Asked { pins, pictures, cast, .. } = &take.asked;
            let nothing = pins.is_empty() && pictures.is_empty() && cast.is_empty();
            let held = !story.pins.is_empty() || !story.pictures.is_empty();
            Some(*last) == take.parent && nothing && !held
        });
        let state = match at_hand {
            Some(_) if self.engine.is_some() => None,
            Some((_, story)) => Some(story),
            None => Some(state_before(&self.story, take, recipe, hub.store.blobs())?),
        };
        let engine = self.engine.take().map_or_else(|| self.start_engine(), Ok)?;
        self.make_room(&engine);
        self.strain.room_since = None;
        let goes_to = state.map(|story| Command::GoTo { story: Box::new(story) });
        let shot = Command::AddShot { shot: script_of(take, chunks, recipe) };
        for command in goes_to.into_iter().chain([shot]) {
            engine.commands.try_send(command).map_err(|_| engine_gone())?;
        }
        self.engine = Some(engine);
        self.running = Some(Running { take: take.id, camera, asked });
        Ok(())
    }

    fn start_engine(&self) -> Result<Engine, StoryError> {
        let (commands, receiver) = sync_channel(COMMANDS);
        let (sender, events) = channel(CHUNKS_AHEAD);
        let (teller, meter) = (self.hub.teller.clone(), self.meter.clone());
        let tell = move || {
            teller.tell(&mut StoryState::default(), &receiver, &sender, &meter);
        };
        let started = thread::Builder::new().name("session".to_owned()).spawn(tell);
        started.map_err(SessionError::Thread)?;
        Ok(Engine { commands, events, base: self.stream.frame() })
    }

    /// Tell the engine how far the viewer is; up to which frame of the stream it may go.
    fn make_room(&self, engine: &Engine) -> u64 {
        if self.pace == Pace::Free {
            return u64::MAX;
        }
        let allowed = self.live.shown.load(Ordering::Relaxed) + self.hub.ahead();
        engine.events.allow(allowed.saturating_sub(engine.base) as usize);
        allowed
    }

    /// Take what the engine has made.
    fn watch(&mut self) {
        if let Some(engine) = &self.engine {
            let room = self.make_room(engine);
            let next = self.stream.frame() + self.hub.ahead() / 2;
            if next <= room {
                self.strain.room_since.get_or_insert_with(Instant::now);
            }
        }
        while let (Some(running), Some(engine)) = (&self.running, &self.engine) {
            let take = running.take;
            let seen = match engine.events.recv_timeout(LOOK) {
                Ok(event) => self.see(take, event),
                Err(RecvTimeoutError::Timeout) => return,
                Err(RecvTimeoutError::Disconnected) => Err(engine_gone()),
            };
            if let Err(error) = seen {
                self.engine = None;
                self.after = None;
                self.fail(take, error);
            }
            if self.live.stopping.load(Ordering::Acquire) {
                return;
            }
        }
    }

    fn see(&mut self, take: TakeId, event: Event) -> Result<(), StoryError> {
        match event {
            Event::ShotStarted { plan, prompt, unknown_words, dropped_tokens, .. } => {
                let context = self.story.take(take).map(|take| self.hub.context(&self.story, take));
                let context = context.unwrap_or_default();
                let pin = |(take, frame)| Pin { take, frame };
                self.stream.say(&Said::Started {
                    take,
                    shot: plan.shot,
                    frame: self.stream.frame(),
                    prompt,
                    frames: plan.frames.0,
                    context: context.frames.into_iter().map(pin).collect(),
                    pictures: context.pictures,
                    unknown_words,
                    dropped_tokens,
                });
                Ok(())
            }
            Event::Rewritten { chunk, caption, prompt, unknown_words, dropped_tokens, .. } => {
                // Before any chunk that is made under them.
                let rewrite = Rewrite { after_chunks: chunk, caption: caption.clone() };
                self.write(&Vec::from_iter(self.story.rewritten(take, rewrite)))?;
                self.stream.say(&Said::Rewritten {
                    take,
                    chunk,
                    caption,
                    prompt,
                    unknown_words,
                    dropped_tokens,
                });
                self.update();
                Ok(())
            }
            Event::Frames { frames, .. } => self.keep(&frames),
            Event::ShotFinished { story, frames, cut, .. } => {
                let Some(running) = self.running.take() else { return Ok(()) };
                let unused = self.story.take(take).and_then(|take| take.rewrite_asked.clone());
                if let Some(caption) = unused {
                    self.stream.say(&Said::NotRewritten { take, caption });
                }
                let record = running.camera.finish(&story, self.hub.store.blobs())?;
                self.write(&[record])?;
                self.after = Some((take, story));
                self.stream.say(&Said::Finished { take, frames, cut });
                self.update();
                Ok(())
            }
            Event::Refused { error, .. } => Err(StoryError::Edit(error.to_string())),
            Event::Failed { error } => Err(error.into()),
            Event::NotRewritten { .. } | Event::Latents { .. } | Event::Finished => Ok(()),
        }
    }

    /// Save a chunk, then show it.
    fn keep(&mut self, frames: &[Frame]) -> Result<(), StoryError> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let (take, start) = (running.take, Instant::now());
        let blobs = self.hub.store.blobs();
        let footage = self.meter.time(Stage::Encode, || running.camera.shoot(frames, blobs))?;
        let first = (footage.chunk == 0).then(|| running.asked.elapsed());
        let frame = self.stream.frame();
        match footage.record {
            Some(record) => self.write(&[record])?,
            None => self.pass_on(),
        }
        let place = Place { take, chunk: footage.chunk };
        // Said before it is sent: who has seen it may say so at once.
        let end = frame + footage.packets.len() as u64;
        self.live.sent.store(end, Ordering::Release);
        let chunk = self.spans.chunk(&self.meter, place);
        let shown = self.stream.show(place, &footage.packets, chunk.sent())?;
        chunk.end();
        let save = start.elapsed();
        self.hub.metrics.save(save);
        self.hub.metrics.chunks.inc();
        self.hub.metrics.frames.inc_by(frames.len() as u64);
        match first {
            Some(first) => self.hub.metrics.first_frame(first),
            // Where nobody watches, nothing can stutter.
            None if self.pace == Pace::Free => {}
            None => {
                let fps = f64::from(self.hub.recipe().frames_per_second());
                let shown = Duration::from_secs_f64(frames.len() as f64 / fps);
                self.live.strain.store(self.strain.note(shown), Ordering::Relaxed);
            }
        }
        let made = self.story.take(take).and_then(|take| take.chunks.get(footage.chunk));
        if let Some(made) = made {
            self.stream.say(&Said::Made {
                take,
                chunk: footage.chunk,
                frames: frames.len(),
                frame,
                rgb: made.rgb,
                picture: made.picture,
                timings: Timings {
                    first_frame_ms: first.map(millis),
                    save_ms: millis(save),
                    stages: self.stages(),
                },
            });
        }
        self.live.shared().newest = Some(shown);
        self.publish();
        Ok(())
    }

    fn fail(&mut self, take: TakeId, error: StoryError) {
        self.running = None;
        self.spans.forget();
        // As a request would be told, which does not say where files lie.
        let reason = ApiError::from(error).body.message;
        let record = Record::Failed { take, reason: reason.clone() };
        if self.write(&[record]).is_err() {
            // The disk is gone: there is nothing left to do here but to say so and stop.
            self.live.stopping.store(true, Ordering::Release);
        }
        self.stream.say(&Said::Failed { take, reason });
        self.update();
    }
}

fn engine_gone() -> StoryError {
    StoryError::Failed("the engine stopped unexpectedly, this is a defect".to_owned())
}
