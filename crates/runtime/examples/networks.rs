//! The networks of a model file, timed one by one at the word of whoever compares them.
//!
//! `cargo run --release -p shotstream-runtime --example networks -- MODEL.safetensors THREADS f32|bf16|int8|cuda`
//!
//! Every line that comes in is the name of a network and how often it is to run, `denoise 10`; a
//! line of JSON goes out, with the seconds of every run and the processor seconds of all. With a
//! path behind it, `denoise 1 answer.f32`, what the network answered is written there too.
//! `bench/compare.py` is the other side.

#![expect(clippy::print_stdout, reason = "an example answers on its standard output")]

use std::{
    collections::BTreeMap,
    error::Error,
    fs,
    io::{self, BufRead as _},
    path::Path,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use shotstream_engine::network::{
    Decoder as _, Denoiser as _, FrameEncoder as _, Latents, Memory, Pixels, StoryDenoiser as _,
};
use shotstream_plan::layout::FrameSlot;
use shotstream_runtime::{
    cpu::Cpu,
    dit::{self, Cache, Dit, Embedding, TextCache},
    kernels::{Keeping, Kernels, Precision},
    vae,
    weights::{Source, Tensor},
};

/// The tensors of a file whose names begin with a prefix.
struct File<'a> {
    tensors: &'a SafeTensors<'a>,
    prefix: &'static str,
}

impl Source for File<'_> {
    fn tensor(&self, name: &str, _expected: &[usize]) -> Option<Tensor> {
        let view = self.tensors.tensor(&format!("{}{name}", self.prefix)).ok()?;
        let data = view.data();
        let twos = data.chunks_exact(2).map(|bytes| [bytes[0], bytes[1]]);
        let values = match view.dtype() {
            Dtype::F16 => twos.map(|two| half::f16::from_le_bytes(two).to_f32()).collect(),
            Dtype::BF16 => twos.map(|two| half::bf16::from_le_bytes(two).to_f32()).collect(),
            Dtype::F32 => {
                let fours = data.chunks_exact(4);
                fours.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
            }
            _ => return None,
        };
        Some((view.shape().to_vec(), values))
    }
}

/// Numbers of the configuration of a model.
struct Config(Value);

impl Config {
    fn part(&self, name: &str) -> Self {
        Self(self.0[name].clone())
    }

    fn list<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Vec<T>, Box<dyn Error>> {
        Ok(serde_json::from_value(self.0[name].clone())?)
    }

    fn number(&self, name: &str) -> Result<usize, Box<dyn Error>> {
        let number = self.0[name].as_u64().ok_or_else(|| format!("{name} is no number"))?;
        Ok(usize::try_from(number)?)
    }

    fn dit(&self) -> Result<dit::Sizes, Box<dyn Error>> {
        let patch = self.list("patch_size")?;
        Ok(dit::Sizes {
            dim: self.number("dim")?,
            ffn_dim: self.number("ffn_dim")?,
            freq_dim: self.number("freq_dim")?,
            num_heads: self.number("num_heads")?,
            num_layers: self.number("num_layers")?,
            channels: [self.number("in_dim")?, self.number("out_dim")?],
            patch: [patch[1], patch[2]],
            text_dim: self.number("text_dim")?,
            eps: 1e-6,
            shot_phase: self.0["shot_phase"].as_f64().ok_or("shot_phase is no number")? as f32,
            shot_embeddings: 0,
        })
    }

    fn vae(&self) -> Result<vae::Sizes, Box<dyn Error>> {
        Ok(vae::Sizes {
            dims: [self.number("dim")?, self.number("decoder_dim")?],
            channels: self.number("z_dim")?,
            multiples: self.list("dim_mult")?,
            num_res_blocks: self.number("num_res_blocks")?,
            halves_time: self.list("temporal_downsample")?,
            patch: self.number("patch")?,
            mean: self.list("latents_mean")?,
            std: self.list("latents_std")?,
        })
    }
}

/// Numbers around zero that the other side can make too.
fn numbers(count: usize, from: usize) -> Vec<f32> {
    (from..from + count).map(|at| ((at % 4096) as f32 * 0.37).sin()).collect()
}

/// The networks, and what they are asked: the middle chunk of the second shot.
struct Bench<K: Kernels> {
    dit: Dit<K>,
    decoder: vae::Decoder<K>,
    encoder: vae::Encoder<K>,
    decoding: vae::State<K>,
    captions: [TextCache<K>; 1],
    context: Cache<K>,
    local: Cache<K>,
    remembered: Latents,
    chunk: Latents,
    picture: Pixels,
    /// Latent frames of the shot before the chunk.
    before: usize,
    steps: Vec<f32>,
}

/// Frames of a chunk, and of the context.
const CHUNK: usize = 3;
const CONTEXT: usize = 6;

fn slots(first: usize, count: usize, phase: u32) -> Vec<FrameSlot> {
    let places = first..first + count;
    places.map(|at| FrameSlot { position: at as u32, phase, caption: 0 }).collect()
}

impl<K: Kernels> Bench<K> {
    fn open(kernels: &K, path: &Path) -> Result<Self, Box<dyn Error>> {
        let bytes = fs::read(path)?;
        let tensors = SafeTensors::deserialize(&bytes)?;
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        let config = header.metadata().as_ref().and_then(|known| known.get("config"));
        let config = Config(serde_json::from_str(config.ok_or("a model file has a config")?)?);
        let source = |prefix| File { tensors: &tensors, prefix };
        let (sizes, vae) = (config.part("dit").dit()?, config.part("vae").vae()?);
        let dit = Dit::new(kernels.beside()?, sizes.clone(), &source("dit."))?;
        let decoder = vae::Decoder::new(kernels.beside()?, vae.clone(), &source("vae."))?;
        let encoder = vae::Encoder::new(kernels.beside()?, vae, &source("vae."))?;
        let recipe = config.part("recipe");
        let [height, width] = recipe.part("geometry").list::<usize>("pixels")?[..] else {
            return Err("pixels are a height and a width".into());
        };
        let latents = |frames: usize, from: usize| {
            let shape = [frames, sizes.channels[0], height / 8, width / 8];
            Latents { shape, data: numbers(shape.iter().product(), from) }
        };
        let tokens = config.part("dit").number("text_len")?;
        let values = numbers(tokens * sizes.text_dim, 7).into();
        let captions = [dit.cache_text(&Embedding { tokens, values })?];
        let remembered = latents(CONTEXT, 1);
        let context = dit.encode_context(&remembered, &slots(0, CONTEXT, 0), &captions)?;
        let before = recipe.number("window_latent_frames")? / CHUNK / 2 * CHUNK;
        let mut local = dit.empty_local();
        for at in (0..before).step_by(CHUNK) {
            let (clean, slots) = (latents(CHUNK, 2 + at), slots(CONTEXT + at, CHUNK, 1));
            dit.commit(&clean, &slots, &captions[0], &context, &mut local)?;
        }
        let (chunk, shape) = (latents(CHUNK, 3), [1, 3, height, width]);
        let picture = Pixels { shape, data: numbers(3 * height * width, 5) };
        let mut decoding = decoder.start();
        decoder.decode(&mut decoding, &latents(1, 4))?;
        let steps = recipe.list("denoising_steps")?;
        Ok(Self {
            dit,
            decoder,
            encoder,
            decoding,
            captions,
            context,
            local,
            remembered,
            chunk,
            picture,
            before,
            steps,
        })
    }

    fn places(&self) -> Vec<FrameSlot> {
        slots(CONTEXT + self.before, CHUNK, 1)
    }

    fn denoise(&self, noisy: &Latents, timestep: f32) -> Result<Latents, Box<dyn Error>> {
        let memory = Memory { context: &self.context, local: &self.local };
        Ok(self.dit.velocity(noisy, timestep, &self.places(), &self.captions[0], memory)?)
    }

    fn commit(&self, clean: &Latents) -> Result<(), Box<dyn Error>> {
        let mut local = self.local.clone();
        let caption = &self.captions[0];
        Ok(self.dit.commit(clean, &self.places(), caption, &self.context, &mut local)?)
    }

    /// Run a network once; what it answered.
    fn run(&mut self, network: &str) -> Result<Vec<f32>, Box<dyn Error>> {
        Ok(match network {
            "context" => {
                let slots = slots(0, CONTEXT, 0);
                self.dit.encode_context(&self.remembered, &slots, &self.captions)?;
                Vec::new()
            }
            "denoise" => self.denoise(&self.chunk, 737.5)?.data,
            "commit" => {
                self.commit(&self.chunk)?;
                Vec::new()
            }
            "decode" => self.decoder.decode(&mut self.decoding, &self.chunk)?.data,
            "encode" => self.encoder.encode(&self.picture)?.data,
            "chunk" => {
                let mut latents = self.chunk.clone();
                for &step in &self.steps {
                    let velocity = self.denoise(&latents, step)?;
                    for (value, velocity) in latents.data.iter_mut().zip(velocity.data) {
                        *value -= 0.25 * velocity;
                    }
                }
                self.commit(&latents)?;
                self.decoder.decode(&mut self.decoding, &latents)?.data
            }
            _ => return Err(format!("there is no network {network}").into()),
        })
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let [model, threads, device] = &args[..] else {
        return Err("a model file, threads, and f32, bf16, int8 or cuda".into());
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).build_global()?;
    let halves = Cpu::new().in_precision(Precision::Bf16);
    match &device[..] {
        "f32" => answer(&Cpu::new(), model.as_ref()),
        "bf16" => answer(&halves, model.as_ref()),
        "int8" => answer(&halves.keep(Keeping::Bytes), model.as_ref()),
        #[cfg(feature = "cuda")]
        "cuda" => answer(&shotstream_runtime::cuda::Cuda::open(0)?, model.as_ref()),
        other => Err(format!("f32, bf16, int8, or cuda in a build for a card, not {other}").into()),
    }
}

/// Answer every line.
fn answer(kernels: &impl Kernels, model: &Path) -> Result<(), Box<dyn Error>> {
    let mut bench = Bench::open(kernels, model)?;
    println!("{}", json!({ "ready": true }));
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split_whitespace().collect();
        let [network, rounds, answer @ ..] = &words[..] else {
            return Err(format!("a network and how often, not {line:?}").into());
        };
        let (mut walls, mut last) = (Vec::new(), Vec::new());
        let processor = processor_time();
        for _ in 0..rounds.parse()? {
            let start = Instant::now();
            last = bench.run(network)?;
            // What is kept on a device is waited for.
            bench.dit.kernels().finish()?;
            walls.push(start.elapsed().as_secs_f64());
        }
        let cpu = (processor_time() - processor).as_secs_f64();
        if let [path] = answer {
            fs::write(path, last.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())?;
        }
        println!("{}", json!(BTreeMap::from([("wall", json!(walls)), ("cpu", json!(cpu))])));
    }
    Ok(())
}
