//! `world`: drawn stories, and what a judge says of a model.

use serde_json::Value;
use shotstream_media::png::read_png;

use crate::fixture::Home;

#[test]
fn a_drawn_story_is_a_film_with_its_captions_beside_it() {
    let home = Home::new();
    home.done(&["world", "draw", "-o", "drawn.mp4", "--seed", "4", "--shots", "2"]);
    assert_eq!(home.files(), ["drawn.json", "drawn.mp4"]);
    assert_eq!(home.film("drawn.mp4").len(), 2 * 33);
    let told = home.done(&["world", "story", "--seed", "4", "--shots", "2"]);
    assert_eq!(home.json("drawn.json"), serde_json::from_slice::<Value>(&told.stdout).unwrap());
    let plan = home.done(&["plan", "drawn.json"]);
    assert!(plan.text().starts_with("story: 2 shots, 66 frames"), "{}", plan.text());
}

#[test]
fn drawn_frames_need_no_film() {
    let home = Home::new();
    home.done(&["world", "draw", "--frames", "drawn", "--shots", "1", "--size", "64x48"]);
    assert_eq!(home.files(), ["drawn", "drawn.json"]);
    let frame = read_png(&home.path("drawn/00032.png")).unwrap();
    assert_eq!([frame.width, frame.height], [64, 48]);
}

#[test]
fn a_sheet_shows_a_story_a_row() {
    let home = Home::new();
    home.done(&["world", "sheet", "-o", "sheet.png", "--stories", "2"]);
    let sheet = read_png(&home.path("sheet.png")).unwrap();
    assert_eq!([sheet.width, sheet.height], [2 + 8 * 130, 2 + 2 * 82]);
}

#[test]
fn pictures_for_another_trainer_are_kept_where_they_are_there() {
    let home = Home::new();
    let draw = ["world", "pictures", "-o", "pictures", "--stories", "2", "--frames", "5"];
    home.done(&draw);
    let shard = home.path("pictures/000000.safetensors");
    let drawn = std::fs::read(&shard).unwrap();
    assert!(drawn.len() > 2 * 3 * 5 * 80 * 128 * 3, "{} bytes", drawn.len());
    std::fs::write(&shard, "mine").unwrap();
    home.done(&draw);
    assert_eq!(std::fs::read(&shard).unwrap(), b"mine");
    let line =
        home.refused(2, &["world", "pictures", "-o", "no", "--stories", "1", "--frames", "99"]);
    assert!(line.contains("--frames is 99, a shot of the model has 33"), "{line}");
}

#[test]
fn a_judge_counts_every_shot_of_every_story_the_same_way_twice() {
    let home = Home::new();
    let judge = ["world", "judge", "--stories", "2", "--clips", "1", "--seed", "9", "--json"];
    let verdict: Value = serde_json::from_slice(&home.done(&judge).stdout).unwrap();
    assert_eq!((&verdict["model"], &verdict["stories"]), (&"tiny".into(), &2.into()));
    let place = &verdict["columns"][0]["scores"]["place"];
    assert!((4..=12).contains(&place["of"].as_u64().unwrap()), "{place}");
    assert!(place["interval"][0].as_f64() <= place["share"].as_f64(), "{place}");
    assert!(["psnr_db", "flicker"].iter().all(|key| verdict["vae"][key].as_f64().is_some()));
    let alone = [&judge[..], &["--threads", "1"]].concat();
    assert_eq!(serde_json::from_slice::<Value>(&home.done(&alone).stdout).unwrap(), verdict);
}

#[test]
fn a_verdict_is_a_table() {
    let home = Home::new();
    let run = home.done(&["world", "judge", "--stories", "1", "--clips", "0", "--anonymous"]);
    let head = "model tiny, 1 stories from seed 1000000, characters named in the first shot only";
    assert!(run.text().starts_with(head), "{}", run.text());
    assert!(run.text().contains("\nsame character"), "{}", run.text());
}

#[test]
fn every_past_memory_and_teacher_is_a_column() {
    let home = Home::new();
    let judge = ["world", "judge", "--stories", "1", "--clips", "0", "--shots", "2", "--anonymous"];
    let ways =
        ["--untold", "--context", "own,swapped", "--teacher", "tiny", "--teacher-steps", "1"];
    let run = home.done(&[&judge[..], &ways].concat());
    let heads = run.text().lines().filter(|line| line.starts_with("after the first")).count();
    assert_eq!(heads, 1);
    for found in ["own", "swapped", "teacher", "as in its past", "chunk jump", "all shots"] {
        assert!(run.text().contains(found), "{found}: {}", run.text());
    }
    let run = home.done(&[&judge[..], &["--drawn", "--json"]].concat());
    let verdict: Value = serde_json::from_slice(&run.stdout).unwrap();
    let [_, drawn, seen] = &verdict["columns"].as_array().unwrap()[..] else { panic!("{verdict}") };
    assert_eq!((&drawn["name"], &seen["name"]), (&"drawn".into(), &"through the VAE".into()));
    assert_eq!(drawn["scores"]["place"]["share"], 1.0);
    assert!(drawn["scores"]["residuals"].as_f64() < seen["scores"]["residuals"].as_f64());
    let ways = ["--drift", "--memory", "recent,anchor", "--json"];
    let verdict: Value =
        serde_json::from_slice(&home.done(&[&judge[..], &ways].concat()).stdout).unwrap();
    let columns = verdict["columns"].as_array().unwrap();
    assert_eq!(
        columns.iter().map(|it| &it["name"]).collect::<Vec<_>>(),
        ["recent own", "anchor own"]
    );
    let marks = columns[1]["marks"].as_array().unwrap();
    assert_eq!(marks.iter().map(|mark| &mark["shot"]).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(marks[1]["scores"]["same_character"]["of"], 1);
}
