//! The networks of a model, and what they are asked.

use shotstream_engine::network::{
    Decoder as _, Denoiser as _, FrameEncoder as _, Memory, Pixels, StoryDenoiser as _,
};
use shotstream_runtime::{
    dit::{Cache, Dit, Embedding, TextCache},
    kernels::Kernels,
    text, vae,
    weights::Invented,
};

use crate::{
    Outcome,
    sizes::{Model, latents, numbers, slots},
};

/// Networks, and what they are asked: the fourth chunk of a shot behind a full context.
pub(crate) struct Networks<K: Kernels> {
    text: text::Blocks<K>,
    dit: Dit<K>,
    decoder: vae::Decoder<K>,
    encoder: vae::Encoder<K>,
    decoding: vae::State<K>,
    caption: TextCache<K>,
    context: Cache<K>,
    local: Cache<K>,
    size: [usize; 2],
    embedding: Embedding,
}

/// Latent frames of a chunk, of the context, and of the shot before the chunk.
const CHUNK: usize = 3;
const CONTEXT: usize = 6;
const BEFORE: usize = 9;

/// Timesteps of a chunk.
const STEPS: [f32; 4] = [1000.0, 937.5, 833.25, 625.0];

/// The parts of a chunk, and what belongs to a shot once.
pub(crate) const PARTS: [&str; 7] =
    ["prompt", "caption", "context", "denoise", "commit", "decode", "encode"];

impl<K: Kernels> Networks<K> {
    pub(crate) fn open(kernels: &K, model: Model) -> Outcome<Self> {
        let Model { dit: sizes, vae, text, latent: size, .. } = model;
        let tokens = text.tokens;
        let text = text::Blocks::new(kernels.beside()?, text, 0..2, &Invented)?;
        let values = numbers(tokens * sizes.text_dim).into();
        let embedding = Embedding { tokens, values };
        let dit = Dit::new(kernels.beside()?, sizes, &Invented)?;
        let decoder = vae::Decoder::new(kernels.beside()?, vae.clone(), &Invented)?;
        let encoder = vae::Encoder::new(kernels.beside()?, vae, &Invented)?;
        let mut decoding = decoder.start();
        decoder.decode(&mut decoding, &latents(1, size))?;
        let caption = dit.cache_text(&embedding)?;
        let texts = [caption.clone()];
        let context = dit.encode_context(&latents(CONTEXT, size), &slots(0, CONTEXT), &texts)?;
        let mut local = dit.empty_local();
        for at in (0..BEFORE).step_by(CHUNK) {
            let slots = slots(CONTEXT + at, CHUNK);
            dit.commit(&latents(CHUNK, size), &slots, &caption, &context, &mut local)?;
        }
        Ok(Self { text, dit, decoder, encoder, decoding, caption, context, local, size, embedding })
    }

    /// Run one part; what it answered.
    pub(crate) fn run(&mut self, part: &str) -> Outcome<Vec<f32>> {
        let (clean, places) = (latents(CHUNK, self.size), slots(CONTEXT + BEFORE, CHUNK));
        Ok(match part {
            "prompt" => {
                let mut prompt = self.embedding.values.to_vec();
                self.text.read(&mut prompt)?;
                prompt
            }
            "caption" => {
                self.dit.cache_text(&self.embedding)?;
                Vec::new()
            }
            "context" => {
                let texts = [self.caption.clone()];
                let clean = latents(CONTEXT, self.size);
                self.dit.encode_context(&clean, &slots(0, CONTEXT), &texts)?;
                Vec::new()
            }
            "denoise" => {
                let memory = Memory { context: &self.context, local: &self.local };
                self.dit.velocity(&clean, 737.5, &places, &self.caption, memory)?.data
            }
            "commit" => {
                let mut local = self.local.clone();
                self.dit.commit(&clean, &places, &self.caption, &self.context, &mut local)?;
                Vec::new()
            }
            "decode" => self.decoder.decode(&mut self.decoding, &clean)?.data,
            "encode" => {
                let [rows, columns] = self.size;
                let shape = [1, 3, 8 * rows, 8 * columns];
                let data = numbers(shape.iter().product());
                self.encoder.encode(&Pixels { shape, data })?.data
            }
            _ => return Err(format!("there is no part {part}").into()),
        })
    }

    /// Four denoising steps, the commit and the frames of one chunk; the frames.
    pub(crate) fn chunk(&mut self) -> Outcome<usize> {
        let mut chunk = latents(CHUNK, self.size);
        let places = slots(CONTEXT + BEFORE, CHUNK);
        let memory = Memory { context: &self.context, local: &self.local };
        for step in STEPS {
            let velocity = self.dit.velocity(&chunk, step, &places, &self.caption, memory)?;
            for (value, velocity) in chunk.data.iter_mut().zip(velocity.data) {
                *value -= 0.25 * velocity;
            }
        }
        let mut local = self.local.clone();
        self.dit.commit(&chunk, &places, &self.caption, &self.context, &mut local)?;
        Ok(self.decoder.decode(&mut self.decoding, &chunk)?.shape[0])
    }
}
