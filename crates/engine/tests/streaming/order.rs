//! What happens when, as text.

use std::sync::Arc;

use expect_test::expect;
use shotstream_engine::event::{Command, Event};
use shotstream_engine::network::Latents;
use shotstream_engine::session::Settings;
use shotstream_engine::story::StoryState;
use shotstream_plan::geometry::PixelFrames;
use shotstream_plan::script::ShotScript;

use crate::fake::{CHANNELS, Fake, Running, settings, summary, tell};

#[test]
fn a_story_is_text_context_denoise_commit_and_no_commit_where_nothing_follows() {
    let fake = Arc::new(Fake::default());
    tell(&fake, StoryState::new("Rain. ", 0), &["a cat", "a dog", "both"]);
    expect![[r#"
        text Rain. shot0:a cat
        context positions 0..=5 phases 000000 captions 000000 of ["Rain. shot0:a cat"]
        denoise 1000 positions 6..=8 phases 111 sees 0
        denoise 934 positions 6..=8 phases 111 sees 0
        denoise 833 positions 6..=8 phases 111 sees 0
        denoise 637 positions 6..=8 phases 111 sees 0
        commit positions 6..=8 phases 111
        denoise 1000 positions 9..=11 phases 111 sees 1
        denoise 934 positions 9..=11 phases 111 sees 1
        denoise 833 positions 9..=11 phases 111 sees 1
        denoise 637 positions 9..=11 phases 111 sees 1
        commit positions 9..=11 phases 111
        denoise 1000 positions 12..=14 phases 111 sees 2
        denoise 934 positions 12..=14 phases 111 sees 2
        denoise 833 positions 12..=14 phases 111 sees 2
        denoise 637 positions 12..=14 phases 111 sees 2
        text Rain. shot1:a dog
        context positions 0..=5 phases 000000 captions 000000 of ["Rain. shot0:a cat"]
        denoise 1000 positions 6..=8 phases 111 sees 0
        denoise 934 positions 6..=8 phases 111 sees 0
        denoise 833 positions 6..=8 phases 111 sees 0
        denoise 637 positions 6..=8 phases 111 sees 0
        commit positions 6..=8 phases 111
        denoise 1000 positions 9..=11 phases 111 sees 1
        denoise 934 positions 9..=11 phases 111 sees 1
        denoise 833 positions 9..=11 phases 111 sees 1
        denoise 637 positions 9..=11 phases 111 sees 1
        commit positions 9..=11 phases 111
        denoise 1000 positions 12..=14 phases 111 sees 2
        denoise 934 positions 12..=14 phases 111 sees 2
        denoise 833 positions 12..=14 phases 111 sees 2
        denoise 637 positions 12..=14 phases 111 sees 2
        text Rain. shot2:both
        context positions 0..=5 phases 000111 captions 000111 of ["Rain. shot0:a cat", "Rain. shot1:a dog"]
        denoise 1000 positions 6..=8 phases 222 sees 0
        denoise 934 positions 6..=8 phases 222 sees 0
        denoise 833 positions 6..=8 phases 222 sees 0
        denoise 637 positions 6..=8 phases 222 sees 0
        commit positions 6..=8 phases 222
        denoise 1000 positions 9..=11 phases 222 sees 1
        denoise 934 positions 9..=11 phases 222 sees 1
        denoise 833 positions 9..=11 phases 222 sees 1
        denoise 637 positions 9..=11 phases 222 sees 1
        commit positions 9..=11 phases 222
        denoise 1000 positions 12..=14 phases 222 sees 2
        denoise 934 positions 12..=14 phases 222 sees 2
        denoise 833 positions 12..=14 phases 222 sees 2
        denoise 637 positions 12..=14 phases 222 sees 2
    "#]].assert_eq(&fake.diary());
}

#[test]
fn a_viewer_hears_of_every_shot_and_chunk_in_order() {
    let fake = Arc::new(Fake::default());
    let long = "a zzebra runs and runs and runs and runs and runs and runs and runs and runs \
                and runs and runs and runs and runs";
    let events = tell(&fake, StoryState::new("Rain. ", 7), &["a cat", long]);
    expect![[r#"
        shot 0 starts, 33 frames, seed 7: "Rain. shot0:a cat", unknown [], dropped 0
        shot 0 chunk 0: 9 frames
        shot 0 chunk 1: 12 frames
        shot 0 chunk 2: 12 frames
        shot 0 finished, 33 frames, cut false
        shot 1 starts, 33 frames, seed 7: "Rain. shot1:a zzebra runs and runs and runs and runs and runs and runs and runs and runs and runs and runs and runs and runs", unknown ["zzebra"], dropped 24
        shot 1 chunk 0: 9 frames
        shot 1 chunk 1: 12 frames
        shot 1 chunk 2: 12 frames
        shot 1 finished, 33 frames, cut false
        finished
    "#]].assert_eq(&summary(&events));
}

#[test]
fn a_shot_may_have_its_own_length_and_seed() {
    let fake = Arc::new(Fake::default());
    let running = Running::start(&fake, settings(), StoryState::new("", 7));
    let (frames, seed) = (Some(PixelFrames(9)), Some(42));
    let shot = ShotScript { frames, seed, ..ShotScript::new("short") };
    running.commands.send(Command::AddShot { shot }).unwrap();
    running.commands.send(Command::Finish).unwrap();
    let (events, ..) = running.finish();
    expect![[r#"
        shot 0 starts, 9 frames, seed 42: "shot0:short", unknown [], dropped 0
        shot 0 chunk 0: 9 frames
        shot 0 finished, 9 frames, cut false
        finished
    "#]]
    .assert_eq(&summary(&events));
}

#[test]
fn a_shot_that_cannot_be_made_is_refused_and_the_story_goes_on() {
    let fake = Arc::new(Fake::default());
    let running = Running::start(&fake, settings(), StoryState::default());
    running.ask(&["  "]);
    let frames = Some(PixelFrames(10));
    let shot = ShotScript { frames, ..ShotScript::new("ragged") };
    running.commands.send(Command::AddShot { shot }).unwrap();
    running.ask(&["a cat"]);
    running.commands.send(Command::Finish).unwrap();
    let (events, ..) = running.finish();
    expect![[r#"
        refused "  ": the caption is blank: shot 0
        refused "ragged": a shot of 10 frames does not end with a chunk, the nearest have 9 and 21: shot 0
        shot 0 starts, 33 frames, seed 0: "shot0:a cat", unknown [], dropped 0
        shot 0 chunk 0: 9 frames
        shot 0 chunk 1: 12 frames
        shot 0 chunk 2: 12 frames
        shot 0 finished, 33 frames, cut false
        finished
    "#]].assert_eq(&summary(&events));
}

#[test]
fn latents_are_told_where_they_are_asked_for() {
    let fake = Arc::new(Fake::default());
    let asked = Settings { capture_latents: true, ..settings() };
    let running = Running::start(&fake, asked, StoryState::default());
    running.ask(&["a cat", "a dog"]);
    running.commands.send(Command::Finish).unwrap();
    let (events, ..) = running.finish();
    let told: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Latents { shot, latents, context } => Some((*shot, latents, context)),
            _ => None,
        })
        .collect();
    assert_eq!(told.len(), 2);
    for (index, (shot, latents, context)) in told.into_iter().enumerate() {
        assert_eq!((shot, latents.shape), (index, [9, CHANNELS, 2, 2]));
        let null = Latents::zeros([6, CHANNELS, 2, 2]);
        assert_eq!(*context == null, shot == 0);
    }
}

#[test]
fn the_same_seed_makes_the_same_frames_and_another_seed_others() {
    let frames = |seed, captions: &[&str]| -> Vec<_> {
        let events = tell(&Arc::new(Fake::default()), StoryState::new("", seed), captions);
        let chunks = events.into_iter().filter_map(|event| match event {
            Event::Frames { frames, .. } => Some(frames),
            _ => None,
        });
        chunks.flatten().collect()
    };
    let film = frames(3, &["a cat", "a dog"]);
    assert_eq!(film.len(), 66);
    assert_eq!(frames(3, &["a cat", "a dog"]), film);
    assert_ne!(frames(4, &["a cat", "a dog"]), film);
    assert_ne!(frames(3, &["a cow", "a dog"])[33..], film[33..], "the past is remembered");
}
