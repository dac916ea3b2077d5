//! `shotstream generate`: a story file to a film.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use shotstream_engine::{noise::Noise, session::Settings};
use shotstream_models::fast::Kernels;
use shotstream_plan::plan::Plan;

use crate::{
    cli::GenerateArgs,
    device::with_kernels,
    exports::Exports,
    failure::{Blame as _, WrongUse},
    film::{Output, Target},
    latents_file,
    making::Making,
    model::{self, ModelFile},
    progress::line,
    report::{Report, per_second},
    story, text,
    whole_file::WholeFile,
};

/// Make the film.
pub(crate) fn run(args: &GenerateArgs) -> anyhow::Result<()> {
    let file = model::open(&args.model)?;
    with_kernels!(file.device.clone(), kernels => make(args, &file, kernels))
}

fn make(args: &GenerateArgs, file: &ModelFile, kernels: impl Kernels) -> anyhow::Result<()> {
    let recipe = file.recipe(args.picture.size)?;
    let script = story::read(&args.story, &recipe)?;
    let plan = Plan::of(recipe.clone(), &script).wrong_use()?;
    let channels = file.latent_channels();
    let given = args.noise.as_deref();
    let noise = given.map(|path| latents_file::read_noise(path, &plan, channels)).transpose()?;
    let text = text::open_for(file, &args.text, (&script, &recipe))?;
    let networks = file.networks(kernels, text, &args.decoder)?;

    let report = args.report.as_deref().map(WholeFile::create).transpose()?;
    let latents = args.save_latents.as_deref().map(WholeFile::create).transpose()?;
    let exports = Exports::create(&args.exports, Some(&args.story))?;
    let target = match &exports {
        Some(exports) => Target::File(exports.film()),
        None => target(args)?,
    };
    let scale = args.picture.scale.map(usize::from);
    let mut output = Output::create(Some(&target), &recipe, scale)?;
    if let Some(folder) = &args.frames {
        output.keep_pictures(folder)?;
    }
    let settings = Settings {
        recipe,
        latent_channels: channels,
        noise: noise.unwrap_or(Noise::Seeded),
        capture_latents: latents.is_some(),
    };

    let mut making = Making::new(output, &plan, text::cut(&args.text));
    let seed = args.picture.seed;
    making.tell(&networks, &settings, &script, seed)?;
    let Making { output, meter, start, latents: captured, told, progress, .. } = making;
    let made = output.finish()?;
    let wall = start.elapsed();
    progress.clear();
    let fps = plan.recipe().frames_per_second();
    let place = exports.as_ref().map_or(target, |exports| Target::File(exports.path().to_owned()));
    if let Some(exports) = exports {
        exports.finish(told, &script.global, plan.recipe())?;
    }
    line(&summary(made.frames, wall, fps, &place));
    if let Some(file) = latents {
        file.finish(&latents_file::to_bytes(&captured)?)?;
    }
    if let Some(place) = report {
        let report =
            Report::new(made, file, seed, wall, &meter).with_prompts(networks.text.counts());
        place.finish(&serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(())
}

/// Where the film goes: by default beside the user, under the story's name.
fn target(args: &GenerateArgs) -> anyhow::Result<Target> {
    if let Some(path) = &args.output {
        return Ok(Target::of(path));
    }
    let stem = args.story.file_stem().map(Path::new);
    let no_name =
        || WrongUse::error("the story file has no name for the film, expected -o FILM.mp4");
    let mut name = PathBuf::from(stem.ok_or_else(no_name)?).into_os_string();
    name.push(".mp4");
    Ok(Target::of(Path::new(&name)))
}

/// One line about a finished film.
fn summary(frames: usize, wall: Duration, fps: u32, target: &Target) -> String {
    let (wall, length) = (wall.as_secs_f64(), frames as f64 / f64::from(fps));
    let rate = per_second(frames, wall);
    format!("{target}: {frames} frames, {length:.1} s of film in {wall:.1} s, {rate:.1} fps")
}
