//! Networks of the published sizes: how long they take to load, how much memory, and how far their
//! answers are from PyTorch's.
//!
//! ```text
//! python tools/goldens/published.py --full FOLDER dit vae text
//! cargo build --release --workspace --examples
//! target/release/examples/full_size FOLDER dit bf16
//! ```
//!
//! The transformer and the VAE, `dit` and `vae`, are run in `f32` or `bf16`, the transformer also
//! with its weights in bytes, `int8`; the text encoder, `text`, is left where it is stored, `drop`,
//! kept as `--text-encoder keep` does, `keep`, or in a byte a number, `int8`, and run in f32, or in
//! bf16 where the word ends in `-bf16`. What PyTorch answered stands in the folder, in float32 and
//! in bf16.

#![expect(clippy::print_stdout, reason = "the numbers are what this program is for")]

use std::{error::Error, fs, path::Path, time::Instant};

use shotstream_engine::network::{
    Decoder as _, Denoiser as _, FrameEncoder as _, Latents, Memory, Pixels, StoryDenoiser as _,
};
use shotstream_models::{
    checkpoint::Weights,
    fast::{Cpu, FastNetworks, Keeping, Precision},
    stored::{StoredModel, StoredNetwork},
    text::{BurnTextEncoder, Holding},
};
use shotstream_plan::layout::FrameSlot;
use shotstream_runtime::dit::Embedding;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, part, way] = arguments.as_slice() else {
        return Err("expected a folder, a network, and a precision or what is kept".into());
    };
    let folder = Path::new(folder);
    let start = Instant::now();
    let model = StoredModel::open(folder)?;
    println!("opened in {:.3} s, {:.0} MB", start.elapsed().as_secs_f64(), peak()?);
    let [dit, vae, text] = model.networks();
    for network in [dit, vae, text] {
        count(network)?;
    }
    let answers = Answers(Weights::open(&folder.join(format!("answers-{part}.safetensors")))?);
    let halves = Cpu::new().in_precision(Precision::Bf16);
    match (part.as_str(), way.as_str()) {
        ("dit" | "vae", "f32") => networks(&model, part, Cpu::new(), &answers)?,
        ("dit" | "vae", "bf16") => networks(&model, part, halves, &answers)?,
        ("dit", "int8") => networks(&model, part, halves.keep(Keeping::Bytes), &answers)?,
        ("text", way) => embedding(&model, text, way, &answers)?,
        _ => return Err(format!("no network is run like that: {part} {way}").into()),
    }
    println!("most memory {:.0} MB", peak()?);
    Ok(())
}

fn count(network: &StoredNetwork<'_>) -> Result<(), Box<dyn Error>> {
    let (path, bytes) = (network.path(), fs::metadata(network.path())?.len());
    let (tensors, numbers) = (network.tensors().count(), network.parameters());
    println!(
        "{}: {:.0} MB, {tensors} tensors, {numbers} numbers",
        path.display(),
        bytes as f64 / 1e6
    );
    Ok(())
}

/// Questions, and what PyTorch answered.
struct Answers(Weights<'static>);

impl Answers {
    fn values(&self, name: &str) -> Result<Vec<f32>, Box<dyn Error>> {
        Ok(self.0.values(name)?)
    }

    /// `[1, C, F, h, w]` as `[F, C, h, w]`.
    fn frames(&self, name: &str) -> Result<([usize; 4], Vec<f32>), Box<dyn Error>> {
        let Some(&[1, channels, frames, height, width]) = self.0.shape(name) else {
            return Err(format!("no clip of this name: {name}").into());
        };
        let (values, picture) = (self.values(name)?, height * width);
        let rows = (0..frames).flat_map(|f| (0..channels).map(move |c| (c * frames + f) * picture));
        let values = rows.flat_map(|from| &values[from..from + picture]).copied().collect();
        Ok(([frames, channels, height, width], values))
    }

    /// Tell how far an answer is from PyTorch's in float32, and how far PyTorch's own in bf16 is.
    fn compare(&self, name: &str, found: &[f32]) -> Result<(), Box<dyn Error>> {
        let read = |name: &str| -> Result<Vec<f32>, Box<dyn Error>> {
            match self.0.shape(name) {
                Some([_, _, _, _, _]) => Ok(self.frames(name)?.1),
                _ => self.values(name),
            }
        };
        let (expected, rounded) = (read(name)?, read(&format!("{name}_bf16"))?);
        if expected.len() != found.len() {
            return Err(format!("{} numbers, not {}: {name}", found.len(), expected.len()).into());
        }
        let [(most, mean), (_, theirs)] =
            [found, &rounded].map(|values| difference(&expected, values));
        println!(
            "{name}: from PyTorch f32 by {most:.1e} of the largest, {mean:.1e} root mean square; \
             PyTorch bf16 by {theirs:.1e}"
        );
        Ok(())
    }
}

/// The largest difference over the largest number, and both as root mean squares.
fn difference(expected: &[f32], found: &[f32]) -> (f32, f64) {
    let differences = || expected.iter().zip(found).map(|(a, b)| a - b);
    let largest = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    let squares = |values: &mut dyn Iterator<Item = f32>| {
        values.map(|value| f64::from(value).powi(2)).sum::<f64>()
    };
    let mean = squares(&mut differences()) / squares(&mut expected.iter().copied());
    (differences().fold(0.0, |most: f32, value| most.max(value.abs())) / largest, mean.sqrt())
}

/// The runtime's networks: a chunk without a past, or a picture read and a few frames made.
fn networks(
    model: &StoredModel<'static>,
    part: &str,
    kernels: Cpu,
    answers: &Answers,
) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let text = model.text_encoder(Holding::Nothing, kernels)?;
    let text = BurnTextEncoder::stored(model.tokenizer().clone(), text, 512);
    let networks = FastNetworks::stored(kernels, model, text)?;
    println!("loaded in {:.1} s, {:.0} MB", start.elapsed().as_secs_f64(), peak()?);
    let start = Instant::now();
    if part == "vae" {
        let (shape, data) = answers.frames("picture")?;
        let encoded = networks.encoder.encode(&Pixels { shape, data })?;
        let (shape, data) = answers.frames("latents")?;
        let decoder = &networks.decoder;
        let decoded = decoder.decode(&mut decoder.start(), &Latents { shape, data })?;
        println!("answered in {:.1} s", start.elapsed().as_secs_f64());
        answers.compare("encoded", &encoded.data)?;
        return answers.compare("decoded", &decoded.data);
    }
    let (shape, data) = answers.frames("noisy")?;
    let slot = |position| FrameSlot { position, phase: 0, caption: 0 };
    let slots: Vec<_> = (0..shape[0] as u32).map(slot).collect();
    let caption = Embedding { tokens: 512, values: answers.values("caption")?.into() };
    let (dit, noisy) = (&networks.denoiser, Latents { shape, data });
    let memory = Memory { context: &dit.empty_context(), local: &dit.empty_local() };
    let velocity = dit.velocity(&noisy, 737.5, &slots, &dit.cache_text(&caption)?, memory)?;
    println!("answered in {:.1} s", start.elapsed().as_secs_f64());
    answers.compare("velocity", &velocity.data)
}

/// The text encoder: one caption, and the same once more.
fn embedding(
    model: &StoredModel<'static>,
    network: &StoredNetwork<'_>,
    way: &str,
    answers: &Answers,
) -> Result<(), Box<dyn Error>> {
    let (holding, precision) = match way.strip_suffix("-bf16") {
        Some(holding) => (holding, Precision::Bf16),
        None => (way, Precision::F32),
    };
    let (holding, keeping) = match holding {
        "drop" => (Holding::Nothing, Keeping::Whole),
        "keep" => (Holding::beside(network, precision), Keeping::Whole),
        "int8" => (Holding::Computed, Keeping::Bytes),
        _ => return Err(format!("a text encoder is not kept like that: {way}").into()),
    };
    let text = model.text_encoder(holding, Cpu::new().in_precision(precision).keep(keeping))?;
    let ids: Vec<u32> = answers.values("ids")?.iter().map(|&id| id as u32).collect();
    for turn in ["first", "second"] {
        let start = Instant::now();
        let made = text.embed(&[&ids])?.remove(0);
        let secs = start.elapsed().as_secs_f64();
        println!("{turn} prompt, {} tokens: {secs:.1} s, {:.0} MB", ids.len(), peak()?);
        if turn == "first" {
            answers.compare("embedding", &made)?;
        }
    }
    Ok(())
}

/// The most memory held so far, in megabytes, where the system tells.
fn peak() -> Result<f64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kibibytes.ok_or("the system does not tell")?.trim().parse::<f64>()? * 1.024e-3)
}
