//! Scripts that are read, and the sentence that each bad one gets.

use std::path::Path;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Script, ScriptError> {
    Script::parse(text, Format::of_text(text), &Recipe::tiny())
}

fn check(text: &str, expected: Expect) {
    expected.assert_eq(&parse(text).expect_err("the script is bad").to_string());
}

const TOML: &str = r#"
global = "A park. "

[[shots]]
caption = "A cat."

[[shots]]
caption = "A dog."
frames = 45
seed = 7
"#;

#[test]
fn toml_and_json_mean_the_same() {
    let json = r#"{
        "global": "A park. ",
        "shots": [{"caption": "A cat."}, {"seed": 7, "frames": 45, "caption": "A dog."}]
    }"#;
    assert_eq!(parse(json), parse(TOML));
    let script = parse(TOML).unwrap();
    assert_eq!(script.shots[0], ShotScript::new("A cat."));
    assert_eq!(script.shots[1].frames, Some(PixelFrames(45)));
    assert_eq!(script.shots[1].seed, Some(7));
}

#[test]
fn words_may_change_between_the_chunks_of_a_shot() {
    let toml = "[[shots]]\ncaption = \"A cat.\"\nthen = [\n  { after_chunks = 1, caption = \"It \
                runs.\" },\n  { after_chunks = 2, caption = \"It sits.\" },\n]\n";
    let shot = parse(toml).unwrap().shots.remove(0);
    let rewrite = |after_chunks, caption: &str| Rewrite { after_chunks, caption: caption.into() };
    assert_eq!(shot.then, [rewrite(1, "It runs."), rewrite(2, "It sits.")]);
    let of = |frame| shot.rewrite_of(frame, Recipe::tiny().geometry()).map(|it| it.after_chunks);
    assert_eq!([0, 8, 9, 20, 21, 32].map(of), [None, None, Some(1), Some(1), Some(2), Some(2)]);
}

#[test]
fn words_that_cannot_change_there_are_refused() {
    let with = |then: &str| format!("[[shots]]\ncaption = \"a\"\nthen = {then}\n");
    check(
        &with("[{ after_chunks = 3, caption = \"b\" }]"),
        expect![
            "words change between two chunks of a shot, not after 3 of 3: shots[0].then, line 3"
        ],
    );
    check(
        &with("[{ after_chunks = 0, caption = \"b\" }]"),
        expect![
            "words change between two chunks of a shot, not after 0 of 3: shots[0].then, line 3"
        ],
    );
    let twice = "[{ after_chunks = 2, caption = \"b\" }, { after_chunks = 2, caption = \"c\" }]";
    check(
        &with(twice),
        expect![
            "words change in order, not after 2 chunks when they did after 2: shots[0].then, line 3"
        ],
    );
    check(
        &with("[{ after_chunks = 1, caption = \" \" }]"),
        expect!["the caption is blank: shots[0].then[0].caption, line 3"],
    );
    check(
        &with("[{ caption = \"b\" }]"),
        expect!["a key is missing: shots[0].then[0].after_chunks, line 3"],
    );
    check(&with("7"), expect!["expected a list of tables, found a number: shots[0].then, line 3"]);
}

#[test]
fn the_references_json_is_read_and_its_other_keys_ignored() {
    let text = "\u{feff}{\"video_path\": null, \"shot2\": \"tw\\u00f6 \\\"x\\\"\",
        \"global_caption\": \"G. \", \"notes\": [1, {\"a\": \"]\"}], \"shot1\": \"one\"}";
    let script = parse(text).unwrap();
    assert_eq!(script.global, "G. ");
    assert_eq!(script.shots, [ShotScript::new("one"), ShotScript::new("twö \"x\"")]);
}

#[test]
fn ten_shots_keep_their_numerical_order() {
    let mut text = String::from("global_caption = \"g\"\n");
    for number in (1..=12).rev() {
        text.push_str(&format!("shot{number} = \"caption {number}\"\n"));
    }
    let script = parse(&text).unwrap();
    assert_eq!(script.shots[1].caption, "caption 2");
    assert_eq!(script.shots[11].caption, "caption 12");
}

#[test]
fn a_prompt_is_the_references_string() {
    let script = parse(TOML).unwrap();
    assert_eq!(script.prompt(0), "A park. shot0:A cat.");
    assert_eq!(script.prompt(1), "A park. shot1:A dog.");
}

#[test]
fn the_extension_decides_and_otherwise_the_first_character() {
    assert_eq!(Format::of(Path::new("a.JSON"), "global = 1"), Format::Json);
    assert_eq!(Format::of(Path::new("a.toml"), "{}"), Format::Toml);
    assert_eq!(Format::of(Path::new("story"), " \n{}"), Format::Json);
    assert_eq!(Format::of(Path::new("story.txt"), "global = 1"), Format::Toml);
}

#[test]
fn an_empty_story_is_refused() {
    check(" \n", expect!["the story is empty"]);
    let no_shots =
        expect!["the story has no shots, expected [[shots]] with a caption, or shot1, shot2, …"];
    no_shots.assert_eq(&parse("{}").expect_err("no shots").to_string());
    no_shots.assert_eq(&parse("global = \"g\"").expect_err("no shots").to_string());
    no_shots.assert_eq(&parse(r#"{"shots": []}"#).expect_err("no shots").to_string());
    no_shots.assert_eq(&parse(r#"{"global_caption": "g"}"#).expect_err("no shots").to_string());
}

#[test]
fn malformed_text_is_refused_with_its_line() {
    check(
        "{\"shot1\": \"a\",\n \"shot2\": }",
        expect!["the story is not valid JSON, expected value: line 2"],
    );
    check(
        "{\"shot1\": \"a\"",
        expect!["the story is not valid JSON, EOF while parsing an object: line 1"],
    );
    check(
        "global = \"g\"\n[[shots]\ncaption = 1\n",
        expect!["the story is not valid TOML, unclosed array table, expected `]`: line 2"],
    );
    check(
        "A cat waves.\n",
        expect!["the story is not valid TOML, key with no value, expected `=`: line 1"],
    );
    let list = Script::parse("[1]", Format::Json, &Recipe::tiny());
    let list = list.expect_err("a story is a table").to_string();
    expect!["expected a table, found a list: line 1"].assert_eq(&list);
}

#[test]
fn a_missing_shot_is_named() {
    check(
        "{\"global_caption\": \"g\",\n\"shot2\": \"b\",\n\"shot3\": \"c\"}",
        expect!["a shot is missing, though shot2 is there: shot1, line 2"],
    );
    check(
        "{\"global_caption\": \"g\",\n\"shot1\": \"a\",\n\n\"shot3\": \"c\"}",
        expect!["a shot is missing, though shot3 is there: shot2, line 4"],
    );
}

#[test]
fn a_missing_key_is_named() {
    check("{\"shot1\": \"a\"}", expect!["a key is missing: global_caption"]);
    check(
        "global = \"g\"\n[[shots]]\ncaption = \"a\"\n[[shots]]\nseed = 1\n",
        expect!["a key is missing: shots[1].caption, line 4"],
    );
}

#[test]
fn an_unknown_or_doubled_key_is_named() {
    check(
        "[[shots]]\ncaption = \"a\"\nframe = 33\n",
        expect!["unknown key, expected one of caption, frames, seed, then: shots[0].frame, line 3"],
    );
    check(
        "{\"shots\": [], \"a\\nb\": 1}",
        expect![r"unknown key, expected one of global, shots: a\nb, line 1"],
    );
    check(
        "globl = \"g\"\n[[shots]]\ncaption = \"a\"\n",
        expect!["unknown key, expected one of global, shots: globl, line 1"],
    );
    check(
        "{\"global_caption\": \"g\", \"shot1\": \"a\",\n\"shot1\": \"b\"}",
        expect!["a key stands twice: shot1, line 2"],
    );
    check(
        "{\"global_caption\": \"g\", \"shot1\": \"a\",\n\"shot02\": \"b\"}",
        expect!["a shot key must count from shot1 without leading zeros: shot02, line 2"],
    );
    check(
        "{\"global_caption\": \"g\",\n\"shot0\": \"a\", \"shot1\": \"b\"}",
        expect!["a shot key must count from shot1 without leading zeros: shot0, line 2"],
    );
    check(
        "{\"global\": \"g\", \"shots\": [{\"caption\": \"a\"}],\n\"shot1\": \"b\"}",
        expect![
            "a story lists its shots either under shots or as shot1, shot2, …, not both: shot1, line 2"
        ],
    );
}

#[test]
fn a_value_of_another_type_is_named() {
    check(
        "{\"global_caption\": \"g\",\n\"shot1\": 3}",
        expect!["expected text, found a number: shot1, line 2"],
    );
    check(
        "{\"global_caption\": null, \"shot1\": \"a\"}",
        expect!["expected text, found null: global_caption, line 1"],
    );
    check("shots = \"a\"", expect!["expected a list of tables, found text: shots, line 1"]);
    check(
        "{\"shots\": [\n\"a\"]}",
        expect!["expected a table with a caption, found text: shots[0], line 2"],
    );
    for (value, found) in [
        ("-1", "a negative number"),
        ("1.5", "a fraction"),
        ("true", "true or false"),
        ("\"33\"", "text"),
        ("99999999999999999999", "a number beyond 64 bits"),
    ] {
        let said = |text: &str| parse(text).expect_err("the seed is bad").to_string();
        let expected = format!("expected a whole number, found {found}: shots[0].seed, line 3");
        assert_eq!(said(&format!("[[shots]]\ncaption = \"a\"\nseed = {value}\n")), expected);
        let json = format!("{{\"shots\": [\n{{\"caption\": \"a\",\n\"seed\": {value}}}]}}");
        assert_eq!(said(&json), expected);
    }
}

#[test]
fn blank_and_absurd_captions_are_refused() {
    check(
        "{\"global_caption\": \"g\",\n\"shot1\": \" \\n\"}",
        expect!["the caption is blank: shot1, line 2"],
    );
    check("global = \"\"\nshots = []", expect!["the caption is blank: global, line 1"]);
    check(
        &format!("[[shots]]\ncaption = \"{}\"\n", "word ".repeat(4001)),
        expect![
            "the caption has 20005 characters, at most 20000 are read: shots[0].caption, line 2"
        ],
    );
    let long = format!("[[shots]]\ncaption = \"{}\"\n", "ü".repeat(20_000));
    assert!(parse(&long).is_ok());
}

#[test]
fn a_length_that_does_not_end_with_a_chunk_is_refused() {
    check(
        "[[shots]]\ncaption = \"a\"\nframes = 34\n",
        expect![
            "a shot of 34 frames does not end with a chunk, the nearest have 33 and 45: shots[0].frames, line 3"
        ],
    );
    check(
        "[[shots]]\ncaption = \"a\"\nframes = 0\n",
        expect![
            "a shot of 0 frames does not end with a chunk, the shortest has 9: shots[0].frames, line 3"
        ],
    );
    check(
        "[[shots]]\ncaption = \"a\"\nframes = 4077\n",
        expect!["a shot of 4077 frames is too long, the longest has 4065: shots[0].frames, line 3"],
    );
}

/// Pieces of which bad scripts are made.
const PIECES: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    "[[shots]]\n",
    "\"shot1\"",
    "\"shots\"",
    ":",
    ",",
    "=",
    "\n",
    " ",
    "caption",
    "global",
    "\"ü \\\" \"",
    "-1",
    "1e9",
    "null",
    "true",
    "'''",
    "\\",
    "#",
    "é",
    "\"\"\"",
];

proptest! {
    #[test]
    fn any_text_gets_a_script_or_one_sentence(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24),
    ) {
        let text = pieces.concat();
        for format in [Format::Toml, Format::Json] {
            if let Err(error) = Script::parse(&text, format, &Recipe::tiny()) {
                prop_assert_eq!(error.to_string().lines().count(), 1);
                let lines = 1 + text.matches('\n').count();
                prop_assert!(error.line.is_none_or(|line| (1..=lines).contains(&line)));
            }
        }
    }

    #[test]
    fn any_caption_survives_json(captions in prop::collection::vec("[^\\s].{0,40}", 1..5)) {
        let mut story = serde_json::Map::new();
        story.insert("global_caption".into(), "g".into());
        for (number, caption) in (1..).zip(&captions) {
            story.insert(format!("shot{number}"), caption.as_str().into());
        }
        let text = serde_json::to_string_pretty(&story).expect("a map of strings");
        let read: Vec<_> = parse(&text)?.shots.into_iter().map(|shot| shot.caption).collect();
        prop_assert_eq!(read, captions);
    }
}
