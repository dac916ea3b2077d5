//! Whatever goes wrong ends the session with one sentence, and never hangs.

use std::collections::BTreeMap;
use std::sync::Arc;

use shotstream_engine::event::{Command, Event};
use shotstream_engine::network::{Latents, NetworkError};
use shotstream_engine::noise::Noise;
use shotstream_engine::session::{Ending, Settings};
use shotstream_engine::story::StoryState;

use crate::fake::{CHANNELS, Fake, Running, settings, summary};

/// Tell two shots and return the last event, which must be a failure.
fn failure_of(fake: Fake, settings: Settings) -> String {
    let running = Running::with_capacity(&Arc::new(fake), settings, StoryState::default(), 1);
    running.ask(&["a cat", "a dog"]);
    running.commands.send(Command::Finish).unwrap();
    let (events, ending, _) = running.finish();
    assert_eq!(ending, Ending::Failed);
    assert!(matches!(events.last(), Some(Event::Failed { .. })));
    summary(&events).lines().last().unwrap().to_owned()
}

#[test]
fn a_network_that_fails_anywhere_ends_the_session_with_its_reason() {
    let passes = [
        "text shot0",
        "text shot1",
        "context",
        "context positions 0..=5 phases 000000 captions 000000 of [\"shot0:a cat\"]",
        "denoise 1000",
        "denoise 1000 positions 12..=14",
        "commit positions 6",
        "commit positions 9",
        "decode",
        "encode",
    ];
    for pass in passes {
        let said = failure_of(Fake::failing(pass), settings());
        assert_eq!(said, "failed: the fake network failed: out of memory", "{pass}");
    }
}

#[test]
fn a_decoder_that_panics_ends_the_session_with_its_last_words() {
    let fake = Fake::with_hook(|line| match line {
        "decode 3" => panic!("a shape is wrong"),
        _ => Ok(()),
    });
    let said = failure_of(fake, settings());
    assert_eq!(said, "failed: the decoder stopped unexpectedly: a shape is wrong");
}

#[test]
fn given_noise_that_is_missing_is_named() {
    let initial = Latents::zeros([9, CHANNELS, 2, 2]);
    let entries = BTreeMap::from([("shot0.initial".to_owned(), initial)]);
    let settings = Settings { noise: Noise::Given(entries), ..settings() };
    let said = failure_of(Fake::default(), settings);
    assert_eq!(said, "failed: the given noise has no entry shot0.chunk0.step1");
}

#[test]
fn numbers_that_run_away_are_noticed() {
    let initial = Latents { shape: [9, CHANNELS, 2, 2], data: vec![f32::NAN; 9 * CHANNELS * 4] };
    let mut entries = BTreeMap::from([("shot0.initial".to_owned(), initial)]);
    for chunk in 0..3 {
        for step in 1..4 {
            let zeros = Latents::zeros([3, CHANNELS, 2, 2]);
            entries.insert(format!("shot0.chunk{chunk}.step{step}"), zeros);
        }
    }
    let settings = Settings { noise: Noise::Given(entries), ..settings() };
    let said = failure_of(Fake::default(), settings);
    assert_eq!(said, "failed: the decoder made values that are not numbers: shot 0, chunk 0");
}

#[test]
fn a_failure_while_nobody_watches_is_a_viewer_who_left() {
    for capacity in [0, 8] {
        let fake = Arc::new(Fake::with_hook(|line| match line.starts_with("commit") {
            true => Err(NetworkError::Failed { network: "fake network", source: "late".into() }),
            false => Ok(()),
        }));
        let story = StoryState::default();
        let running = Running::with_capacity(&fake, settings(), story, capacity);
        running.ask(&["a cat"]);
        drop(running.next());
        let ending = running.leave();
        assert_ne!(ending, Ending::Finished, "room for {capacity}");
    }
}
