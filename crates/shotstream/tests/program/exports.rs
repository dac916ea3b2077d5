//! `--export`: a film with everything around it, in a folder of its own.

use std::fs;

use serde_json::Value;
use shotstream_media::{decode::read_film, png::read_png};

use crate::fixture::{Home, STORY_FRAMES};

/// Names of all files of a folder, sorted.
fn names(home: &Home, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(home.path(folder)).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn text(home: &Home, name: &str) -> String {
    fs::read_to_string(home.path(name)).unwrap()
}

#[test]
fn a_film_is_exported_with_all_that_other_programs_want() {
    let home = Home::with_story();
    let run = home.done(&["generate", "story.toml", "--export", "fox", "--report", "a.json"]);
    assert!(run.stderr.lines().last().unwrap().starts_with("fox: 30 frames"), "{}", run.stderr);
    assert_eq!(home.files(), ["a.json", "fox", "story.toml"]);
    let endings =
        ["chapters.vtt", "edl", "fcpxml", "gif", "json", "mp4", "otio", "png", "srt", "vtt"];
    let expected = endings.map(|ending| format!("story.{ending}"));
    assert_eq!(names(&home, "fox"), [&["clips".to_owned()][..], &expected].concat());
    assert_eq!(names(&home, "fox/clips"), ["story-001.mp4", "story-002.mp4"]);

    let film = home.film("fox/story.mp4");
    assert_eq!(film.len(), STORY_FRAMES);
    assert_eq!(home.film("fox/clips/story-001.mp4"), film[..9]);
    assert_eq!(home.film("fox/clips/story-002.mp4"), film[9..]);
    let srt = text(&home, "fox/story.srt");
    assert!(srt.contains("2\n00:00:00,563 --> 00:00:01,875\nClose-up of the fox at night.\n"));
    assert!(text(&home, "fox/story.edl").contains("* FROM CLIP NAME: story.mp4\n"));
    let otio: Value = serde_json::from_str(&text(&home, "fox/story.otio")).unwrap();
    let clip = &otio["tracks"]["children"][0]["children"][1];
    assert_eq!(clip["media_reference"]["target_url"], "story.mp4");
    assert_eq!(clip["source_range"]["start_time"]["value"], 9.0);
    let url = format!("src=\"file://{}", home.path("fox/story.mp4").display());
    assert!(text(&home, "fox/story.fcpxml").contains(&url));
    assert_eq!(read_png(&home.path("fox/story.png")).unwrap().width, 20 + 2 * 340);
    assert_eq!(&fs::read(home.path("fox/story.gif")).unwrap()[..6], b"GIF89a");

    // The story as it was told makes the same film, whatever the seed that is asked for.
    let again = ["generate", "fox/story.json", "--seed", "9", "-o", "b.mp4", "--report", "b.json"];
    home.done(&again);
    assert_eq!(home.json("a.json")["frames_sha256"], home.json("b.json")["frames_sha256"]);
}

#[test]
fn only_what_is_asked_for_is_exported() {
    let home = Home::with_story();
    home.done(&["generate", "story.toml", "--export", "fox", "--only", "edl,subtitles"]);
    let expected = ["story.chapters.vtt", "story.edl", "story.mp4", "story.srt", "story.vtt"];
    assert_eq!(names(&home, "fox"), expected);
}

#[test]
fn a_film_of_lines_is_exported_with_the_lines_that_were_told() {
    let home = Home::new();
    let lines = format!("The fox waves.\n{}\nThe fox jumps.\n/quit\n", "fox ".repeat(9000));
    home.write("lines", lines);
    let mut play = home.command(&["play", "--export", "my film", "--global", "A red fox."]);
    play.stdin(fs::File::open(home.path("lines")).unwrap());
    assert!(play.output().unwrap().status.success());
    let story = home.json("my film/my film.json");
    assert_eq!(story["global"], "A red fox.");
    let captions: Vec<_> =
        story["shots"].as_array().unwrap().iter().map(|shot| &shot["caption"]).collect();
    assert_eq!(captions, ["The fox waves.", "The fox jumps."]);
    assert!(text(&home, "my film/my film.otio").contains("\"target_url\": \"my%20film.mp4\""));
    assert_eq!(read_film(&home.path("my film/my film.mp4")).unwrap().len(), 66);
}

#[test]
fn nothing_that_exists_is_lost_to_an_export() {
    let home = Home::with_story();
    fs::create_dir(home.path("folder")).unwrap();
    home.write("folder/film.txt", "taken");
    let refused =
        |code, flags: &[&str]| home.refused(code, &[&["generate", "story.toml"], flags].concat());
    assert_eq!(
        refused(1, &["--export", "folder"]),
        "error: cannot export here: directory not empty: folder"
    );
    assert!(refused(1, &["--export", "story.toml"]).contains("cannot export here: "));
    assert!(refused(1, &["--export", "missing/folder"]).contains("cannot export here: No such"));
    assert_eq!(refused(2, &["--export", ".."]), "error: the folder has no name: ..");
    refused(2, &["--export", "new", "--scale", "40"]);
    for flags in [["--export", "new", "-o", "film.mp4"], ["--only", "gif", "-o", "film.mp4"]] {
        let run = home.run(&[&["generate", "story.toml"], &flags[..]].concat());
        assert_eq!(run.code, Some(2), "{}", run.stderr);
    }
    assert_eq!(home.files(), ["folder", "story.toml"]);
}
