//! Networks made of arithmetic that can tell a story: quick, exact, and sensitive to the seed, the
//! words and every remembered frame.

use std::sync::mpsc::Receiver;

use shotstream_engine::event::{Command, EventSender};
use shotstream_engine::meter::Meter;
use shotstream_engine::network::{
    Blend as _, Decoder, Denoiser, Embedded, FrameEncoder, Latents, Memory, NetworkError, Pixels,
    StoryDenoiser, TextEncoder,
};
use shotstream_engine::noise::Noise;
use shotstream_engine::session::{Ending, Networks, Settings, run};
use shotstream_engine::story::StoryState;
use shotstream_plan::geometry::{Geometry, LatentFrames};
use shotstream_plan::layout::FrameSlot;
use shotstream_plan::recipe::{Recipe, RecipeFile};
use shotstream_story::teller::Teller;

/// Channels of a latent frame.
const CHANNELS: usize = 2;

/// Height and width of a frame: wide enough for a film of it not to be enlarged.
const SIZE: [usize; 2] = [16, 256];

/// Text encoder, denoiser, decoder, frame encoder and the engine with them.
pub(crate) struct Fake {
    settings: Settings,
    bias: f32,
}

impl Fake {
    /// Networks of a model; models with another `bias` make other films.
    pub(crate) fn new(bias: f32) -> Self {
        let geometry = Geometry { pixels: SIZE, ..Geometry::tiny() };
        let recipe = RecipeFile { geometry, ..Recipe::tiny().into() }.resolve().unwrap();
        let (latent_channels, noise, capture_latents) = (CHANNELS, Noise::Seeded, false);
        Self { settings: Settings { recipe, latent_channels, noise, capture_latents }, bias }
    }
}

impl Teller for Fake {
    fn settings(&self) -> &Settings {
        &self.settings
    }

    fn name(&self) -> &str {
        "fake"
    }

    fn remember(&self, picture: &Pixels) -> Result<Latents, NetworkError> {
        self.encode(picture)
    }

    fn tell(
        &self,
        story: &mut StoryState,
        commands: &Receiver<Command>,
        events: &EventSender,
        meter: &Meter,
    ) -> Ending {
        let networks = Networks { text: self, denoiser: self, decoder: self, encoder: self };
        run(&networks, &self.settings, story, commands, events, meter)
    }
}

fn mean(data: &[f32]) -> f32 {
    data.iter().sum::<f32>() / data.len() as f32
}

impl TextEncoder for Fake {
    type Embedding = f32;

    fn embed(&self, prompt: &str) -> Result<Embedded<f32>, NetworkError> {
        let letters: u32 = (1..).zip(prompt.bytes()).map(|(at, byte)| at * u32::from(byte)).sum();
        let unknown = prompt.split_whitespace().filter(|word| word.starts_with("zz"));
        let unknown_words = unknown.map(str::to_owned).collect();
        Ok(Embedded { embedding: letters as f32, unknown_words, dropped_tokens: 0 })
    }
}

impl Denoiser for Fake {
    type Latents = Latents;
    type TextCache = f32;
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
        _: &[FrameSlot],
        text: &f32,
        memory: Memory<'_, f32, Vec<f32>>,
    ) -> Result<Latents, NetworkError> {
        let seen = 40.0 * memory.context + memory.local.iter().sum::<f32>();
        let target = (text.sin() + seen + self.bias).sin();
        let target = Latents { shape: noisy.shape, data: vec![target; noisy.data.len()] };
        Ok(noisy.blend(900.0 / timestep, &target, -900.0 / timestep))
    }

    fn commit(
        &self,
        clean: &Latents,
        _: &[FrameSlot],
        _: &f32,
        _: &f32,
        local: &mut Vec<f32>,
    ) -> Result<(), NetworkError> {
        local.push(mean(&clean.data));
        Ok(())
    }
}

impl StoryDenoiser for Fake {
    type Embedding = f32;

    fn upload(&self, latents: &Latents) -> Latents {
        latents.clone()
    }

    fn download(&self, latents: &Latents) -> Latents {
        latents.clone()
    }

    fn cache_text(&self, embedding: &f32) -> Result<f32, NetworkError> {
        Ok(*embedding)
    }

    fn empty_context(&self) -> f32 {
        0.0
    }

    fn encode_context(
        &self,
        context: &Latents,
        _: &[FrameSlot],
        texts: &[f32],
    ) -> Result<f32, NetworkError> {
        Ok(mean(&context.data) + mean(texts).sin() * 0.01)
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
        let frames = if *decoded == 0 { 4 * n - 3 } else { 4 * n };
        *decoded += n;
        let value = |at: usize| latents.data[at % latents.data.len()] * 0.5;
        let pixel = |frame: usize| move |at: usize| value(frame + at / 64) + at as f32 * 1e-5;
        let [height, width] = SIZE;
        let data = (0..frames).flat_map(|frame| (0..3 * height * width).map(pixel(frame)));
        Ok(Pixels { shape: [frames, 3, height, width], data: data.collect() })
    }
}

impl FrameEncoder for Fake {
    fn encode(&self, frames: &Pixels) -> Result<Latents, NetworkError> {
        let count = frames.shape[0];
        let [height, width] = SIZE.map(|side| side / 8);
        let values = |k| vec![mean(frames.frame(k)); CHANNELS * height * width];
        let data = (0..count).flat_map(values).collect();
        Ok(Latents { shape: [count, CHANNELS, height, width], data })
    }
}
