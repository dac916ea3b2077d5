//! The example stories: every one can be told, in words the model knows.

use std::{collections::BTreeSet, fs};

use shotstream_plan::{
    recipe::Recipe,
    script::{Format, Script},
};
use shotstream_world::vocabulary;

use crate::fixture::{Home, root};

/// Every example by name.
fn examples() -> Vec<(String, Script)> {
    let entries = fs::read_dir(root().join("examples")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_file());
    paths.sort();
    let read = |path: std::path::PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let script = Script::parse(&text, Format::of(&path, &text), &Recipe::tiny()).unwrap();
        (path.file_name().unwrap().to_str().unwrap().to_owned(), script)
    };
    paths.into_iter().map(read).collect()
}

#[test]
fn there_are_stories_of_two_four_and_twelve_shots() {
    let shots: Vec<_> =
        examples().into_iter().map(|(name, script)| (name, script.shots.len())).collect();
    let expected =
        [("around-the-world.json", 12), ("fox-in-the-snow.json", 4), ("two-friends.toml", 2)];
    assert_eq!(shots, expected.map(|(name, count)| (name.to_owned(), count)));
}

#[test]
fn examples_are_told_in_words_of_the_world() {
    let known: BTreeSet<_> = vocabulary().into_iter().collect();
    for (name, script) in examples() {
        let captions = script.shots.iter().map(|shot| &shot.caption).chain([&script.global]);
        for caption in captions {
            let lower = caption.to_lowercase();
            for word in lower.split(|c: char| !c.is_alphanumeric()).filter(|w| !w.is_empty()) {
                assert!(known.contains(word), "{word:?} of {name}");
            }
        }
    }
}

#[test]
fn the_fox_in_the_snow_is_filmed_without_a_warning() {
    let home = Home::new();
    let story = root().join("examples/fox-in-the-snow.json");
    let run = home.done(&["generate", story.to_str().unwrap()]);
    assert_eq!(home.film("fox-in-the-snow.mp4").len(), 4 * 33);
    assert!(!run.stderr.contains("warning"), "{}", run.stderr);
}
