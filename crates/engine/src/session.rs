//! A story, told on the calling thread: prompts in, frames out, one shot after another.
//!
//! [`run`] opens a second thread for the decoder; `Teller::tell` is the whole life of a story,
//! top to bottom. A prompt may come at any moment and takes effect at the next shot.
//!
//! Method: ShotStream, arXiv 2603.25746, inference.

use std::any::Any;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Instant;

use shotstream_plan::held::Held;
use shotstream_plan::plan::{PlanError, ShotPlan, plan_held_shot};
use shotstream_plan::recipe::Recipe;
use shotstream_plan::script::{Rewrite, ShotScript, check_caption, check_rewrites};

use crate::context::{context_latents, context_prompts, endings};
use crate::decode::{DecoderLine, DecoderWork, Job, Remembered, ShotStart, line};
use crate::error::{SessionError, Stop};
use crate::event::{Command, Event, EventSender, ViewerLeft};
use crate::inbox::{Inbox, Next, Wish};
use crate::meter::{Meter, Metered};
use crate::network::{Decoder, Denoiser, FrameEncoder, Latents, StoryDenoiser, TextEncoder};
use crate::noise::{Noise, NoiseAddress};
use crate::prompt::{Prompt, PromptCache};
use crate::rollout::{Border, ShotInput, rollout};
use crate::schedule::Schedule;
use crate::story::{PastShot, Rewritten, StoryState};

/// The networks a story is told with.
#[derive(Debug)]
pub struct Networks<'a, T, D, V, E> {
    /// Prompts to embeddings.
    pub text: &'a T,
    /// Noise to latents.
    pub denoiser: &'a D,
    /// Latents to frames.
    pub decoder: &'a V,
    /// Frames to latents.
    pub encoder: &'a E,
}

/// How a story is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Sizes, steps and memory.
    pub recipe: Recipe,
    /// Channels of a latent frame.
    pub latent_channels: usize,
    /// Where noise comes from.
    pub noise: Noise,
    /// Whether each shot's latents are told as [`Event::Latents`].
    pub capture_latents: bool,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client had no more to ask; [`Event::Finished`] was said.
    Finished,
    /// Nobody watched any more.
    ViewerLeft,
    /// Something went wrong; [`Event::Failed`] says what.
    Failed,
}

/// Tell a story on this thread, shot by shot, until the client finishes it or the viewer leaves.
///
/// `story` is where it goes on from, and holds every finished shot when this returns.
pub fn run<T, D, V, E>(
    networks: &Networks<'_, T, D, V, E>,
    settings: &Settings,
    story: &mut StoryState,
    commands: &Receiver<Command>,
    events: &EventSender,
    meter: &Meter,
) -> Ending
where
    T: TextEncoder<Embedding = D::Embedding>,
    D: StoryDenoiser,
    V: Decoder<Latents = D::Latents>,
    E: FrameEncoder,
{
    let (decoding, desk) = line();
    let size = settings.recipe.geometry().pixels;
    let Networks { decoder, encoder, .. } = *networks;
    let work = DecoderWork { decoder, encoder, events, meter, size };
    let told = thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("decoder".to_owned())
            .spawn_scoped(scope, move || work.run(&desk))
            .map_err(SessionError::Thread)?;
        let denoiser = &Metered { inner: networks.denoiser, meter };
        let reach = settings.recipe.context_frames();
        let teller = Teller {
            settings,
            schedule: Schedule::of(&settings.recipe),
            denoiser,
            prompts: PromptCache::new(networks.text, denoiser, meter, reach + 2),
            inbox: Inbox::new(commands),
            events,
            decoding,
            made: 0,
        };
        let told = teller.tell(story);
        match worker.join() {
            Ok(()) => told,
            Err(panic) => Err(SessionError::DecoderPanicked { reason: last_words(&*panic) }.into()),
        }
    });
    match told {
        Ok(()) => Ending::Finished,
        Err(Stop::ViewerLeft) => Ending::ViewerLeft,
        Err(Stop::Failed(error)) => match events.send(Event::Failed { error }) {
            Ok(()) => Ending::Failed,
            Err(ViewerLeft) => Ending::ViewerLeft,
        },
    }
}

/// A shot about to be made.
struct Shot {
    plan: Arc<ShotPlan>,
    prompt: String,
    seed: u64,
    /// Words that take its caption's place, as they were asked for with it.
    then: Vec<Rewrite>,
}

impl Shot {
    /// The words that were asked for with the shot from a chunk on.
    fn words_from(&self, chunk: usize) -> Option<String> {
        let rewrite = self.then.iter().find(|rewrite| rewrite.after_chunks == chunk);
        rewrite.map(|rewrite| rewrite.caption.clone())
    }
}

/// Other words for the rest of a shot.
struct Words {
    shot: usize,
    /// The first chunk they hold for.
    chunk: usize,
    caption: String,
    prompt: String,
}

impl Words {
    /// Read them and tell the viewer; nothing where they cannot be used.
    fn read<T, D>(
        self,
        prompts: &mut PromptCache<'_, T, D>,
        events: &EventSender,
    ) -> Result<Option<D::TextCache>, Stop>
    where
        T: TextEncoder<Embedding = D::Embedding>,
        D: StoryDenoiser,
    {
        let Self { shot, chunk, caption, prompt } = self;
        if let Err(error) = check_caption(&caption) {
            let error = PlanError::Caption { error, shot };
            events.send(Event::NotRewritten { caption, error })?;
            return Ok(None);
        }
        let Prompt { cache, unknown_words, dropped_tokens } = prompts.get(&prompt)?;
        let rewritten =
            Event::Rewritten { shot, chunk, caption, prompt, unknown_words, dropped_tokens };
        events.send(rewritten)?;
        Ok(Some(cache))
    }
}

/// What the denoiser made of a shot.
#[derive(Default)]
struct Footage {
    chunks: usize,
    /// The clean latents of every chunk, where they are asked for.
    latents: Vec<Latents>,
    /// The prompts that took the place of the first one.
    rewrites: Vec<Rewritten>,
}

/// Everything a story needs while it is told.
struct Teller<'a, T, D: Denoiser> {
    settings: &'a Settings,
    schedule: Schedule,
    denoiser: &'a Metered<'a, D>,
    prompts: PromptCache<'a, T, Metered<'a, D>>,
    inbox: Inbox<'a>,
    events: &'a EventSender,
    decoding: DecoderLine<D::Latents>,
    /// Frames begun in this session.
    made: usize,
}

impl<T, D> Teller<'_, T, D>
where
    T: TextEncoder<Embedding = D::Embedding>,
    D: StoryDenoiser,
{
    /// Tell the story to its end.
    fn tell(mut self, story: &mut StoryState) -> Result<(), Stop> {
        let mut free = Instant::now();
        while let Some(step) = self.inbox.next(self.events)? {
            let request = match step {
                Next::Shot(request) => request,
                Next::GoTo(state) => {
                    *story = *state;
                    continue;
                }
                Next::TooLate(caption) => {
                    let error = PlanError::NothingToRewrite;
                    self.events.send(Event::NotRewritten { caption, error })?;
                    continue;
                }
            };
            let shot = match self.plan(story, &request.shot) {
                Ok(shot) => shot,
                Err(error) => {
                    self.events.send(Event::Refused { caption: request.shot.caption, error })?;
                    continue;
                }
            };
            self.prompts.go_under(&story.global);
            let text = self.announce(&shot)?;
            let (context, seen) = self.recall(story, &shot)?;
            self.start_decoding(story, &shot, request.known.max(free))?;
            let footage = self.shoot(story, &shot, &text, &context)?;
            free = Instant::now();
            self.decoding.send(Job::End { chunks: footage.chunks })?;
            self.read_ahead(story)?;
            let frames = self.decoding.remembered()?;
            self.finish(story, shot, footage, seen, frames)?;
        }
        Ok(self.events.send(Event::Finished)?)
    }

    /// Lay out the next shot.
    fn plan(&self, story: &StoryState, asked: &ShotScript) -> Result<Shot, PlanError> {
        let shot = story.next_shot();
        check_caption(&asked.caption).map_err(|error| PlanError::Caption { error, shot })?;
        let recipe = &self.settings.recipe;
        let frames = asked.frames.unwrap_or(recipe.shot_frames());
        let (pictures, pins) = story.held(recipe.memory());
        let held = Held { pictures, pins: &pins };
        let plan = plan_held_shot(recipe, &story.timeline, frames, held)
            .map_err(|error| PlanError::Frames { error, shot })?;
        check_rewrites(&asked.then, plan.chunks.len())
            .map_err(|error| PlanError::Rewrite { error, shot })?;
        let (plan, prompt) = (Arc::new(plan), story.prompt(recipe, 0, &asked.caption));
        let seed = asked.seed.unwrap_or(story.seed);
        Ok(Shot { plan, prompt, seed, then: asked.then.clone() })
    }

    /// Read the shot's prompt and tell the viewer what comes.
    fn announce(&mut self, shot: &Shot) -> Result<D::TextCache, Stop> {
        let Prompt { cache, unknown_words, dropped_tokens } = self.prompts.get(&shot.prompt)?;
        let (plan, prompt, seed) = (shot.plan.clone(), shot.prompt.clone(), shot.seed);
        let started = Event::ShotStarted { plan, prompt, seed, unknown_words, dropped_tokens };
        self.events.send(started)?;
        Ok(cache)
    }

    /// Show the denoiser the shots before this one.
    fn recall(
        &mut self,
        story: &StoryState,
        shot: &Shot,
    ) -> Result<(D::ContextCache, Latents), Stop> {
        let layout = &shot.plan.context;
        let seen = context_latents(layout, story, self.chunk_shape())?;
        if layout.slots.is_empty() {
            return Ok((self.denoiser.empty_context(), seen));
        }
        let (prompts, slots) = context_prompts(layout, story, &shot.prompt)?;
        let mut texts = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            texts.push(self.prompts.get(&prompt)?.cache);
        }
        let latents = self.denoiser.upload(&seen);
        Ok((self.denoiser.encode_context(&latents, &slots, &texts)?, seen))
    }

    fn start_decoding(&self, story: &StoryState, shot: &Shot, asked: Instant) -> Result<(), Stop> {
        let plan = shot.plan.clone();
        let endings = endings(&self.settings.recipe, &story.timeline, plan.chunks.len());
        self.decoding.send(Job::Start(ShotStart { plan, endings, asked }))
    }

    /// Denoise the shot's chunks and pass them on, until it is complete or cut.
    fn shoot(
        &mut self,
        story: &StoryState,
        shot: &Shot,
        text: &D::TextCache,
        context: &D::ContextCache,
    ) -> Result<Footage, Stop> {
        let (denoiser, settings, events) = (self.denoiser, self.settings, self.events);
        let shape = self.chunk_shape();
        let mut footage = Footage::default();
        let (made, chunks) = (self.made, &shot.plan.chunks);
        let wanted = |chunk: usize| chunks.get(chunk).map(|chunk| made + chunk.frames.end);
        self.inbox.wait_for_room(wanted(0).unwrap_or_default(), events)?;
        let noise = |chunk, step| {
            events.check()?;
            let address = NoiseAddress { shot: shot.plan.shot, chunk, step };
            Ok(denoiser.upload(&settings.noise.draw(shot.seed, address, shape)?))
        };
        let emit = |chunk, clean: &D::Latents| {
            if settings.capture_latents {
                footage.latents.push(denoiser.download(clean));
            }
            footage.chunks += 1;
            self.decoding.send(Job::Chunk { chunk, latents: clean.clone() })?;
            let chunk = chunk + 1;
            let caption = match self.inbox.wish_before(wanted(chunk), events)? {
                Wish::Cut => return Ok(Border::End),
                Wish::Rewrite(caption) => Some(caption),
                Wish::GoOn => shot.words_from(chunk),
            };
            let Some(caption) = caption else { return Ok(Border::GoOn) };
            let prompt = story.prompt(&settings.recipe, 0, &caption);
            let words = Words { shot: shot.plan.shot, chunk, caption, prompt: prompt.clone() };
            let Some(text) = words.read(&mut self.prompts, events)? else {
                return Ok(Border::GoOn);
            };
            let frame = settings.recipe.geometry().chunk_frames(chunk).start;
            footage.rewrites.push(Rewritten { frame, prompt });
            Ok(Border::Rewrite(text))
        };
        let input = ShotInput { chunks: &shot.plan.chunks, text, context };
        rollout::<_, Stop>(denoiser, &input, &self.schedule, noise, emit)?;
        self.made += settings.recipe.geometry().shot_from_chunks(footage.chunks).0;
        Ok(footage)
    }

    /// Read the next prompt, if it has come, while the decoder is still busy with this shot.
    fn read_ahead(&mut self, story: &StoryState) -> Result<(), Stop> {
        if let Some(next) = self.inbox.peek()
            && check_caption(&next.caption).is_ok()
        {
            self.prompts.get(&story.prompt(&self.settings.recipe, 1, &next.caption))?;
        }
        Ok(())
    }

    /// Write the shot into the story and tell the viewer that it is complete.
    fn finish(
        &self,
        story: &mut StoryState,
        shot: Shot,
        footage: Footage,
        context: Latents,
        frames: Remembered,
    ) -> Result<(), Stop> {
        let recipe = &self.settings.recipe;
        let length = recipe.geometry().shot_from_chunks(footage.chunks);
        let past = PastShot { prompt: shot.prompt, rewrites: footage.rewrites, frames };
        story.remember(past, length, recipe.memory());
        let (number, planned) = (shot.plan.shot, shot.plan.chunks.len());
        if let Some(latents) = Latents::concat(&footage.latents) {
            self.events.send(Event::Latents { shot: number, latents, context })?;
        }
        Ok(self.events.send(Event::ShotFinished {
            shot: number,
            frames: length.0,
            cut: footage.chunks < planned,
            story: story.clone(),
        })?)
    }

    /// `[n, C, h, w]` of one chunk.
    fn chunk_shape(&self) -> [usize; 4] {
        let geometry = self.settings.recipe.geometry();
        let [height, width] = geometry.latent_size();
        [geometry.chunk.0, self.settings.latent_channels, height, width]
    }
}

/// What a thread said when it panicked.
fn last_words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
