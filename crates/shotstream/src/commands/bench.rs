//! `shotstream bench`: speed and memory over a story.

use std::{
    fmt::Write as _,
    ops::ControlFlow,
    sync::mpsc::sync_channel,
    time::{Duration, Instant},
};

use serde::Serialize;
use shotstream_engine::{
    event::{Command, Event},
    meter::{Meter, Stage},
    noise::Noise,
    session::Settings,
    story::StoryState,
};
use shotstream_models::fast::{FastNetworks, Kernels};
use shotstream_plan::{
    plan::Plan,
    script::{Script, ShotScript},
};
use shotstream_world::{Story, StoryOptions, Wording, captions};

use crate::{
    cli::BenchArgs,
    device::with_kernels,
    failure::Blame as _,
    film::{Output, Target},
    hardware::{self, Hardware},
    making::Making,
    model::{self, ModelFile},
    report::Report,
    telling::Telling,
    text,
};

/// Everything that was measured.
#[derive(Debug, Serialize)]
struct Bench {
    #[serde(flatten)]
    report: Report,
    hardware: Hardware,
    threads: usize,
    /// Width and height of a frame.
    size: [usize; 2],
    shots: usize,
    /// Milliseconds from the file to networks that are ready.
    load_ms: f64,
    /// Milliseconds of every shot but the first, from the end of the one before it.
    shot_ms: Vec<f64>,
    /// Milliseconds of the processor, all threads together, for every shot but the first.
    shot_processor_ms: Vec<f64>,
    /// Milliseconds from asking for a cut, and for another shot, to that shot's first frames.
    cut_ms: f64,
}

/// Measure and print.
pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<()> {
    let start = Instant::now();
    let file = model::open(&args.model)?;
    with_kernels!(file.device.clone(), kernels => measure(args, &file, start, kernels))
}

fn measure(
    args: &BenchArgs,
    file: &ModelFile,
    start: Instant,
    kernels: impl Kernels,
) -> anyhow::Result<()> {
    let recipe = file.recipe(args.picture.size)?;
    let networks = file.networks(kernels, text::open(file, &args.text)?, &args.decoder)?;
    let load = start.elapsed();
    let script = story(args.picture.seed, args.shots.into());
    let plan = Plan::of(recipe.clone(), &script).wrong_use()?;
    let [height, width] = recipe.geometry().pixels;
    let scale = args.picture.scale.map(usize::from);
    let output = Output::create(Some(&Target::Nowhere), &recipe, scale)?;
    let settings = Settings {
        recipe,
        latent_channels: file.latent_channels(),
        noise: Noise::Seeded,
        capture_latents: false,
    };
    let mut making = Making::new(output, &plan, text::cut(&args.text));
    making.tell(&networks, &settings, &script, args.picture.seed)?;
    let Making { output, meter, start, progress, done, .. } = making;
    let made = output.finish()?;
    let wall = start.elapsed();
    progress.clear();
    let cut = cut_latency(&networks, &settings, &script)?;
    let bench = Bench {
        report: Report::new(made, file, args.picture.seed, wall, &meter)
            .with_prompts(networks.text.counts()),
        hardware: Hardware::here(),
        threads: rayon::current_num_threads(),
        size: [width, height],
        shots: plan.shots().len(),
        load_ms: millis(load),
        shot_ms: done.windows(2).map(|ends| millis(ends[1].0 - ends[0].0)).collect(),
        shot_processor_ms: done.windows(2).map(|ends| millis(ends[1].1 - ends[0].1)).collect(),
        cut_ms: millis(cut),
    };
    super::print(&if args.json {
        serde_json::to_string_pretty(&bench)? + "\n"
    } else {
        table(&bench)?
    })
}

/// A random story of StoryWorld in words.
fn story(seed: u64, shots: usize) -> Script {
    let options = StoryOptions { shots: shots..=shots, ..StoryOptions::default() };
    let words = captions(&Story::sample(seed, &options), seed, &Wording::default());
    Script { global: words.global, shots: words.shots.into_iter().map(ShotScript::new).collect() }
}

/// From asking for a cut after a shot's first chunk to the first frames of the next shot.
fn cut_latency(
    networks: &FastNetworks<impl Kernels>,
    settings: &Settings,
    script: &Script,
) -> anyhow::Result<Duration> {
    let (sender, commands) = sync_channel(3);
    let ask = |shot| sender.send(Command::AddShot { shot });
    let first = script.shots[0].clone();
    ask(first.clone())?;
    let (meter, mut story) = (Meter::default(), StoryState::new(script.global.clone(), 0));
    let telling = Telling { networks, settings, story: &mut story, commands, meter: &meter };
    let (mut asked, mut waited) = (None, Duration::ZERO);
    telling.watch(|event| {
        match (event, asked) {
            (Event::Frames { shot: 0, .. }, None) => {
                asked = Some(Instant::now());
                sender.send(Command::Cut)?;
                ask(first.clone())?;
            }
            (Event::Frames { shot: 1.., .. }, Some(asked)) => {
                waited = asked.elapsed();
                return Ok(ControlFlow::Break(()));
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(waited)
}

fn table(bench: &Bench) -> Result<String, std::fmt::Error> {
    let Bench { report, hardware, size: [width, height], .. } = bench;
    let mut text = String::new();
    let cpu = hardware.cpu.as_deref().unwrap_or("an unknown processor");
    writeln!(text, "shotstream {} on {cpu}, {} cores", report.version, hardware.cores)?;
    writeln!(
        text,
        "model {} on {}, {} threads, {width}x{height}, {} shots, seed {}",
        report.model, report.device, bench.threads, bench.shots, report.seed
    )?;
    writeln!(text, "\n{:<12}{:>8}{:>12}{:>12}", "stage", "count", "p50 ms", "p95 ms")?;
    for stage in Stage::ALL {
        if let Some(times) = report.stages.get(stage.name()) {
            let (name, count) = (stage.name(), times.count);
            writeln!(text, "{name:<12}{count:>8}{:>12.1}{:>12.1}", times.p50, times.p95)?;
        }
    }
    let mut first = report.first_frame_ms.clone();
    first.sort_by(f64::total_cmp);
    let (middle, last) = (first.len() / 2, first.len().saturating_sub(1));
    let at = |index: usize| first.get(index).copied().unwrap_or_default();
    writeln!(text, "\n{:<24}{:>8.1} ms", "model loaded in", bench.load_ms)?;
    writeln!(
        text,
        "{:<24}{:>8.1} ms, at most {:.1}",
        "first frames of a shot",
        at(middle),
        at(last)
    )?;
    writeln!(text, "{:<24}{:>8.1} ms", "cut to the next shot", bench.cut_ms)?;
    for (label, times) in [
        ("a shot of the last ten", &bench.shot_ms),
        ("processor time for it", &bench.shot_processor_ms),
    ] {
        if let Some((early, late)) = early_and_late(times) {
            let ratio = late / early;
            writeln!(text, "{label:<24}{late:>8.1} ms, {ratio:.3} of one of the first ten")?;
        }
    }
    if let Some(bytes) = hardware::peak_rss_bytes() {
        writeln!(text, "{:<24}{:>8.1} MB", "memory at most", bytes as f64 / 1e6)?;
    }
    writeln!(
        text,
        "{:<24}{:>8.1} a second, {} in {:.1} s",
        "frames", report.fps_end_to_end, report.frames, report.wall_s
    )?;
    Ok(text)
}

/// Shots whose median stands for an early and for a late one.
const SOME: usize = 10;

/// Medians of the first shots, without the very first, and of the last, where there are enough.
fn early_and_late(shot_ms: &[f64]) -> Option<(f64, f64)> {
    let median = |shots: &[f64]| {
        let mut sorted = shots.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[SOME / 2]
    };
    let (early, late) = (shot_ms.first_chunk::<SOME>()?, shot_ms.last_chunk::<SOME>()?);
    (2 * SOME <= shot_ms.len()).then(|| (median(early), median(late)))
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
