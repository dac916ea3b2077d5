//! Networks made of arithmetic: quick, exact, and with a diary of what was asked of them.

use std::fmt::Write as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use shotstream_engine::event::{Command, Event, EventReceiver, channel};
use shotstream_engine::meter::Meter;
use shotstream_engine::network::{
    Blend, Decoder, Denoiser, Embedded, FrameEncoder, Latents, Memory, NetworkError, Pixels,
    StoryDenoiser, TextEncoder,
};
use shotstream_engine::noise::Noise;
use shotstream_engine::session::{Ending, Networks, Settings, run};
use shotstream_engine::story::StoryState;
use shotstream_media::Frame;
use shotstream_plan::geometry::{Geometry, LatentFrames};
use shotstream_plan::layout::FrameSlot;
use shotstream_plan::recipe::{Recipe, RecipeFile};

/// Channels of a latent frame.
pub(crate) const CHANNELS: usize = 2;

/// Longer than anything here takes, shorter than anyone waits.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The tiny recipe with pictures of 16x16: shots of 33 frames in three chunks.
pub(crate) fn recipe() -> Recipe {
    let geometry = Geometry { pixels: [16, 16], ..Geometry::tiny() };
    RecipeFile { geometry, ..Recipe::tiny().into() }.resolve().unwrap()
}

pub(crate) fn settings() -> Settings {
    Settings {
        recipe: recipe(),
        latent_channels: CHANNELS,
        noise: Noise::Seeded,
        capture_latents: false,
    }
}

/// What a test does when a network is asked for something: fail, wait, or nothing.
type Hook = Box<dyn Fn(&str) -> Result<(), NetworkError> + Send + Sync>;

/// Text encoder, denoiser, decoder and frame encoder in one.
#[derive(Default)]
pub(crate) struct Fake {
    /// What the session's thread asked for, in order.
    pub(crate) diary: Mutex<Vec<String>>,
    /// What the decoder's thread asked for, in order.
    pub(crate) decoder_diary: Mutex<Vec<String>>,
    /// Under which words every chunk was committed, in order.
    pub(crate) commits: Mutex<Vec<String>>,
    /// Every text cache ever made.
    pub(crate) text_caches: Mutex<Vec<Weak<String>>>,
    /// Called with the diary's line before anything is done.
    pub(crate) hook: Option<Hook>,
}

impl Fake {
    pub(crate) fn with_hook(
        hook: impl Fn(&str) -> Result<(), NetworkError> + Send + Sync + 'static,
    ) -> Self {
        Self { hook: Some(Box::new(hook)), ..Self::default() }
    }

    /// Fails when a diary line starts with `pass`.
    pub(crate) fn failing(pass: &'static str) -> Self {
        Self::with_hook(move |line| {
            let source = "out of memory".into();
            if line.starts_with(pass) {
                return Err(NetworkError::Failed { network: "fake network", source });
            }
            Ok(())
        })
    }

    fn note(&self, diary: &Mutex<Vec<String>>, line: String) -> Result<(), NetworkError> {
        let result = self.hook.as_ref().map_or(Ok(()), |hook| hook(&line));
        diary.lock().unwrap().push(line);
        result
    }

    pub(crate) fn diary(&self) -> String {
        self.diary.lock().unwrap().join("\n") + "\n"
    }

    pub(crate) fn count(&self, pass: &str) -> usize {
        let count = |diary: &Mutex<Vec<String>>| {
            diary.lock().unwrap().iter().filter(|line| line.starts_with(pass)).count()
        };
        count(&self.diary) + count(&self.decoder_diary)
    }
}

impl TextEncoder for Fake {
    type Embedding = String;

    fn embed(&self, prompt: &str) -> Result<Embedded<String>, NetworkError> {
        self.note(&self.diary, format!("text {prompt}"))?;
        let unknown = prompt.split_whitespace().filter(|word| word.starts_with("zz"));
        Ok(Embedded {
            embedding: prompt.to_owned(),
            unknown_words: unknown.map(str::to_owned).collect(),
            dropped_tokens: prompt.len().saturating_sub(100),
        })
    }
}

fn mean(data: &[f32]) -> f32 {
    data.iter().sum::<f32>() / data.len() as f32
}

fn slot_text(slots: &[FrameSlot]) -> String {
    let (first, last) = (slots[0], slots[slots.len() - 1]);
    let mut text = format!("positions {}..={} phases ", first.position, last.position);
    slots.iter().for_each(|slot| write!(text, "{}", slot.phase).unwrap());
    text
}

impl Denoiser for Fake {
    type Latents = Latents;
    type TextCache = Arc<String>;
    type ContextCache = f32;
    type LocalCache = Vec<f32>;

    fn empty_local(&self) -> Vec<f32> {
        Vec::new()
    }

    fn forget(&self, local: &mut Vec<f32>, sink: LatentFrames, latents: LatentFrames) {
        let (sink, left) = (sink.0 / 3, latents.0 / 3);
        local.drain(sink..sink + local.len() - left);
    }

    fn velocity(
        &self,
        noisy: &Latents,
        timestep: f32,
        slots: &[FrameSlot],
        text: &Arc<String>,
        memory: Memory<'_, f32, Vec<f32>>,
    ) -> Result<Latents, NetworkError> {
        let seen = memory.local.len();
        self.note(&self.diary, format!("denoise {timestep:.0} {} sees {seen}", slot_text(slots)))?;
        let letters: u32 = text.bytes().map(u32::from).sum();
        let target = (letters as f32).sin() + memory.context + memory.local.iter().sum::<f32>();
        let target = Latents { shape: noisy.shape, data: vec![target.sin(); noisy.data.len()] };
        // Nearly the field that leads to the target, so that the noise shows in the end.
        Ok(noisy.blend(900.0 / timestep, &target, -900.0 / timestep))
    }

    fn commit(
        &self,
        clean: &Latents,
        slots: &[FrameSlot],
        text: &Arc<String>,
        _: &f32,
        local: &mut Vec<f32>,
    ) -> Result<(), NetworkError> {
        self.note(&self.diary, format!("commit {}", slot_text(slots)))?;
        self.commits.lock().unwrap().push(format!("{} under {text}", slot_text(slots)));
        let letters: u32 = text.bytes().map(u32::from).sum();
        local.push(mean(&clean.data) + (letters as f32).cos());
        Ok(())
    }
}

impl StoryDenoiser for Fake {
    type Embedding = String;

    fn upload(&self, latents: &Latents) -> Latents {
        latents.clone()
    }

    fn download(&self, latents: &Latents) -> Latents {
        latents.clone()
    }

    fn cache_text(&self, embedding: &String) -> Result<Arc<String>, NetworkError> {
        let cache = Arc::new(embedding.clone());
        self.text_caches.lock().unwrap().push(Arc::downgrade(&cache));
        Ok(cache)
    }

    fn empty_context(&self) -> f32 {
        0.0
    }

    fn encode_context(
        &self,
        context: &Latents,
        slots: &[FrameSlot],
        texts: &[Arc<String>],
    ) -> Result<f32, NetworkError> {
        assert_eq!(context.shape, [slots.len(), CHANNELS, 2, 2]);
        let captions: String = slots.iter().map(|slot| slot.caption.to_string()).collect();
        let line = format!("context {} captions {captions} of {texts:?}", slot_text(slots));
        self.note(&self.diary, line)?;
        Ok(mean(&context.data))
    }
}

impl Decoder for Fake {
    type Latents = Latents;
    type State = usize;

    fn start(&self) -> usize {
        0
    }

    fn decode(&self, decoded: &mut usize, latents: &Latents) -> Result<Pixels, NetworkError> {
        let [n, ..] = latents.shape;
        self.note(&self.decoder_diary, format!("decode {n}"))?;
        let frames = if *decoded == 0 { 4 * n - 3 } else { 4 * n };
        *decoded += n;
        let length = 3 * 16 * 16;
        // Frames differ a little, and some lie outside the range of colours.
        let value = |frame: usize| latents.data[frame % latents.data.len()] + frame as f32 * 0.1;
        let data = (0..frames).flat_map(|frame| vec![value(frame); length]).collect();
        Ok(Pixels { shape: [frames, 3, 16, 16], data })
    }
}

impl FrameEncoder for Fake {
    fn encode(&self, frames: &Pixels) -> Result<Latents, NetworkError> {
        let count = frames.shape[0];
        assert!(frames.data.iter().all(|value| value.abs() <= 1.0), "frames are clamped");
        self.note(&self.decoder_diary, format!("encode {count}"))?;
        let data = (0..count).flat_map(|k| vec![mean(frames.frame(k)); CHANNELS * 4]).collect();
        Ok(Latents { shape: [count, CHANNELS, 2, 2], data })
    }
}

/// A session on a thread of its own, with both ends of its channels.
pub(crate) struct Running {
    pub(crate) commands: SyncSender<Command>,
    pub(crate) events: EventReceiver,
    ended: Receiver<(Ending, StoryState)>,
}

impl Running {
    pub(crate) fn start(fake: &Arc<Fake>, settings: Settings, story: StoryState) -> Self {
        Self::with_capacity(fake, settings, story, 4)
    }

    pub(crate) fn with_capacity(
        fake: &Arc<Fake>,
        settings: Settings,
        mut story: StoryState,
        capacity: usize,
    ) -> Self {
        let (commands, command_receiver) = sync_channel(64);
        let (event_sender, events) = channel(capacity);
        let (end, ended) = sync_channel(1);
        let fake = fake.clone();
        let tell = move || {
            let fake = &*fake;
            let networks = Networks { text: fake, denoiser: fake, decoder: fake, encoder: fake };
            let meter = Meter::default();
            let sender = event_sender;
            let ending = run(&networks, &settings, &mut story, &command_receiver, &sender, &meter);
            drop(sender);
            end.send((ending, story)).unwrap();
        };
        thread::Builder::new().name("session".to_owned()).spawn(tell).unwrap();
        Self { commands, events, ended }
    }

    pub(crate) fn ask(&self, captions: &[&str]) {
        for &caption in captions {
            self.commands.send(Command::add_shot(caption)).unwrap();
        }
    }

    pub(crate) fn next(&self) -> Event {
        self.events.recv_timeout(PATIENCE).unwrap()
    }

    /// Skip to the frames of a chunk.
    pub(crate) fn wait_for(&self, wanted: [usize; 2]) {
        while !matches!(self.next(), Event::Frames { shot, chunk, .. } if [shot, chunk] == wanted) {
        }
    }

    /// Watch to the end.
    pub(crate) fn finish(self) -> (Vec<Event>, Ending, StoryState) {
        let mut events = Vec::new();
        while let Ok(event) = self.events.recv_timeout(PATIENCE) {
            events.push(event);
        }
        let (ending, story) = self.ended.recv_timeout(PATIENCE).unwrap();
        (events, ending, story)
    }

    /// Stop watching, but stay on the line without asking for anything more.
    pub(crate) fn hang_up(self) -> Left {
        let Self { commands, events, ended } = self;
        drop(events);
        Left { ended, _commands: commands }
    }

    /// Stop watching, and say how the session took it.
    pub(crate) fn leave(self) -> Ending {
        self.hang_up().ending()
    }
}

/// A session that nobody watches any more.
pub(crate) struct Left {
    ended: Receiver<(Ending, StoryState)>,
    _commands: SyncSender<Command>,
}

impl Left {
    pub(crate) fn ending(self) -> Ending {
        self.ended.recv_timeout(PATIENCE).unwrap().0
    }
}

/// Tell a story of these captions to its end.
pub(crate) fn tell(fake: &Arc<Fake>, story: StoryState, captions: &[&str]) -> Vec<Event> {
    let running = Running::start(fake, settings(), story);
    running.ask(captions);
    running.commands.send(Command::Finish).unwrap();
    let (events, ending, _) = running.finish();
    assert_eq!(ending, Ending::Finished);
    events
}

/// The pictures of a story, one after another.
pub(crate) fn frames(events: Vec<Event>) -> Vec<Frame> {
    let chunks = events.into_iter().filter_map(|event| match event {
        Event::Frames { frames, .. } => Some(frames),
        _ => None,
    });
    chunks.flatten().collect()
}

/// Events as text, without their pictures.
pub(crate) fn summary(events: &[Event]) -> String {
    let line = |event: &Event| match event {
        Event::ShotStarted { plan, prompt, seed, unknown_words, dropped_tokens } => format!(
            "shot {} starts, {} frames, seed {seed}: {prompt:?}, unknown {unknown_words:?}, \
             dropped {dropped_tokens}",
            plan.shot, plan.frames.0
        ),
        Event::Rewritten { shot, chunk, prompt, unknown_words, .. } => {
            format!("shot {shot} from chunk {chunk}: {prompt:?}, unknown {unknown_words:?}")
        }
        Event::NotRewritten { caption, error } => format!("not rewritten {caption:?}: {error}"),
        Event::Frames { shot, chunk, frames } => {
            format!("shot {shot} chunk {chunk}: {} frames", frames.len())
        }
        Event::Latents { shot, latents, context } => {
            format!("shot {shot} latents {:?} context {:?}", latents.shape, context.shape)
        }
        Event::ShotFinished { shot, frames, cut, .. } => {
            format!("shot {shot} finished, {frames} frames, cut {cut}")
        }
        Event::Refused { caption, error } => format!("refused {caption:?}: {error}"),
        Event::Finished => "finished".to_owned(),
        Event::Failed { error } => format!("failed: {error}"),
    };
    events.iter().map(|event| line(event) + "\n").collect()
}
