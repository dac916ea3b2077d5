//! `generate`: a story file to a film.

use sha2::{Digest as _, Sha256};
use shotstream_media::{decode::Film, png::read_png};

use crate::fixture::{Home, STORY_FRAMES};

fn frames_sha256(home: &Home, flags: &[&str]) -> String {
    let command = ["generate", "story.toml", "--report", "report.json"];
    home.done(&[&command, flags].concat());
    home.json("report.json")["frames_sha256"].as_str().unwrap().to_owned()
}

#[test]
fn a_story_becomes_a_film_named_after_it() {
    let home = Home::with_story();
    let run = home.done(&["generate", "story.toml"]);
    assert_eq!(home.files(), ["story.mp4", "story.toml"]);
    let film = home.film("story.mp4");
    assert_eq!(film.len(), STORY_FRAMES);
    assert_eq!([film[0].width, film[0].height], [512, 320], "small pictures are enlarged");
    assert_eq!(run.stdout, b"");
    let last = run.stderr.lines().last().unwrap();
    assert!(last.starts_with("story.mp4: 30 frames, 1.9 s of film in "), "{last}");
}

#[test]
fn a_report_tells_what_a_film_cost() {
    let home = Home::with_story();
    home.done(&["generate", "story.toml", "-o", "a.mp4", "--report", "r.json", "--seed", "5"]);
    let report = home.json("r.json");
    assert_eq!(report["frames"], 30);
    assert_eq!((&report["model"], &report["device"]), (&"tiny".into(), &"cpu".into()));
    assert_eq!((&report["seed"], &report["device_bytes"]), (&5.into(), &0.into()));
    assert_eq!(report["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(report["first_frame_ms"].as_array().unwrap().len(), 2);
    assert_eq!(report["frames_sha256"].as_str().unwrap().len(), 64);
    assert!(0.0 < report["wall_s"].as_f64().unwrap());
    assert!(0.0 < report["fps_end_to_end"].as_f64().unwrap());
    let counts = [("text", 2), ("context", 2), ("denoise", 12), ("commit", 1), ("decode", 3)];
    for (stage, count) in counts.into_iter().chain([("encode", 3)]) {
        let times = &report["stages"][stage];
        assert_eq!(times["count"], count, "{stage}");
        let [p50, p95] = ["p50", "p95"].map(|key| times[key].as_f64().unwrap());
        assert!(0.0 < p50 && p50 <= p95, "{stage}");
    }
    if cfg!(target_os = "linux") {
        assert!(1 << 20 < report["peak_rss_bytes"].as_u64().unwrap());
    }
}

#[test]
fn a_seed_gives_one_film_on_any_number_of_threads() {
    let home = Home::with_story();
    let one = frames_sha256(&home, &["--seed", "3", "--threads", "1"]);
    assert_eq!(frames_sha256(&home, &["--seed", "3", "--threads", "1"]), one);
    assert_eq!(frames_sha256(&home, &["--seed", "3", "--threads", "2"]), one);
    assert_ne!(frames_sha256(&home, &["--seed", "4", "--threads", "2"]), one);
}

#[test]
fn frames_are_written_as_the_model_makes_them_and_hashed_in_order() {
    let home = Home::with_story();
    let hash = frames_sha256(&home, &["--frames", "frames"]);
    let mut ours = Sha256::new();
    for index in 0..STORY_FRAMES {
        let frame = read_png(&home.path(&format!("frames/{index:05}.png"))).unwrap();
        assert_eq!([frame.width, frame.height], [128, 80]);
        ours.update(frame.rgb);
    }
    let ours: String = ours.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(ours, hash);
}

#[test]
fn size_and_scale_make_the_picture() {
    let home = Home::with_story();
    home.done(&["generate", "story.toml", "--size", "64x48", "--scale", "2"]);
    let film = home.film("story.mp4");
    assert_eq!((film.len(), film[0].width, film[0].height), (STORY_FRAMES, 128, 96));
    home.done(&["generate", "story.toml", "--size", "64x48"]);
    assert_eq!(home.film("story.mp4")[0].width, 512);
}

#[test]
fn a_film_on_standard_output_is_alone_there() {
    let home = Home::with_story();
    let run = home.done(&["generate", "story.toml", "-o", "-"]);
    let film = Film::parse(run.stdout).unwrap();
    assert!(film.complete);
    assert_eq!(film.pictures.len(), STORY_FRAMES);
    assert!(run.stderr.lines().last().unwrap().starts_with("standard output: 30 frames"));
    assert_eq!(home.files(), ["story.toml"]);
}

#[test]
fn words_that_are_not_read_are_told_once_a_shot() {
    let home = Home::new();
    let many = "fox ".repeat(300);
    let story = format!(
        "global = \"A red fox.\"\n\
         [[shots]]\ncaption = \"The fox waves.\"\nframes = 9\n\
         [[shots]]\ncaption = \"The fox flies a zeppelin to Ægypt.\"\nframes = 9\n\
         [[shots]]\ncaption = \"{many}\"\nframes = 9\n"
    );
    home.write("story.toml", story);
    let run = home.done(&["generate", "story.toml"]);
    let warnings: Vec<_> = run.stderr.lines().filter(|line| line.starts_with("warning")).collect();
    assert_eq!(warnings.len(), 2, "{}", run.stderr);
    assert!(warnings[0].starts_with("warning: shot 2: the model does not know the words 'flies',"));
    assert!(warnings[0].contains("'zeppelin'"), "{}", warnings[0]);
    assert!(warnings[1].starts_with("warning: shot 3: the model does not read the last "));
}

#[test]
fn an_older_film_is_replaced_by_a_whole_one() {
    let home = Home::with_story();
    home.write("story.mp4", "an older film");
    home.write("story.mp4.partial", "left by a crash");
    home.done(&["generate", "story.toml"]);
    assert_eq!(home.files(), ["story.mp4", "story.toml"]);
    assert_eq!(home.film("story.mp4").len(), STORY_FRAMES);
}
