//! Where the processor time of a film goes: every stage of a shot alone, one after the other, with
//! the networks in Burn, as they are trained and judged, and with the runtime in both precisions.
//!
//! ```text
//! shotstream generate examples/fox-in-the-snow.json --scale 1 -o small.mp4
//! cargo run --release --locked --workspace --example profile -- small.mp4 TURNS
//! ```
//!
//! A line of JSON for every turn: milliseconds of all threads for each stage of a shot of 33 frames.
//! The pictures that are enlarged and encoded are those of the film. `bench/film.py` draws it.

#![expect(clippy::print_stdout, reason = "the numbers are what this program is for")]

use std::{collections::BTreeMap, error::Error, path::Path};

use burn::tensor::Device;
use shotstream_engine::network::{
    Decoder, FrameEncoder, Latents, Memory, Pixels, StoryDenoiser, TextEncoder,
};
use shotstream_media::{
    colour::planes_from_frame, decode::read_film, encode::Encoder, film::enlargement, frame::Frame,
    mux::Muxer,
};
use shotstream_models::{
    fast::{Cpu, FastNetworks, Precision},
    networks::BurnNetworks,
    stored::StoredModel,
    text::{BurnTextEncoder, Holding},
};
use shotstream_plan::layout::FrameSlot;
use shotstream_train::hardware::processor_time;

/// A shot of the embedded model: three chunks of three latent frames, 9, 12 and 12 pictures.
const CHUNKS: [usize; 3] = [9, 12, 12];
const CHUNK: usize = 3;
const CONTEXT: usize = 6;
const STEPS: usize = 4;
const REMEMBERED: usize = 7;
const LATENT: [usize; 3] = [16, 10, 16];
const FRAMES_PER_SECOND: u32 = 16;

type Stages = BTreeMap<&'static str, f64>;

/// Do some work and add its processor time to a stage.
fn time<R>(stages: &mut Stages, stage: &'static str, work: impl FnOnce() -> R) -> R {
    let start = processor_time();
    let result = work();
    let took = processor_time() - start;
    *stages.entry(stage).or_default() += took.as_secs_f64() * 1e3;
    result
}

fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|at| (at as f32 * 0.37).sin()).collect()
}

fn latents(frames: usize) -> Latents {
    let [channels, rows, columns] = LATENT;
    Latents { shape: [frames, channels, rows, columns], data: numbers(frames * 2560) }
}

fn slots(first: usize, count: usize, phase: u32) -> Vec<FrameSlot> {
    let slot = |at| FrameSlot { position: at as u32, phase, caption: 0 };
    (first..first + count).map(slot).collect()
}

/// What the networks do for a shot.
fn networks<T, D, C, E>(
    stages: &mut Stages,
    (text, denoiser, decoder, encoder): (&T, &D, &C, &E),
) -> Result<(), Box<dyn Error>>
where
    T: TextEncoder,
    D: StoryDenoiser<Embedding = T::Embedding>,
    C: Decoder<Latents = D::Latents>,
    E: FrameEncoder,
{
    let caption = time(stages, "text", || {
        let embedded = text.embed("A red fox in the snow. shot2:the fox waves at a robot")?;
        denoiser.cache_text(&embedded.embedding)
    })?;
    let texts = std::slice::from_ref(&caption);
    let context = time(stages, "context", || {
        denoiser.encode_context(&denoiser.upload(&latents(CONTEXT)), &slots(0, CONTEXT, 0), texts)
    })?;
    let (mut local, mut state) = (denoiser.empty_local(), decoder.start());
    for chunk in 0..CHUNKS.len() {
        let (slots, noisy) = (slots(CONTEXT + chunk * CHUNK, CHUNK, 1), latents(CHUNK));
        let noisy = denoiser.upload(&noisy);
        for _ in 0..STEPS {
            let memory = Memory { context: &context, local: &local };
            time(stages, "denoise", || {
                let made = denoiser.velocity(&noisy, 737.5, &slots, &caption, memory);
                made.map(|velocity| denoiser.download(&velocity))
            })?;
        }
        if chunk + 1 < CHUNKS.len() {
            time(stages, "commit", || {
                denoiser.commit(&noisy, &slots, &caption, &context, &mut local)
            })?;
        }
        time(stages, "decode", || decoder.decode(&mut state, &noisy))?;
    }
    let [_, rows, columns] = LATENT;
    let shape = [REMEMBERED, 3, 8 * rows, 8 * columns];
    let pictures = Pixels { shape, data: numbers(shape.iter().product()) };
    time(stages, "remember", || encoder.encode(&pictures))?;
    Ok(())
}

/// What becomes of its pictures.
fn film(stages: &mut Stages, frames: &[Frame]) -> Result<(), Box<dyn Error>> {
    let factor = enlargement(frames[0].width);
    let size = [frames[0].width * factor, frames[0].height * factor];
    let mut encoder = Encoder::new(size, FRAMES_PER_SECOND)?;
    let mut muxer = Muxer::new(FRAMES_PER_SECOND)?;
    let mut rest = frames;
    for count in CHUNKS {
        let (chunk, after) = rest.split_at(count);
        rest = after;
        let large: Vec<_> =
            time(stages, "enlarge", || chunk.iter().map(|it| it.scaled(factor)).collect());
        // The encoder converts once more, which is taken off again.
        let mut colours = Stages::new();
        time(&mut colours, "colours", || large.iter().map(planes_from_frame).for_each(drop));
        let packets = time(stages, "H.264", || encoder.encode(&large))?;
        *stages.entry("H.264").or_default() -= colours["colours"];
        *stages.entry("colours").or_default() += colours["colours"];
        time(stages, "boxes", || muxer.fragment(&packets))?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [small, turns] = arguments.as_slice() else {
        return Err("expected a film that was not enlarged, and a number of turns".into());
    };
    let frames = read_film(Path::new(small))?;
    let frames = frames.get(..CHUNKS.iter().sum()).ok_or("expected a film of 33 frames")?;
    let model = StoredModel::open(Path::new("weights/tiny.safetensors"))?;
    let slow = BurnNetworks::new(&model.load(&Device::flex())?);
    let fast = |precision| {
        let cpu = Cpu::new().in_precision(precision);
        let text = model.text_encoder(Holding::Computed, cpu)?;
        let length = model.config().dit.text_len;
        let text = BurnTextEncoder::stored(model.tokenizer().clone(), text, length);
        FastNetworks::stored(cpu, &model, text)
    };
    let fast = [fast(Precision::F32)?, fast(Precision::Bf16)?];
    for turn in 0..=turns.parse()? {
        let [mut burn, mut f32, mut bf16] = [Stages::new(), Stages::new(), Stages::new()];
        networks(&mut burn, (&slow.text, &slow.denoiser, &slow.decoder, &slow.encoder))?;
        for (stages, it) in [&mut f32, &mut bf16].into_iter().zip(&fast) {
            networks(stages, (&it.text, &it.denoiser, &it.decoder, &it.encoder))?;
        }
        let mut written = Stages::new();
        film(&mut written, frames)?;
        // In the first turn everyone finds its memory.
        if 0 < turn {
            let all = [("Burn", burn), ("f32", f32), ("bf16", bf16), ("film", written)];
            println!("{}", serde_json::to_string(&BTreeMap::from(all))?);
        }
    }
    Ok(())
}
