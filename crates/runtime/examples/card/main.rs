//! A card's programs: what they take, whether they are right, and how near to its limits they come.
//!
//! `cargo run --release -p shotstream-runtime --features cuda --example card -- COMMAND`
//!
//! | command | needs | does |
//! |---|---|---|
//! | `programs [sm_90a]` | the compiler | compiles every program of the tiny and the 1.3B model, and says what each takes; a spill is an error |
//! | `check [emulated]` | a card, or a C++ compiler | runs every network of two small models on the card, by each unit of matrices, against the processor |
//! | `time [tiny\|large]` | a card | the time of every program beside its floor, then chunks one after the other |
//! | `stay [CHUNKS]` | a card | as many chunks of the tiny model as asked for, and the memory that is free |

#![expect(clippy::print_stdout, reason = "an example shows its tables")]

#[expect(dead_code, reason = "another example uses the rest")]
#[path = "../sizes/mod.rs"]
mod sizes;

mod networks;

mod timed;

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Instant};

use shotstream_runtime::{
    cpu::Cpu,
    cuda::{Card, Compiler, Cuda, Driver, Dry, Emulated, Launch, Program, Resources, Unit},
    kernels::Precision,
};

use networks::{Networks, PARTS};
use sizes::Model;
use timed::Timed;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What every part launches, and the most bytes that are taken, without a card.
struct Planned {
    parts: Vec<(&'static str, Vec<Launch>)>,
    most: usize,
}

impl Planned {
    fn of(name: &str, unit: Unit) -> Outcome<Self> {
        let model = Model::of(name);
        let card = Arc::new(Dry::new());
        let mut networks = Networks::open(&Cuda::on(card.clone(), unit), model)?;
        let mut parts = Vec::new();
        for part in PARTS {
            drop(card.launches());
            networks.run(part)?;
            parts.push((part, card.launches()));
        }
        let [_, most] = card.bytes();
        Ok(Self { parts, most })
    }

    /// Launches, operations, and the least time of every part on an H200.
    fn print(&self, name: &str) {
        let [rate, bandwidth] = limits("H200");
        println!("\n{name}: {:.2} GB at most", self.most as f64 / 1e9);
        for (part, launches) in &self.parts {
            let flops: f64 = launches.iter().map(|launch| launch.work.flops).sum();
            let least =
                |launch: &Launch| (launch.work.flops / rate).max(launch.work.bytes / bandwidth);
            let floor: f64 = launches.iter().map(least).sum();
            println!(
                "  {part:8} {:5} launches  {:9.4} TFLOP  {:8.3} ms at least on an H200",
                launches.len(),
                flops / 1e12,
                floor * 1e3
            );
        }
    }
}

/// Compile every program, and say what it takes.
fn programs(architecture: &str) -> Outcome<()> {
    let compiler = Compiler::new(architecture)?;
    let [major, minor] = compiler.version();
    println!("NVRTC {major}.{minor}, {architecture}");
    let mut all: BTreeMap<String, Program> = BTreeMap::new();
    let units = match architecture {
        "sm_90a" => &[Unit::Warp, Unit::Group][..],
        _ => &[Unit::Warp],
    };
    for name in ["tiny", "large"] {
        for &unit in units {
            let planned = Planned::of(name, unit)?;
            if unit == Unit::Warp {
                planned.print(name);
            }
            let launches = planned.parts.into_iter().flat_map(|(_, launches)| launches);
            all.extend(launches.map(|launch| (format!("{:?}", launch.program), launch.program)));
        }
    }
    println!("\nregisters  spilled  stack  shared memory  program");
    let mut worst = 0;
    for (name, program) in &all {
        let Resources { registers, spilled, stack } = compiler.measure(program)?;
        worst = worst.max(spilled + stack);
        let shared = program.shared();
        println!("{registers:9}  {spilled:7}  {stack:5}  {shared:13}  {name}");
    }
    match worst {
        0 => Ok(()),
        _ => Err("a program has not enough registers".into()),
    }
}

/// Root mean square of the difference, over that of the values.
fn differs(a: &[f32], b: &[f32]) -> f32 {
    let squares = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>();
    (squares(&mut a.iter().zip(b).map(|(a, b)| a - b)) / squares(&mut a.iter().copied())).sqrt()
}

/// Parts that answer; some of them twice, since what runs again is a graph.
const CHECKED: [&str; 7] = ["prompt", "denoise", "decode", "encode", "prompt", "denoise", "encode"];

/// Every network of small models by each unit, against the processor; how many are wrong.
fn wrong<C: Card>(card: &Arc<C>, units: &[Unit], names: &[&str]) -> Outcome<usize> {
    const ALLOWED: f32 = 1.0 / 64.0;
    let mut wrong = 0;
    for &name in names {
        let own = Cpu::new().in_precision(Precision::Bf16);
        let mut own = Networks::open(&own, Model::of(name))?;
        let mut expected = Vec::new();
        for part in CHECKED {
            expected.push(own.run(part)?);
        }
        for &unit in units {
            let kernels = Cuda::on(card.clone(), unit);
            let mut networks = Networks::open(&kernels, Model::of(name))?;
            for (part, expected) in CHECKED.into_iter().zip(&expected) {
                let off = differs(expected, &networks.run(part)?);
                wrong += usize::from(off.is_nan() || off > ALLOWED);
                println!("{name}, {unit:?}, {part}: {off:.2e} of {ALLOWED:.2e}");
            }
        }
    }
    Ok(wrong)
}

/// The same on a card, or on one that is emulated, which takes minutes.
fn check(emulated: bool) -> Outcome<()> {
    let both = [Unit::Warp, Unit::Group];
    let wrong = if emulated {
        wrong(&Arc::new(Emulated::new()), &both, &["tiny"])?
    } else {
        let card = Arc::new(Driver::open(0)?);
        println!("{}", card.name());
        let units = if card.unit() == Unit::Group { &both[..] } else { &both[..1] };
        wrong(&card, units, &["tiny", "broad"])?
    };
    if wrong == 0 { Ok(()) } else { Err(format!("{wrong} networks are wrong").into()) }
}

/// What a card of this kind does at best, as it was measured there: operations of bf16 products, and
/// bytes of memory, a second.
fn limits(name: &str) -> [f64; 2] {
    if name.contains("H200") { [790e12, 4.3e12] } else { [798e12, 3.0e12] }
}

/// The time of every program beside its floor, then of whole chunks.
fn time(name: &str) -> Outcome<()> {
    const CHUNKS: usize = 8;
    let card = Arc::new(Driver::open(0)?);
    let [flops, bytes] = limits(card.name());
    println!("{name} on {}", card.name());
    let timed = Timed { card: card.clone(), spent: Arc::default() };
    let spent = timed.spent.clone();
    let mut networks = Networks::open(&Cuda::on(Arc::new(timed), card.unit()), Model::of(name))?;
    for part in PARTS {
        networks.run(part)?;
        spent.lock().expect("nobody panicked").clear();
        let start = Instant::now();
        networks.run(part)?;
        let wall = start.elapsed().as_secs_f64();
        let table = spent.lock().expect("nobody panicked");
        let all: f64 = table.values().map(|spent| spent.seconds).sum();
        println!("\n{part}: {:.2} ms of programs, {:.2} ms with waits", all * 1e3, wall * 1e3);
        let mut rows: Vec<_> = table.iter().collect();
        rows.sort_by(|(_, a), (_, b)| b.seconds.total_cmp(&a.seconds));
        for (name, of) in rows.into_iter().take(16) {
            let floor = (of.flops / flops).max(of.bytes / bytes);
            println!(
                "  {name:44} {:5} × {:9.3} ms {:5.1} %  floor {:9.3} ms ({:3.0} %)  {:6.1} TFLOP/s",
                of.calls,
                of.seconds * 1e3,
                of.seconds / all * 100.0,
                floor * 1e3,
                floor / of.seconds * 100.0,
                of.flops / of.seconds / 1e12,
            );
        }
    }
    drop(networks);
    let kernels = Cuda::on(card.clone(), card.unit());
    let mut networks = Networks::open(&kernels, Model::of(name))?;
    networks.chunk()?;
    let mut seconds = Vec::new();
    for _ in 0..CHUNKS {
        let start = Instant::now();
        let frames = networks.chunk()?;
        seconds.push(start.elapsed().as_secs_f64() / frames as f64);
    }
    seconds.sort_by(f64::total_cmp);
    let [free, all] = card.memory()?;
    println!(
        "\nfourth chunk of a shot, one after the other: {:.1} frames a second ({:.1} to {:.1}), {:.1} GB taken",
        seconds[CHUNKS / 2].recip(),
        seconds[CHUNKS - 1].recip(),
        seconds[0].recip(),
        (all - free) as f64 / 1e9
    );
    Ok(())
}

/// Many chunks, and the memory that is free.
fn stay(chunks: usize) -> Outcome<()> {
    let card = Arc::new(Driver::open(0)?);
    let mut networks = Networks::open(&Cuda::on(card.clone(), card.unit()), Model::of("tiny"))?;
    networks.chunk()?;
    let [before, _] = card.memory()?;
    let tenth = (chunks / 10).max(1);
    let mut start = Instant::now();
    for chunk in 1..=chunks {
        networks.chunk()?;
        if chunk % tenth == 0 {
            let each = start.elapsed().as_secs_f64() / tenth as f64;
            let [free, _] = card.memory()?;
            let more = before as f64 - free as f64;
            println!("{chunk:6} chunks, {:.3} ms each, {:+.1} MB", each * 1e3, more / 1e6);
            start = Instant::now();
        }
    }
    Ok(())
}

fn main() -> Outcome<()> {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["programs"] => programs("sm_90a"),
        ["programs", architecture] => programs(architecture),
        ["check"] => check(false),
        ["check", "emulated"] => check(true),
        ["time"] => time("large"),
        ["time", name] => time(name),
        ["stay"] => stay(1000),
        ["stay", chunks] => stay(chunks.parse()?),
        _ => Err("programs [sm_90a], check [emulated], time [tiny|large] or stay [CHUNKS]".into()),
    }
}
