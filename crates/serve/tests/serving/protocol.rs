//! The page that describes the protocol is true.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shotstream_damage::{Dice, damaged, inputs};
use shotstream_serve::protocol::{Request, Said};
use shotstream_story::record::Premise;
use shotstream_story::teller::Teller as _;
use shotstream_story::tree::Story;

use crate::fake::Fake;

const PAGE: &str = include_str!("../../../../docs/PROTOCOL.md");

/// The JSON blocks of one side.
fn examples(side: &str) -> Vec<&'static str> {
    let opening = format!("```json {side}\n");
    PAGE.split(opening.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// Every example means what it says: read and written again it is the same.
fn types<T: Serialize + DeserializeOwned>(side: &str) -> Vec<String> {
    let mut types = Vec::new();
    for example in examples(side) {
        let read: T = serde_json::from_str(example).unwrap_or_else(|e| panic!("{e}: {example}"));
        let written = serde_json::to_value(read).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(example).unwrap());
        types.push(written["type"].as_str().unwrap().to_owned());
    }
    types
}

#[test]
fn every_message_of_both_sides_is_described() {
    let client = [
        "shot.append",
        "shot.append",
        "shot.retake",
        "film.remake",
        "film.trim",
        "film.go_to",
        "film.choose",
        "frame.pin",
        "frame.unpin",
        "picture.pin",
        "picture.unpin",
        "cast.set",
        "cast.rename",
        "cast.remove",
        "memory.share",
        "undo",
        "redo",
        "prompt.update",
        "cut",
        "title",
        "playback",
        "ping",
    ];
    assert_eq!(types::<Request>("client"), client);
    let server = [
        "session.created",
        "story.updated",
        "story.updated",
        "take.started",
        "chunk.made",
        "prompt.updated",
        "prompt.unused",
        "take.finished",
        "take.failed",
        "done",
        "error",
        "error",
        "session.draining",
        "pong",
    ];
    assert_eq!(types::<Said>("server"), server);
}

/// Messages with random damage are refused or understood; what is understood means one thing, and
/// what it asks of a story is done as a whole or refused.
#[test]
fn fuzz_what_directors_send() {
    let teller = Fake::new(0.0);
    let recipe = &teller.settings().recipe;
    let blank = || {
        let text = || "fake".to_owned();
        let premise = Premise {
            title: text(),
            global: text(),
            seed: 1,
            model: text(),
            recipe: recipe.to_toml(),
        };
        Story::new(premise)
    };
    let examples = examples("client");
    let (mut story, mut understood) = (blank(), 0_u64);
    for input in 0..inputs() {
        let mut dice = Dice::of(input);
        let example = examples[dice.below(examples.len())].as_bytes();
        let message = match dice.below(4) {
            0 => example.to_vec(),
            _ => damaged(example, example.len(), &mut dice),
        };
        let Ok(Ok(request)) = str::from_utf8(&message).map(Request::parse) else {
            continue;
        };
        understood += 1;
        let again = serde_json::to_string(&request).unwrap();
        assert_eq!(Request::parse(&again).unwrap(), request, "{again}");
        let Some(edit) = request.ask.edit() else { continue };
        if let Ok(records) = story.edit(&edit, recipe) {
            for record in &records {
                story.apply(record).unwrap();
            }
        }
        if 200 < story.num_records() {
            story = blank();
        }
    }
    assert!(0 < understood && understood < inputs(), "{understood}");
}
