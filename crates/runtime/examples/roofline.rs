//! What every kernel takes, and how near that is to what the processor can do.
//!
//! `cargo run --release -p shotstream-runtime --example roofline -- [tiny|wide|large] [THREADS] [bf16|int8]`

#![expect(clippy::print_stdout, reason = "an example shows its table")]

mod sizes;

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use shotstream_engine::network::{
    Decoder as _, Denoiser as _, FrameEncoder as _, Memory, Pixels, StoryDenoiser as _,
};
use shotstream_runtime::{
    cpu::{self, Cpu, Matrix, Page},
    dit::{self, Embedding},
    kernels::{
        DeviceError, Keeping, Kernels, Meets, Over, PageShape, Precision, Section, Sight, Step,
    },
    text, vae,
    weights::Invented,
};

use sizes::{Model, numbers, slots};

/// What a kernel took so far: the quickest of its runs of each kind, and all of them.
#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    calls: usize,
    time: Duration,
    flops: f64,
}

/// Kernels that run every step alone and note how long it takes.
#[derive(Clone, Debug)]
struct Timed {
    cpu: Cpu,
    table: Arc<Mutex<BTreeMap<String, Spent>>>,
}

/// What to call a step, and its floating-point operations.
fn name(
    step: &Step,
    size: [usize; 3],
    matrices: &[Matrix],
    sight: &Sight<'_, Page>,
) -> (String, f64) {
    let positions: usize = size.iter().product();
    match step {
        Step::Product(product) => {
            let [outputs, terms] = matrices[product.matrix].size();
            let kind = if product.taps.len() == 1 { "projection" } else { "convolution" };
            let flops = 2 * positions * outputs * terms;
            (format!("{kind} {terms} → {outputs}"), flops as f64)
        }
        Step::Attention { heads, over, .. } => {
            let tokens =
                |pages: &[Arc<Page>]| pages.iter().map(|page| page.tokens()).sum::<usize>();
            let [context, local] = sight.past;
            let keys = match over {
                Over::All => tokens(context) + tokens(local) + tokens(sight.own),
                Over::OwnFrame => sight.own[0].tokens(),
                Over::Caption => tokens(&sight.captions[..1]),
            };
            let flops = 4 * positions * keys * heads.total();
            (format!("attention, {keys} keys, {} wide", heads.width), flops as f64)
        }
        Step::LayerNorm { width, .. } => (format!("layer norm, {width} wide"), 0.0),
        Step::RmsNorm { width, .. } => (format!("RMS norm, {width} wide"), 0.0),
        Step::Copy { width, .. } => (format!("copy, {width} wide"), 0.0),
        Step::Query { .. } => ("queries turned".to_owned(), 0.0),
        Step::Remember { .. } => ("keys turned and kept".to_owned(), 0.0),
    }
}

impl Kernels for Timed {
    type Matrix = Matrix;
    type Memory = cpu::Memory;
    type Page = Page;

    fn precision(&self) -> Precision {
        self.cpu.precision()
    }

    fn keeping(&self) -> Keeping {
        Kernels::keeping(&self.cpu)
    }

    fn most_width(&self) -> usize {
        self.cpu.most_width()
    }

    fn beside(&self) -> Result<Self, DeviceError> {
        Ok(self.clone())
    }

    fn finish(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn matrix(&self, weight: &[f32], offset: &[f32], meets: Meets) -> Result<Matrix, DeviceError> {
        self.cpu.matrix(weight, offset, meets)
    }

    fn memory(&self, len: usize) -> Result<cpu::Memory, DeviceError> {
        self.cpu.memory(len)
    }

    fn upload(
        &self,
        memory: &mut cpu::Memory,
        start: usize,
        values: &[f32],
    ) -> Result<(), DeviceError> {
        self.cpu.upload(memory, start, values)
    }

    fn download(
        &self,
        memory: &cpu::Memory,
        range: Range<usize>,
        to: &mut [f32],
    ) -> Result<(), DeviceError> {
        self.cpu.download(memory, range, to)
    }

    fn shift(
        &self,
        memory: &mut cpu::Memory,
        from: Range<usize>,
        to: usize,
    ) -> Result<(), DeviceError> {
        self.cpu.shift(memory, from, to)
    }

    fn clear(&self, memory: &mut cpu::Memory, range: Range<usize>) -> Result<(), DeviceError> {
        self.cpu.clear(memory, range)
    }

    fn page(&self, shape: PageShape) -> Result<Page, DeviceError> {
        self.cpu.page(shape)
    }

    fn run(
        &self,
        list: &[Section],
        matrices: &[Matrix],
        memory: &mut cpu::Memory,
        sight: Sight<'_, Page>,
    ) -> Result<(), DeviceError> {
        for section in list {
            for step in &section.steps {
                let (name, flops) = name(step, section.size, matrices, &sight);
                let alone = [Section { size: section.size, steps: vec![step.clone()] }];
                let start = Instant::now();
                self.cpu.run(&alone, matrices, memory, sight)?;
                let time = start.elapsed();
                let mut table = self.table.lock().expect("nobody panicked");
                let spent = table.entry(name).or_default();
                spent.calls += 1;
                spent.time += time;
                spent.flops += flops;
            }
        }
        Ok(())
    }
}

/// Operations a second of multiplications and additions in registers.
fn peak(threads: usize) -> f64 {
    struct Spin;
    impl WithSimd for Spin {
        type Output = f64;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f64 {
            const ROUNDS: usize = 20_000_000;
            let mut sums = [simd.splat_f32s(0.0); 12];
            let factors = [1.0, 1e-9].map(|value| simd.splat_f32s(std::hint::black_box(value)));
            for _ in 0..ROUNDS {
                for sum in &mut sums {
                    *sum = simd.mul_add_e_f32s(factors[0], factors[1], *sum);
                }
            }
            std::hint::black_box(sums);
            (ROUNDS * 12 * 2 * S::F32_LANES) as f64
        }
    }
    let start = Instant::now();
    let flops: f64 = (0..threads).into_par_iter().map(|_| Arch::new().dispatch(Spin)).sum();
    flops / start.elapsed().as_secs_f64()
}

/// One network's runs, and their table.
fn measure(what: &str, timed: &Timed, rounds: usize, peak: f64, mut run: impl FnMut()) {
    run();
    timed.table.lock().expect("nobody panicked").clear();
    let start = Instant::now();
    for _ in 0..rounds {
        run();
    }
    let wall = start.elapsed().as_secs_f64() / rounds as f64;
    let table = timed.table.lock().expect("nobody panicked");
    let all: f64 = table.values().map(|spent| spent.time.as_secs_f64()).sum();
    let flops: f64 = table.values().map(|spent| spent.flops).sum();
    let rate = flops / all / 1e9;
    println!(
        "\n{what}: {:.2} ms, {:.2} GFLOP, {rate:.0} GFLOP/s ({:.0} %)",
        wall * 1e3,
        flops / rounds as f64 / 1e9,
        rate * 1e11 / peak
    );
    let mut rows: Vec<_> = table.iter().collect();
    rows.sort_by_key(|(_, spent)| std::cmp::Reverse(spent.time));
    for (name, Spent { calls, time, flops }) in rows {
        let secs = time.as_secs_f64();
        let rate = flops / secs / 1e9;
        let share = secs / all * 100.0;
        let (calls, each) = (calls / rounds, secs / rounds as f64 * 1e3);
        print!("  {name:36} {calls:4} ×  {each:9.3} ms {share:5.1} %");
        match *flops > 0.0 {
            true => println!("  {rate:6.0} GFLOP/s  {:3.0} %", rate * 1e11 / peak),
            false => println!(),
        }
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "tiny".to_owned());
    let threads = args.next().and_then(|count| count.parse().ok()).unwrap_or(2);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("the first pool");
    let peak = (0..3).map(|_| peak(threads)).fold(0.0, f64::max);
    println!("{name}, {threads} threads, peak {:.0} GFLOP/s", peak / 1e9);
    let cpu = match args.next().as_deref() {
        Some("bf16") => Cpu::new().in_precision(Precision::Bf16),
        Some("int8") => Cpu::new().in_precision(Precision::Bf16).keep(Keeping::Bytes),
        _ => Cpu::new(),
    };
    let Model { dit: sizes, vae, text, latent: [rows, columns], rounds } = Model::of(&name);
    let timed = Timed { cpu, table: Arc::default() };
    let latents = |frames: usize| sizes::latents(frames, [rows, columns]);
    let (tokens, text_dim) = (text.tokens, sizes.text_dim);
    let embedding = Embedding { tokens, values: numbers(tokens * text_dim).into() };
    let blocks = text::Blocks::new(timed.clone(), text, 0..2, &Invented).expect("weights that fit");
    measure("two blocks of the text encoder", &timed, rounds, peak, || {
        blocks.read(&mut numbers(tokens * text_dim)).expect("a caption");
    });
    drop(blocks);
    let dit = dit::Dit::new(timed.clone(), sizes, &Invented).expect("weights that fit");
    let caption = dit.cache_text(&embedding).expect("a caption");
    let context_of = || {
        let texts = [caption.clone()];
        dit.encode_context(&latents(6), &slots(0, 6), &texts).expect("a context")
    };
    measure("context of 6 frames", &timed, rounds, peak, || drop(context_of()));
    let (context, local) = (context_of(), dit.empty_local());
    let memory = Memory { context: &context, local: &local };
    let noisy = latents(3);
    measure("a denoising pass", &timed, rounds, peak, || {
        dit.velocity(&noisy, 737.5, &slots(6, 3), &caption, memory).expect("a velocity");
    });
    drop((context, local, caption));
    drop(dit);
    let decoder =
        vae::Decoder::new(timed.clone(), vae.clone(), &Invented).expect("weights that fit");
    let mut state = decoder.start();
    measure("a chunk decoded", &timed, rounds, peak, || {
        decoder.decode(&mut state, &noisy).expect("frames");
    });
    drop((state, decoder));
    let encoder = vae::Encoder::new(timed.clone(), vae, &Invented).expect("weights that fit");
    let shape = [1, 3, rows * 8, columns * 8];
    let picture = Pixels { shape, data: numbers(shape.iter().product()) };
    measure("a frame encoded", &timed, rounds, peak, || {
        encoder.encode(&picture).expect("latents");
    });
}
