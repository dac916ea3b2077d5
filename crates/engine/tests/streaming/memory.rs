//! What a story carries from shot to shot, and what it leaves behind.

use std::sync::Arc;

use shotstream_engine::event::{Command, Event};
use shotstream_engine::meter::{Meter, Stage};
use shotstream_engine::network::Blend as _;
use shotstream_engine::session::{Ending, Networks, run};
use shotstream_engine::story::{PinnedFrame, StoryState};
use shotstream_plan::context::ContextFrame;

use crate::fake::{Fake, Running, frames, settings, tell};

#[test]
fn a_hundred_shots_leave_no_more_behind_than_ten() {
    let fake = Arc::new(Fake::default());
    let running = Running::start(&fake, settings(), StoryState::default());
    let (mut live_texts, mut kept_frames) = (Vec::new(), Vec::new());
    for shot in 0..100 {
        running.ask(&[&format!("caption {shot}")]);
        let story = loop {
            if let Event::ShotFinished { story, .. } = running.next() {
                break story;
            }
        };
        let texts = fake.text_caches.lock().unwrap();
        live_texts.push(texts.iter().filter(|text| 0 < text.strong_count()).count());
        kept_frames.push(story.shots.values().map(|past| past.frames.len()).sum::<usize>());
        assert!(story.shots.len() <= 6);
    }
    running.commands.send(Command::Finish).unwrap();
    assert!(live_texts.iter().max() <= Some(&9), "{live_texts:?}");
    assert_eq!(kept_frames[10..50].iter().max(), kept_frames[60..].iter().max());
    assert!(kept_frames.iter().max() <= Some(&42), "{kept_frames:?}");
    assert_eq!(fake.count("text"), 100, "every caption is read once");
}

#[test]
fn every_frame_is_encoded_once_and_only_where_a_later_shot_may_ask_for_it() {
    let fake = Arc::new(Fake::default());
    let events = tell(&fake, StoryState::default(), &["a cat"]);
    let Some(Event::ShotFinished { story, .. }) = events.iter().nth_back(1) else {
        panic!("the shot finishes")
    };
    let plan = events.iter().find_map(|event| match event {
        Event::ShotStarted { plan, .. } => Some(plan),
        _ => None,
    });
    let candidates = &plan.unwrap().candidates;
    assert!(story.shots[&0].frames.keys().eq(candidates));
    let diary = fake.decoder_diary.lock().unwrap();
    let encoded = diary.iter().filter_map(|line| line.strip_prefix("encode "));
    assert_eq!(encoded.map(|n| n.parse::<usize>().unwrap()).sum::<usize>(), candidates.len());
}

#[test]
fn a_story_that_is_taken_up_again_goes_on_as_if_it_had_never_stopped() {
    let start = || StoryState::new("Rain. ", 5);
    let whole = frames(tell(&Arc::new(Fake::default()), start(), &["one", "two", "three"]));
    let events = tell(&Arc::new(Fake::default()), start(), &["one", "two"]);
    let Some(Event::ShotFinished { story, .. }) = events.iter().nth_back(1) else {
        panic!("the second shot finishes")
    };
    let story = story.clone();
    let rest = frames(tell(&Arc::new(Fake::default()), story.clone(), &["three"]));
    assert_eq!(rest, whole[66..]);
    let other = frames(tell(&Arc::new(Fake::default()), story, &["another three"]));
    assert_ne!(other, rest, "a branch goes its own way");
}

#[test]
fn the_meter_counts_every_pass_and_times_every_first_frame() {
    let fake = Fake::default();
    let networks = Networks { text: &fake, denoiser: &fake, decoder: &fake, encoder: &fake };
    let (commands, receiver) = std::sync::mpsc::sync_channel(8);
    for caption in ["a cat", "a dog"] {
        commands.send(Command::add_shot(caption)).unwrap();
    }
    drop(commands);
    let (sender, events) = shotstream_engine::event::channel(64);
    let meter = Meter::default();
    let mut story = StoryState::default();
    let ending = run(&networks, &settings(), &mut story, &receiver, &sender, &meter);
    assert_eq!(ending, Ending::Finished);
    drop(events);
    let counts: Vec<_> = meter.stages().iter().map(|report| (report.stage, report.count)).collect();
    let expected = [
        (Stage::Text, 2),
        (Stage::Context, 2),
        (Stage::Denoise, 2 * 3 * 4),
        (Stage::Commit, 2 * 2),
        (Stage::Decode, 2 * 3),
    ];
    assert_eq!(counts[..5], expected);
    assert_eq!(counts[5].0, Stage::Remember);
    let shots: Vec<_> = meter.first_frames().iter().map(|(shot, _)| *shot).collect();
    assert_eq!(shots, [0, 1]);
    assert!(meter.first_frames().iter().all(|(_, millis)| 0.0 < *millis && *millis < 20_000.0));
}

/// Tell one shot after `story`, in a session that has told another story before.
fn after(story: &StoryState, caption: &str) -> Vec<Event> {
    let running =
        Running::start(&Arc::new(Fake::default()), settings(), StoryState::new("Sun. ", 9));
    running.ask(&["elsewhere"]);
    while !matches!(running.next(), Event::ShotFinished { .. }) {}
    running.commands.send(Command::GoTo { story: Box::new(story.clone()) }).unwrap();
    running.ask(&[caption]);
    running.commands.send(Command::Finish).unwrap();
    running.finish().0
}

/// A story of two shots.
fn two_shots() -> StoryState {
    let events = tell(&Arc::new(Fake::default()), StoryState::new("Rain. ", 5), &["one", "two"]);
    let Some(Event::ShotFinished { story, .. }) = events.into_iter().nth_back(1) else {
        panic!("the second shot finishes")
    };
    story
}

#[test]
fn a_session_that_goes_to_another_state_goes_on_from_there() {
    let story = two_shots();
    let direct = frames(tell(&Arc::new(Fake::default()), story.clone(), &["three"]));
    assert_eq!(frames(after(&story, "three")), direct);
}

#[test]
fn a_pinned_frame_is_shown_to_the_next_shot_even_when_its_shot_is_forgotten() {
    let mut story = two_shots();
    let first = story.shots[&0].clone();
    let plain = frames(after(&story, "three"));
    let (&frame, latents) = first.frames.iter().nth(2).unwrap();
    let pin = PinnedFrame { prompt: first.prompt, latents: latents.clone() };
    story.pins.insert(ContextFrame { shot: 0, frame }, pin);
    story.shots.remove(&0).unwrap();
    let remembered = after(&story, "three");
    assert!(
        matches!(remembered.last(), Some(Event::Failed { .. })),
        "the other frames of a shot nobody remembers are gone"
    );
    let mut story = two_shots();
    story.pins.insert(
        ContextFrame { shot: 0, frame },
        PinnedFrame {
            prompt: "another".to_owned(),
            latents: Arc::new(latents.blend(-1.0, latents, 0.0)),
        },
    );
    story.shots.get_mut(&0).unwrap().frames.remove(&frame);
    assert_ne!(frames(after(&story, "three")), plain, "the pin is seen");
}
