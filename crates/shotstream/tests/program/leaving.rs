//! What is left when a film ends before its story does.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

use shotstream_media::decode::Film;

use crate::fixture::Home;

/// A story that takes longer than any test waits.
fn long_story(home: &Home) {
    let shots = "[[shots]]\ncaption = \"The fox waves.\"\n".repeat(500);
    home.write("long.toml", format!("global = \"A red fox.\"\n{shots}"));
}

/// Stops the program also when the test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_film_that_is_killed_plays_up_to_its_last_whole_chunk() {
    let home = Home::new();
    long_story(&home);
    let partial = home.path("film.mp4.partial");
    let mut running = Running(home.start(&["generate", "long.toml", "-o", "film.mp4"]));
    let pictures = || Film::open(&partial).map_or(0, |film| film.pictures.len());
    let start = Instant::now();
    while pictures() < 21 {
        assert!(start.elapsed() < Duration::from_secs(120), "no second chunk came");
        thread::sleep(Duration::from_millis(10));
    }
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    assert_eq!(home.files(), ["film.mp4.partial", "long.toml"]);
    let frames = home.film("film.mp4.partial").len();
    assert!(21 <= frames && [0, 9, 21].contains(&(frames % 33)), "{frames}");
}

#[test]
fn a_viewer_who_leaves_ends_the_film_cleanly() {
    let home = Home::new();
    long_story(&home);
    let flags = ["generate", "long.toml", "-o", "-", "--report", "r.json"];
    let mut running = Running(home.start(&flags));
    let mut output = running.0.stdout.take().unwrap();
    output.read_exact(&mut [0; 4096]).unwrap();
    drop(output);
    let mut said = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(0), "{said}");
    assert!(!said.contains("error"), "{said}");
    assert!(0 < home.json("r.json")["frames"].as_u64().unwrap());
}

#[test]
fn a_viewer_who_leaves_ends_playing_cleanly_though_the_input_is_open() {
    let home = Home::new();
    let mut command = home.command(&["play", "-o", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut input = running.0.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, "The fox waves.\n".repeat(100).as_bytes()).unwrap();
    let mut said = BufReader::new(running.0.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    drop(running.0.stdout.take());
    said.read_to_string(&mut line).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(0), "{line}");
    drop(input);
}

#[test]
fn a_full_disk_is_one_sentence() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let home = Home::with_story();
    let line = home.refused(1, &["generate", "story.toml", "-o", "/dev/full"]);
    assert!(line.starts_with("error: cannot send the film on: No space left on device"), "{line}");
}
