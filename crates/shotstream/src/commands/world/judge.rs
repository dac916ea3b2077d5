//! `world judge`: a model films unseen stories, and what its frames show is read off and counted.

use serde::Serialize;
use shotstream_media::png::write_png;
use shotstream_train::court::{Court, Hearing, scores, sheet, vae_psnr};
use shotstream_world::{Scores, StoryOptions};

use crate::{cli::JudgeArgs, hardware::cores, model, progress::Progress};

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
    let hearing = Hearing {
        seed: args.seed,
        stories: args.stories.into(),
        options: StoryOptions::default(),
        anonymous: args.anonymous,
    };
    let threads = args.model.threads.map_or_else(cores, usize::from);
    let mut progress = Progress::new();
    let mut watch = |done, all| progress.show(done, all, "stories");
    let films = Court::new(&bundle).hear(&hearing, threads, &mut watch)?;
    progress.clear();
    let verdict = Verdict {
        model: file.name.clone(),
        stories: args.stories,
        seed: args.seed,
        anonymous: args.anonymous,
        scores: scores(&films),
        vae_psnr_db: vae_psnr(&bundle, args.seed, args.clips.into()),
    };
    super::super::print(&if args.json {
        serde_json::to_string_pretty(&verdict)? + "\n"
    } else {
        table(&verdict)
    })?;
    // Last, so that a picture that cannot be written does not cost the numbers.
    match &args.sheet {
        Some(path) => Ok(write_png(path, &sheet(&films))?),
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
