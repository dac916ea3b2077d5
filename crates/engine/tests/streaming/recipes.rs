//! Models of the same family that follow other recipes: no context frames, a sink, no shot label.

use std::sync::Arc;

use expect_test::expect;
use shotstream_engine::event::{Command, Event};
use shotstream_engine::session::{Ending, Settings};
use shotstream_engine::story::StoryState;
use shotstream_plan::geometry::PixelFrames;
use shotstream_plan::recipe::{RecipeFile, ShotLabel};
use shotstream_plan::script::{Rewrite, ShotScript};

use crate::fake::{Fake, Running, recipe, settings};

/// Tell two shots, the first of six chunks, by a recipe that is changed.
fn tell(change: impl FnOnce(&mut RecipeFile)) -> (Arc<Fake>, Vec<Event>) {
    let mut file = RecipeFile::from(recipe());
    change(&mut file);
    let recipe = file.resolve().unwrap();
    let asked = Settings { recipe, capture_latents: true, ..settings() };
    let fake = Arc::new(Fake::default());
    let running = Running::start(&fake, asked, StoryState::new("Rain. ", 0));
    let then = vec![Rewrite { after_chunks: 5, caption: "a dog".to_owned() }];
    let frames = Some(PixelFrames(69));
    let shot = ShotScript { frames, then, ..ShotScript::new("a cat") };
    running.commands.send(Command::AddShot { shot }).unwrap();
    running.ask(&["both"]);
    running.commands.send(Command::Finish).unwrap();
    let (events, ending, _) = running.finish();
    assert_eq!(ending, Ending::Finished);
    (fake, events)
}

fn seen(fake: &Fake) -> String {
    let kept = |line: &&String| !line.starts_with("denoise") || line.starts_with("denoise 1000");
    let diary = fake.diary.lock().unwrap();
    diary.iter().filter(kept).map(|line| line.clone() + "\n").collect()
}

#[test]
fn a_model_of_single_shots_sees_its_window_and_reads_its_caption_alone() {
    let (fake, events) = tell(|file| {
        file.context_frames = 0;
        file.shot_label = ShotLabel::None;
    });
    expect![[r#"
        text Rain. a cat
        denoise 1000 positions 0..=2 phases 000 sees 0
        commit positions 0..=2 phases 000
        denoise 1000 positions 3..=5 phases 000 sees 1
        commit positions 3..=5 phases 000
        denoise 1000 positions 6..=8 phases 000 sees 2
        commit positions 6..=8 phases 000
        denoise 1000 positions 9..=11 phases 000 sees 2
        commit positions 9..=11 phases 000
        denoise 1000 positions 12..=14 phases 000 sees 2
        text Rain. a dog
        commit positions 6..=8 phases 000
        commit positions 9..=11 phases 000
        commit positions 12..=14 phases 000
        denoise 1000 positions 15..=17 phases 000 sees 2
        text Rain. both
        denoise 1000 positions 0..=2 phases 000 sees 0
        commit positions 0..=2 phases 000
        denoise 1000 positions 3..=5 phases 000 sees 1
        commit positions 3..=5 phases 000
        denoise 1000 positions 6..=8 phases 000 sees 2
    "#]]
    .assert_eq(&seen(&fake));
    let context = events.iter().find_map(|event| match event {
        Event::Latents { context, .. } => Some(context.shape),
        _ => None,
    });
    assert_eq!(context, Some([0, 2, 2, 2]));
}

#[test]
fn a_sink_is_never_forgotten_and_is_committed_again_with_the_window() {
    let (fake, _) = tell(|file| {
        file.context_frames = 0;
        file.sink_latent_frames = 3;
    });
    expect![[r#"
        text Rain. shot0:a cat
        denoise 1000 positions 0..=2 phases 000 sees 0
        commit positions 0..=2 phases 000
        denoise 1000 positions 3..=5 phases 000 sees 1
        commit positions 3..=5 phases 000
        denoise 1000 positions 6..=8 phases 000 sees 2
        commit positions 6..=8 phases 000
        denoise 1000 positions 9..=11 phases 000 sees 2
        commit positions 9..=11 phases 000
        denoise 1000 positions 12..=14 phases 000 sees 2
        text Rain. shot0:a dog
        commit positions 0..=2 phases 000
        commit positions 9..=11 phases 000
        commit positions 12..=14 phases 000
        denoise 1000 positions 15..=17 phases 000 sees 2
        text Rain. shot1:both
        denoise 1000 positions 0..=2 phases 000 sees 0
        commit positions 0..=2 phases 000
        denoise 1000 positions 3..=5 phases 000 sees 1
        commit positions 3..=5 phases 000
        denoise 1000 positions 6..=8 phases 000 sees 2
    "#]]
    .assert_eq(&seen(&fake));
}
