//! `play`: lines that come while the film streams out.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStderr, ChildStdin},
};

use shotstream_media::decode::Film;

use crate::fixture::Home;

/// A film in the making.
struct Player {
    child: Child,
    input: Option<ChildStdin>,
    said: BufReader<ChildStderr>,
    lines: Vec<String>,
}

impl Player {
    fn start(home: &Home, flags: &[&str]) -> Self {
        let mut child = home.start(&[&["play"], flags].concat());
        let (input, said) = (child.stdin.take(), BufReader::new(child.stderr.take().unwrap()));
        Self { child, input, said, lines: Vec::new() }
    }

    fn type_line(&mut self, text: &str) {
        writeln!(self.input.as_mut().unwrap(), "{text}").unwrap();
    }

    /// Wait until the program says something that starts so, and return it.
    fn hear(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.said.read_line(&mut line).unwrap(), 0, "{start}: {:?}", self.lines);
            let line = line.trim_end().to_owned();
            self.lines.push(line.clone());
            if line.starts_with(start) {
                return line;
            }
        }
    }

    /// Close the input and wait for the end.
    fn end(mut self) -> (i32, Vec<String>) {
        drop(self.input.take());
        self.lines.extend(self.said.lines().map(Result::unwrap));
        (self.child.wait().unwrap().code().unwrap(), self.lines)
    }
}

#[test]
fn a_line_that_comes_late_becomes_the_next_shot() {
    let home = Home::new();
    let mut player = Player::start(&home, &["-o", "film.mp4", "--global", "A red fox."]);
    player.type_line("The fox waves.");
    player.hear("shot 1: starts");
    player.type_line("");
    player.type_line("The fox jumps.");
    player.hear("shot 2: starts");
    let (code, lines) = player.end();
    assert_eq!(code, 0, "{lines:?}");
    assert_eq!(home.film("film.mp4").len(), 2 * 33);
    assert_eq!(home.files(), ["film.mp4"]);
    let ends: Vec<_> = lines.iter().filter(|line| line.contains("ends after 33 frames")).collect();
    assert_eq!(ends.len(), 2, "{lines:?}");
}

#[test]
fn a_cut_ends_the_shot_at_the_chunk_border() {
    let home = Home::new();
    let mut player = Player::start(&home, &["-o", "film.mp4"]);
    player.type_line("A red fox waves.");
    player.hear("shot 1: starts");
    player.type_line("/cut");
    player.type_line("A blue bear waves.");
    let cut = player.hear("shot 1: cut after ");
    player.hear("shot 2: ends after 33 frames");
    let (code, lines) = player.end();
    assert_eq!(code, 0, "{lines:?}");
    let kept = [9, 21].into_iter().find(|kept| cut.contains(&format!("after {kept} frames")));
    assert_eq!(home.film("film.mp4").len(), kept.unwrap() + 33);
}

#[test]
fn other_words_hold_for_the_rest_of_the_running_shot() {
    let home = Home::new();
    let mut player = Player::start(&home, &["-o", "film.mp4", "--report", "r.json"]);
    player.type_line("/now The fox sleeps.");
    let late = player.hear("warning: ");
    let reason = "no chunk of a shot followed, so the words change nothing";
    assert_eq!(late, format!("warning: {reason}, the line is passed over: 'The fox sleeps.'"));
    player.type_line("A red fox waves.");
    player.hear("shot 1: starts");
    player.type_line("/now The fox zzjumps.");
    player.hear("shot 1: other words from chunk ");
    player.hear("warning: shot 1: the model does not know the word 'zzjumps'");
    let (code, lines) = player.end();
    assert_eq!(code, 0, "{lines:?}");
    assert_eq!(home.json("r.json")["frames"], 33);
    let commits = home.json("r.json")["stages"]["commit"]["count"].as_u64().unwrap();
    // Two chunks are followed by another; one of them is committed again where the second is new.
    assert!((2..=3).contains(&commits), "{commits}");
}

#[test]
fn quit_ends_the_film_after_the_shots_asked_for() {
    let home = Home::new();
    let mut player = Player::start(&home, &["-o", "film.mp4", "--report", "r.json"]);
    player.type_line("A red fox waves.");
    player.type_line("The fox jumps.");
    player.type_line("/quit");
    player.type_line("This is not read.");
    player.hear("shot 2: ends");
    let code = player.child.wait().unwrap().code();
    assert_eq!(code, Some(0), "with the input still open: {:?}", player.lines);
    assert_eq!(home.film("film.mp4").len(), 2 * 33);
    assert_eq!(home.json("r.json")["frames"], 66);
}

#[test]
fn a_film_on_standard_output_grows_while_it_is_made() {
    let home = Home::new();
    let mut player = Player::start(&home, &["-o", "-"]);
    let mut output = player.child.stdout.take().unwrap();
    player.type_line("A red fox waves.");
    let mut start = vec![0; 4096];
    output.read_exact(&mut start).unwrap();
    assert_eq!(&start[4..8], b"ftyp", "the film starts while the input is open");
    let rest = std::thread::scope(|scope| {
        let rest = scope.spawn(|| {
            let mut rest = Vec::new();
            output.read_to_end(&mut rest).unwrap();
            rest
        });
        let (code, lines) = player.end();
        assert_eq!(code, 0, "{lines:?}");
        rest.join().unwrap()
    });
    let film = Film::parse([start, rest].concat()).unwrap();
    assert_eq!((film.pictures.len(), film.complete), (33, true));
    assert_eq!(home.files(), Vec::<String>::new());
}

#[test]
fn a_line_that_is_no_caption_is_passed_over_with_a_warning() {
    let home = Home::new();
    let mut player = Player::start(&home, &["-o", "film.mp4"]);
    player.type_line("/retake");
    player.type_line(&"very ".repeat(10_000));
    player.input.as_mut().unwrap().write_all(b"A red f\xffx waves.\n").unwrap();
    let (code, lines) = player.end();
    assert_eq!(code, 0, "{lines:?}");
    let unknown = "warning: '/retake' is not known, only /now WORDS, /cut and /quit are";
    assert!(lines.iter().any(|line| line == unknown), "{lines:?}");
    let long = "warning: the caption has 49999 characters, at most 20000 are read, \
                the line is passed over: 'very very very very very very very very  …'";
    assert!(lines.iter().any(|line| line == long), "{lines:?}");
    assert_eq!(home.film("film.mp4").len(), 33);
}

#[test]
fn without_a_prompt_there_is_no_film() {
    let home = Home::new();
    let (code, lines) = Player::start(&home, &["-o", "film.mp4"]).end();
    assert_eq!(code, 2);
    assert_eq!(lines, ["error: no prompt came, so there is no film"]);
    assert_eq!(home.files(), Vec::<String>::new());
}
