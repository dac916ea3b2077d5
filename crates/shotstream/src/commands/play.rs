//! `shotstream play`: a film of the lines that come on standard input, while they come.

use std::{
    io::{self, BufRead, Read as _},
    ops::ControlFlow,
    sync::mpsc::{SyncSender, sync_channel},
    thread,
    time::Instant,
};

use shotstream_engine::{
    event::{Command, Event},
    meter::Meter,
    noise::Noise,
    session::Settings,
    story::StoryState,
};
use shotstream_models::{fast::Kernels, text::Cut};
use shotstream_plan::plan::PlanError;

use crate::{
    cli::PlayArgs,
    device::with_kernels,
    exports::{Exports, Told},
    failure::WrongUse,
    film::{Output, Target},
    model::{self, ModelFile},
    progress::line,
    report::Report,
    telling::{self, Telling},
    text,
    whole_file::WholeFile,
};

/// Lines that may wait for the session; more wait in the pipe.
const LINES_AHEAD: usize = 16;

/// A longer line is cut here, and then refused as a caption that is too long.
const LONGEST_LINE: u64 = 1 << 20;

/// Make the film.
pub(crate) fn run(args: &PlayArgs) -> anyhow::Result<()> {
    let file = model::open(&args.model)?;
    with_kernels!(file.device.clone(), kernels => make(args, &file, kernels))
}

fn make(args: &PlayArgs, file: &ModelFile, kernels: impl Kernels) -> anyhow::Result<()> {
    let recipe = file.recipe(args.picture.size)?;
    let networks = file.networks(kernels, text::open(file, &args.text)?, &args.decoder)?;
    let report = args.report.as_deref().map(WholeFile::create).transpose()?;
    let scale = args.picture.scale.map(usize::from);
    let exports = Exports::create(&args.exports, None)?;
    let target = match (&exports, &args.output) {
        (Some(exports), _) => Target::File(exports.film()),
        (None, Some(path)) => Target::of(path),
        (None, None) => Target::Nowhere,
    };
    let mut output = Output::create(Some(&target), &recipe, scale)?;
    let settings = Settings {
        recipe,
        latent_channels: file.latent_channels(),
        noise: Noise::Seeded,
        capture_latents: false,
    };
    let mut story = StoryState::new(args.global.clone(), args.picture.seed);
    let (sender, commands) = sync_channel(LINES_AHEAD);
    // Nobody waits for this thread: it may sleep in the pipe when the film is over.
    thread::Builder::new()
        .name("prompts".to_owned())
        .spawn(move || read_prompts(&mut io::stdin().lock(), &sender))?;
    let (meter, start) = (Meter::default(), Instant::now());
    let (networks, settings) = (&networks, &settings);
    let telling = Telling { networks, settings, story: &mut story, commands, meter: &meter };
    let mut told = Told::default();
    telling.watch(|event| {
        told.hear(&event);
        take(event, &mut output, &meter, text::cut(&args.text))
    })?;
    if output.frames() == 0 {
        return Err(WrongUse::error("no prompt came, so there is no film"));
    }
    let made = output.finish()?;
    let wall = start.elapsed();
    if let Some(exports) = exports {
        exports.finish(told, &args.global, &settings.recipe)?;
    }
    if let Some(place) = report {
        let report = Report::new(made, file, args.picture.seed, wall, &meter);
        let report = report.with_prompts(networks.text.counts());
        place.finish(&serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(())
}

/// Turn lines into commands until the input or the session ends.
fn read_prompts(input: &mut impl BufRead, commands: &SyncSender<Command>) {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let read = input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut bytes);
        if !matches!(read, Ok(1..)) {
            return;
        }
        let text = String::from_utf8_lossy(&bytes);
        let command = match text.trim() {
            "" => continue,
            "/quit" => return,
            "/cut" => Command::Cut,
            text => match (text.split_once(char::is_whitespace), text.starts_with('/')) {
                (Some(("/now", caption)), _) => {
                    Command::Rewrite { caption: caption.trim().to_owned() }
                }
                (_, true) => {
                    let known = "only /now WORDS, /cut and /quit are";
                    line(&format!("warning: {} is not known, {known}", quoted(text)));
                    continue;
                }
                (_, false) => Command::add_shot(text),
            },
        };
        if commands.send(command).is_err() {
            return;
        }
    }
}

fn take(
    event: Event,
    output: &mut Output,
    meter: &Meter,
    cut: Cut,
) -> anyhow::Result<ControlFlow<()>> {
    match event {
        Event::ShotStarted { plan, unknown_words, dropped_tokens, .. } => {
            let shot = plan.shot + 1;
            line(&format!("shot {shot}: starts"));
            if let Some(text) = telling::unread(&unknown_words, dropped_tokens, cut) {
                line(&format!("warning: shot {shot}: {text}"));
            }
        }
        Event::Frames { frames, .. } => return output.write(&frames, meter),
        Event::ShotFinished { shot, frames, cut, .. } => {
            let how = if cut { "cut" } else { "ends" };
            let waited = meter.first_frames().last().map_or(0.0, |&(_, waited)| waited);
            let shot = shot + 1;
            line(&format!("shot {shot}: {how} after {frames} frames, the first in {waited:.0} ms"));
        }
        Event::Rewritten { shot, chunk, unknown_words, dropped_tokens, .. } => {
            let (shot, chunk) = (shot + 1, chunk + 1);
            line(&format!("shot {shot}: other words from chunk {chunk} on"));
            if let Some(text) = telling::unread(&unknown_words, dropped_tokens, cut) {
                line(&format!("warning: shot {shot}: {text}"));
            }
        }
        Event::Refused { caption, error } | Event::NotRewritten { caption, error } => {
            let reason = match error {
                PlanError::Caption { error, .. } => error.to_string(),
                error => error.to_string(),
            };
            line(&format!("warning: {reason}, the line is passed over: {}", quoted(&caption)));
        }
        Event::Latents { .. } | Event::Finished | Event::Failed { .. } => {}
    }
    Ok(ControlFlow::Continue(()))
}

/// The start of a user's words, on one line.
fn quoted(text: &str) -> String {
    const SHOWN: usize = 40;
    let start: String = text.chars().take(SHOWN).collect();
    let more = if text.chars().nth(SHOWN).is_some() { " …" } else { "" };
    format!("'{}{more}'", start.escape_debug())
}
