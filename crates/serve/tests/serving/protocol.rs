//! The page that describes the protocol is true.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use shotstream_serve::protocol::{Request, Said};

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
        "session.draining",
        "pong",
    ];
    assert_eq!(types::<Said>("server"), server);
}
