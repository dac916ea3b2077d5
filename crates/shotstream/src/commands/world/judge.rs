//! `world judge`: a model films unseen stories, and what its frames show is read off and counted.

use std::{
    ops::ControlFlow,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use anyhow::anyhow;
use burn::{
    module::Module as _,
    tensor::{Device, Tensor, TensorData},
};
use serde::Serialize;
use shotstream_engine::{
    event::{Command, Event},
    meter::Meter,
    noise::Noise,
    session::Settings,
    story::StoryState,
};
use shotstream_media::{Frame, png::write_png, sheet::contact_sheet};
use shotstream_models::{networks::BurnNetworks, vae::Vae};
use shotstream_plan::recipe::Recipe;
use shotstream_train::data::world::pixels;
use shotstream_world::{
    Judge, Reading, Scores, ShotPainter, Story, StoryOptions, Wording, captions,
};

use crate::{cli::JudgeArgs, hardware::cores, model, progress::Progress, telling::Telling};

/// Pixels between the frames of a sheet.
const GAP: usize = 2;

/// What was found.
#[derive(Debug, Serialize)]
struct Verdict {
    model: String,
    stories: u16,
    seed: u64,
    anonymous: bool,
    scores: Scores,
    /// Mean peak signal-to-noise ratio of drawn clips that went through the VAE.
    vae_psnr_db: Option<f64>,
}

/// Judge and print.
pub(crate) fn run(args: &JudgeArgs) -> anyhow::Result<()> {
    let file = model::open(&args.model)?;
    let bundle = file.load()?;
    let recipe = file.recipe(None)?;
    let settings = Settings {
        recipe: recipe.clone(),
        latent_channels: file.latent_channels(),
        noise: Noise::Seeded,
        capture_latents: false,
    };
    let court = Court {
        judge: Judge::new(recipe.geometry().pixels),
        networks: BurnNetworks::new(&bundle),
        settings,
        anonymous: args.anonymous,
    };
    let heard = court.hear(args.seed, args.stories.into(), args.model.threads.map(usize::from))?;
    let mut scores = Scores::default();
    heard.iter().for_each(|film| scores.add(&film.story, &film.readings));
    let verdict = Verdict {
        model: file.name.clone(),
        stories: args.stories,
        seed: args.seed,
        anonymous: args.anonymous,
        scores,
        vae_psnr_db: vae_psnr(&bundle.vae.valid(), &recipe, args.seed, args.clips.into()),
    };
    super::super::print(&if args.json {
        serde_json::to_string_pretty(&verdict)? + "\n"
    } else {
        table(&verdict)
    })?;
    // Last, so that a picture that cannot be written does not cost the numbers.
    match &args.sheet {
        Some(path) => Ok(write_png(path, &sheet(&heard))?),
        None => Ok(()),
    }
}

fn table(verdict: &Verdict) -> String {
    let Verdict { model, stories, seed, scores, .. } = verdict;
    let how = if verdict.anonymous { ", characters named in the first shot only" } else { "" };
    let mut text = format!("model {model}, {stories} stories from seed {seed}{how}\n\n{scores}\n");
    if let Some(psnr) = verdict.vae_psnr_db {
        text += &format!("{:<16}{psnr:>7.2} dB\n", "vae psnr");
    }
    text
}

/// Everything a story needs to be filmed and judged.
struct Court {
    judge: Judge,
    networks: BurnNetworks,
    settings: Settings,
    anonymous: bool,
}

/// A story that was filmed.
#[derive(Clone)]
struct Film {
    story: Story,
    /// What each of its shots shows.
    readings: Vec<Reading>,
    /// Two frames of each of its shots, if it is to be on the sheet.
    glimpses: Vec<[Frame; 2]>,
}

type Heard = (usize, anyhow::Result<Film>);

/// Stories and shots of each that fit on a sheet.
const SHEET: [usize; 2] = [10, 4];

/// The first shots of the first stories, one story a row.
fn sheet(films: &[Film]) -> Frame {
    let nothing = Frame { width: 0, height: 0, rgb: Vec::new() };
    let glimpses = films.iter().take(SHEET[0]).flat_map(|film| {
        let blank = [nothing.clone(), nothing.clone()];
        film.glimpses.iter().cloned().chain(std::iter::repeat(blank)).take(SHEET[1])
    });
    contact_sheet(&glimpses.flatten().collect::<Vec<_>>(), 2 * SHEET[1], GAP)
}

impl Court {
    /// Film and read `count` stories, as many at a time as there are threads.
    fn hear(&self, seed: u64, count: usize, threads: Option<usize>) -> anyhow::Result<Vec<Film>> {
        let next = AtomicUsize::new(0);
        let workers = threads.unwrap_or_else(cores).clamp(1, count);
        let (sender, results) = sync_channel(workers);
        thread::scope(|scope| {
            for worker in 0..workers {
                let (sender, next) = (sender.clone(), &next);
                thread::Builder::new()
                    .name(format!("court {worker}"))
                    .spawn_scoped(scope, move || self.work(next, seed, count, &sender))?;
            }
            drop(sender);
            let mut progress = Progress::new();
            let mut heard = vec![None; count];
            let mut done = 0;
            for (index, result) in results {
                heard[index] = Some(result?);
                done += 1;
                progress.show(done, count as u64, "stories");
            }
            progress.clear();
            let unheard = || anyhow!("a story was not heard to its end, this is a defect");
            heard.into_iter().map(|film| film.ok_or_else(unheard)).collect()
        })
    }

    fn work(&self, next: &AtomicUsize, seed: u64, count: usize, results: &SyncSender<Heard>) {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if count <= index {
                return;
            }
            let story = Story::sample(seed + index as u64, &StoryOptions::default());
            let film = self.film(story, seed + index as u64, index < SHEET[0]);
            if results.send((index, film)).is_err() {
                return;
            }
        }
    }

    /// Film a story shot by shot, and read every shot; `shown` keeps glimpses of it.
    fn film(&self, story: Story, seed: u64, shown: bool) -> anyhow::Result<Film> {
        let anonymous_from = self.anonymous.then_some(1);
        let told = captions(&story, seed, &Wording { anonymous_from });
        let mut state = StoryState::new(told.global, seed);
        let (mut readings, mut glimpses) = (Vec::new(), Vec::new());
        for (shot, caption) in told.shots.into_iter().enumerate() {
            if self.anonymous && 0 < shot {
                state.global.clone_from(&told.anonymous_global);
            }
            let frames = self.shoot(&mut state, caption)?;
            readings.push(self.judge.read(&frames, story.shots[shot].cast.len()));
            if shown {
                glimpses.push([0, frames.len() * 2 / 3].map(|frame| frames[frame].clone()));
            }
        }
        Ok(Film { story, readings, glimpses })
    }

    /// The frames of the next shot of a story.
    fn shoot(&self, story: &mut StoryState, caption: String) -> anyhow::Result<Vec<Frame>> {
        let (sender, commands) = sync_channel(1);
        sender.send(Command::add_shot(caption))?;
        drop(sender);
        let Self { networks, settings, .. } = self;
        let meter = &Meter::default();
        let mut shot = Vec::new();
        Telling { networks, settings, story, commands, meter }.watch(|event| {
            match event {
                Event::Frames { frames, .. } => shot.extend(frames),
                Event::Refused { error, .. } => return Err(error.into()),
                _ => {}
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(shot)
    }
}

/// Mean PSNR in dB of first shots that go through the VAE; nothing without clips.
fn vae_psnr(vae: &Vae, recipe: &Recipe, seed: u64, clips: usize) -> Option<f64> {
    let ([height, width], frames) = (recipe.geometry().pixels, recipe.shot_frames().0);
    let psnr = |seed| {
        let story = Story::sample(seed, &StoryOptions::default());
        let painter = ShotPainter::new(&story, 0, [height, width], frames);
        let drawn: Vec<_> = (0..frames).map(|frame| painter.frame(frame)).collect();
        let values = pixels(&drawn, [0, 0], [height, width]);
        let data = TensorData::new(values, [frames, 3, height, width]);
        let clip = Tensor::<4>::from_data(data, &Device::flex()).swap_dims(0, 1).unsqueeze();
        let seen = vae.decode(vae.encode(clip.clone())).clamp(-1.0, 1.0);
        let error: f64 = (seen - clip).powf_scalar(2.0).mean().into_scalar();
        // Values span two units.
        10.0 * (4.0 / error.max(f64::MIN_POSITIVE)).log10()
    };
    let total: f64 = (seed..).take(clips).map(psnr).sum();
    (0 < clips).then(|| total / clips as f64)
}
