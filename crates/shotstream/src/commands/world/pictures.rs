//! `world pictures`: raw pictures of random stories, for a trainer in another program.

use std::sync::Mutex;

use shotstream_train::data::pictures::PictureSet;

use crate::{cli::PicturesArgs, failure::WrongUse, model::ModelFile, progress::Progress};

/// Draw what the folder lacks.
pub(crate) fn run(args: &PicturesArgs) -> anyhow::Result<()> {
    let recipe = ModelFile::open(&args.model)?.recipe(None)?;
    let length = recipe.shot_frames().0;
    let frames = args.frames.map_or(length, usize::from);
    if frames > length {
        let reason = format!("--frames is {frames}, a shot of the model has {length}");
        return Err(WrongUse::error(reason));
    }
    if !(0.0..=1.0).contains(&args.pairs) {
        return Err(WrongUse::error(format!("--pairs is a share, found {}", args.pairs)));
    }
    let set = PictureSet {
        first_seed: args.seed,
        stories: args.stories as usize,
        shots: args.shots.into(),
        pairs: args.pairs,
        shot_frames: recipe.shot_frames(),
        frames,
        tellings: args.tellings.into(),
        picture: recipe.geometry().pixels,
        memory: recipe.memory(),
    };
    let progress = Mutex::new(Progress::new());
    let watch = |done: usize, all: usize| {
        if let Ok(mut progress) = progress.lock() {
            progress.show(done as u64, all as u64, "");
        }
    };
    Ok(set.write(&args.output, &watch)?)
}
