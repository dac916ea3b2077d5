//! `prepare`: shards of drawn stories and of videos, killed and gone on with.

use std::{fs, thread, time::Duration};

use crate::fixture::Home;

const DRAWN: [&str; 9] =
    ["prepare", "--world", "5", "--shots", "2", "--frames", "9", "--shard", "1"];

fn contents(home: &Home, dir: &str) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(home.path(dir)).unwrap().map(|file| file.unwrap());
    let mut files: Vec<_> = files
        .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn a_preparation_that_is_killed_at_any_moment_ends_in_the_same_bytes() {
    let home = Home::new();
    let whole = home.done(&[&DRAWN[..], &["-o", "whole"]].concat());
    assert_eq!(whole.text(), "5 stories in 5 shards, 0 of them kept: whole\n");
    for shards in 0..4 {
        let mut child = home.start(&[&DRAWN[..], &["-o", "parts", "--threads", "1"]].concat());
        let finished = || home.path(&format!("parts/{shards:06}.tar")).exists();
        while !finished() && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let tars = contents(&home, "parts").into_iter().filter(|(name, _)| name.ends_with(".tar"));
        assert!(tars.count() > shards, "finished shards are kept");
    }
    home.done(&[&DRAWN[..], &["-o", "parts"]].concat());
    assert_eq!(contents(&home, "parts"), contents(&home, "whole"));
}

/// A table of one drawn story and one row that cannot be read.
fn with_table() -> Home {
    let home = Home::new();
    fs::create_dir(home.path("clips")).unwrap();
    home.done(&["world", "draw", "-o", "clips/drawn.mp4", "--seed", "4", "--shots", "2"]);
    home.write("clips/bad.avi", "RIFF");
    home.write(
        "clips/story.json",
        r#"{"global_caption": "A fox.", "shot1": "It waves.", "shot2": "It jumps."}"#,
    );
    let rows = "json_path,video_path,frame_number\n\
        story.json,drawn.mp4,\"[[0, 33], [33, 66]]\"\nstory.json,bad.avi,\"[[0, 33], [33, 66]]\"\n";
    home.write("clips/table.csv", rows);
    home
}

#[test]
fn a_clip_that_cannot_be_read_is_named_and_counted_and_the_others_are_kept() {
    let home = with_table();
    let run = home.done(&["prepare", "clips", "-o", "shards"]);
    assert!(
        run.text().starts_with(
            "1 stories in 1 shards, 0 of them kept: shards\n1 stories left out:\n  row 2: "
        ),
        "{}",
        run.text()
    );
    let told = run.stderr.lines().find(|line| line.starts_with("left out: row 2: ")).unwrap();
    assert!(told.ends_with("clips/bad.avi"), "{told}");
    let names: Vec<_> = contents(&home, "shards").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, [".lock", "000000.refused.jsonl", "000000.tar", "prepared.json"]);
    let rooted = ["prepare", "clips/table.csv", "--root", "elsewhere", "-o", "other"];
    assert!(home.done(&rooted).text().starts_with("0 stories in 1 shards"));
}

#[test]
fn a_strict_preparation_stops_at_the_first_bad_clip() {
    let home = with_table();
    let mut command = home.command(&["prepare", "clips", "-o", "shards", "--strict"]);
    let output = command.env("PATH", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let told = String::from_utf8(output.stderr).unwrap();
    let error = "error: row 2: this video needs ffmpeg, which is not installed (this is not a film or \
                 picture of ours: it is no MP4): ";
    let last = told.lines().last().unwrap();
    assert!(last.starts_with(error) && last.ends_with("clips/bad.avi"), "{told}");
    assert!(!home.path("shards/000000.tar").exists());
}

#[test]
fn what_cannot_be_prepared_is_refused_before_anything_is_written() {
    let home = with_table();
    let refused =
        |arguments: &[&str]| home.refused(2, &[&["prepare", "-o", "out"], arguments].concat());
    assert_eq!(
        refused(&["clips", "--frames", "10"]),
        "error: --frames: a shot of 10 frames does not end with a chunk, the nearest have 9 and 21"
    );
    assert!(refused(&["--world", "0"]).contains("expected at least 1"));
    assert!(refused(&["."]).contains("a folder with one CSV is expected, this has 0"));
    home.write("clips/more.csv", "");
    assert!(refused(&["clips"]).contains("this has 2"));
    assert!(refused(&["clips/more.csv"]).contains("no column json_path"));
}
