//! `world draw` and `world sheet`: true frames of random stories.

use shotstream_engine::meter::Meter;
use shotstream_media::{png::write_png, sheet::contact_sheet};
use shotstream_plan::recipe::{Recipe, RecipeFile};
use shotstream_world::{ShotPainter, Story, StoryOptions};

use crate::{
    cli::{DrawArgs, SheetArgs},
    failure::Blame as _,
    film::{Output, Target},
    story::to_json,
    whole_file::WholeFile,
};

/// Shots of a story on a sheet, and the frames of each that are shown.
const SHEET_SHOTS: usize = 4;
const SHEET_FRAMES: [usize; 2] = [6, 22];

/// Pixels between the frames of a sheet.
const GAP: usize = 2;

/// Draw a film and write its captions beside it.
pub(crate) fn film(args: &DrawArgs) -> anyhow::Result<()> {
    let mut recipe = Recipe::tiny();
    if let Some([width, height]) = args.size {
        let geometry = recipe.geometry().with_pixels([height, width]).wrong_use()?;
        recipe = RecipeFile { geometry, ..recipe.into() }.resolve().wrong_use()?;
    }
    let story = super::story(&args.story);
    let place = args.output.as_ref().or(args.frames.as_ref());
    let captions = place.map(|path| WholeFile::create(&path.with_extension("json"))).transpose()?;
    let target = args.output.as_deref().map(Target::of);
    let mut output = Output::create(target.as_ref(), &recipe, None)?;
    if let Some(folder) = &args.frames {
        output.keep_pictures(folder)?;
    }
    let (meter, frames) = (Meter::default(), recipe.shot_frames().0);
    for shot in 0..story.shots.len() {
        let painter = ShotPainter::new(&story, shot, recipe.geometry().pixels, frames);
        let drawn: Vec<_> = (0..frames).map(|frame| painter.frame(frame)).collect();
        if output.write(&drawn, &meter)?.is_break() {
            break;
        }
    }
    output.finish()?;
    let text = to_json(&story, args.story.seed)?;
    captions.map_or(Ok(()), |file| file.finish(text.as_bytes()))
}

/// Draw a sheet.
pub(crate) fn sheet(args: &SheetArgs) -> anyhow::Result<()> {
    let recipe = Recipe::tiny();
    let (size, length) = (recipe.geometry().pixels, recipe.shot_frames().0);
    let options = StoryOptions { shots: SHEET_SHOTS..=SHEET_SHOTS, ..StoryOptions::default() };
    let mut frames = Vec::new();
    for seed in (args.seed..).take(args.stories.into()) {
        let story = Story::sample(seed, &options);
        for shot in 0..SHEET_SHOTS {
            let painter = ShotPainter::new(&story, shot, size, length);
            frames.extend(SHEET_FRAMES.map(|frame| painter.frame(frame)));
        }
    }
    let sheet = contact_sheet(&frames, SHEET_SHOTS * SHEET_FRAMES.len(), GAP);
    Ok(write_png(&args.output, &sheet)?)
}
