//! What is seen of a run: TensorBoard's events, held-out losses, films, the judge's choice, a page.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

mod toys;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use prost::Message as _;
use serde_json::Value;
use shotstream_models::{bundle::Bundle, checkpoint::StoredDtype};
use shotstream_train::{
    error::TrainError,
    ranks::Alone,
    recipe::{StageRecipe, read_toml},
    report,
    stages::{BEST, MODEL, Stage, ode_init, ode_pairs, self_forcing, teacher, vae},
    trainer::Run,
    watching::events::{Content, Event, EventFile, What},
};
use toys::{loop_of, losses, mean, toy, write};

const VAE_STAGE: &str = "[stage]\ncrop = [5, 16, 16]\ndivergence = 1e-3\n\
    [stage.errors]\nabsolute = 1.0\nsquared = 0.5\ndifferences = 0.5\n";

const DATA: &str = "seed = 6\nstories = 2\nshots = 2\npairs = 0.2\ncontext_dropout = 0.0\n\
    context_noise = 0.0\nanonymous = 0.0\n";

/// A loop of `steps` updates that is watched.
fn watched(steps: u64, watch: &str) -> String {
    let whole = loop_of(steps, 2);
    let (run, optimizer) = whole.split_once("[optimizer]").unwrap();
    format!("{run}[loop.watch]\n{watch}[optimizer]{optimizer}")
}

fn watch(validate: u64, film: u64, judge: u64, keep: &str) -> String {
    format!(
        "validate_every = {validate}\nvalidate_batches = 3\nfilm_every = {film}\n\
         judge_every = {judge}\njudge_stories = 2\nkeep = \"{keep}\"\n"
    )
}

/// Every record of a file, read by the format's own description.
fn events(path: &Path) -> Vec<Event> {
    let bytes = fs::read(path).unwrap();
    let mut rest = bytes.as_slice();
    let mut checked = |count: usize| {
        let (content, after) = rest.split_at(count);
        let (sum, after) = after.split_at(4);
        let disguised = crc32c::crc32c(content).rotate_right(15).wrapping_add(0xa282_ead8);
        assert_eq!(sum, disguised.to_le_bytes());
        rest = after;
        (content, rest.is_empty())
    };
    let mut events = Vec::new();
    loop {
        let (length, _) = checked(8);
        let length = u64::from_le_bytes(length.try_into().unwrap());
        let (message, last) = checked(length as usize);
        events.push(Event::decode(message).unwrap());
        if last {
            return events;
        }
    }
}

fn event_files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().contains("tfevents"));
    files.sort();
    files
}

/// Numbers by tag and step as TensorBoard keeps them: in a file of version 2, the start of a
/// session voids everything at its step and later.
fn history(dir: &Path) -> BTreeMap<String, BTreeMap<i64, f32>> {
    let mut history: BTreeMap<String, BTreeMap<i64, f32>> = BTreeMap::new();
    for event in event_files(dir).iter().flat_map(|path| events(path)) {
        match event.what.unwrap() {
            What::FileVersion(version) => assert_eq!(version, "brain.Event:2"),
            What::SessionLog(_) => {
                history.values_mut().for_each(|tag| tag.retain(|step, _| *step < event.step));
            }
            What::Summary(summary) => {
                for value in summary.value {
                    if let Some(Content::Number(x)) = value.content {
                        let older = history.entry(value.tag).or_default().insert(event.step, x);
                        assert_eq!(older, None, "two histories");
                    }
                }
            }
        }
    }
    history
}

fn lines(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("log.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn vae_run(bundle: &Bundle, dir: &Path, name: &str, (steps, resume): (u64, bool)) -> PathBuf {
    let text = format!("{}{VAE_STAGE}", watched(steps, &watch(2, 4, 0, "last")));
    let recipe = StageRecipe::read(&write(dir, "vae.toml", &text)).unwrap();
    let work = |run: &mut Run<'_>| vae::run(bundle.clone(), &recipe, run);
    losses(&dir.join(name), resume, work).0.unwrap();
    dir.join(name)
}

#[test]
fn tensorboard_sees_one_history_however_often_a_run_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let bundle = toy(home.path());
    let whole = vae_run(&bundle, home.path(), "whole", (6, false));
    let parts = vae_run(&bundle, home.path(), "parts", (4, false));
    // A crash after the last checkpoint leaves more than it remembers.
    EventFile::create(&parts, 4).unwrap().numbers(5, [("train/loss".into(), 9.0)]).unwrap();
    let parts = vae_run(&bundle, home.path(), "parts", (6, true));
    assert_eq!(event_files(&parts).len(), 3);
    let [whole_tags, parts_tags] = [&whole, &parts].map(|dir| history(dir));
    assert_eq!(whole_tags["train/loss"], parts_tags["train/loss"]);
    assert_eq!(whole_tags["train/loss"].keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    for (line, (_, loss)) in lines(&whole).iter().zip(&whole_tags["train/loss"]) {
        assert_eq!(line["loss"].as_f64().unwrap() as f32, *loss);
    }
    let pictures = events(&event_files(&whole)[0]).into_iter().filter_map(|event| {
        let Some(What::Summary(summary)) = event.what else { return None };
        let Some(Content::Picture(picture)) = summary.value.into_iter().next()?.content else {
            return None;
        };
        Some(picture.png)
    });
    let sheet = fs::read(whole.join("sheet-000006.png")).unwrap();
    assert_eq!(pictures.collect::<Vec<_>>(), [sheet]);
}

#[test]
fn held_out_losses_are_the_same_whether_a_run_was_stopped_or_not() {
    let home = tempfile::tempdir().unwrap();
    let bundle = toy(home.path());
    let whole = vae_run(&bundle, home.path(), "whole", (6, false));
    vae_run(&bundle, home.path(), "parts", (4, false));
    let parts = vae_run(&bundle, home.path(), "parts", (6, true));
    let [whole, parts] = [&whole, &parts].map(|dir| {
        let looks = lines(dir).into_iter().map(|line| line["validation"].clone());
        looks.collect::<Vec<_>>()
    });
    assert_eq!(whole, parts);
    let looked: Vec<_> = whole.iter().map(|look| look.is_object()).collect();
    assert_eq!(looked, [false, true, false, true, false, true]);
    let psnr = |look: &Value| look["psnr"].as_f64().unwrap();
    assert!(psnr(&whole[5]) > psnr(&whole[1]), "{whole:?}");
}

#[test]
fn a_film_shows_truth_and_reconstruction_side_by_side() {
    let home = tempfile::tempdir().unwrap();
    let bundle = toy(home.path());
    let run = vae_run(&bundle, home.path(), "run", (4, false));
    let film = shotstream_media::decode::read_film(&run.join("film-000004.mp4")).unwrap();
    // Three shots of nine frames, 32×16 pixels, enlarged sixteen times.
    assert_eq!(film.len(), 3 * 9);
    assert_eq!([film[0].width, film[0].height], [3 * 2 + 2 * 512, 2 * 2 + 256]);
}

/// A toy teacher and its trajectories, some of them held out.
fn taught(dir: &Path) -> Bundle {
    let stage = format!(
        "[stage]\nshift = 3.0\ntext_dropout = 0.1\n[stage.data]\n{DATA}\
         [stage.sampler]\nsubsteps = 1\nguidance = 2.0\n"
    );
    let text = format!("{}{stage}", watched(2, &watch(1, 2, 0, "last")));
    let recipe = StageRecipe::read(&write(dir, "teacher.toml", &text)).unwrap();
    let work = |run: &mut Run<'_>| teacher::run(toy(dir), &recipe, run);
    let bundle = losses(&dir.join("teacher"), false, work).0.unwrap();
    bundle.save(&dir.join("teacher").join(MODEL), StoredDtype::F32).unwrap();
    let text = format!(
        "seed = 7\nshards = 2\nsamples = 2\nheld_out = 2\n[sampler]\nsubsteps = 1\n\
         guidance = 2.0\n[data]\n{DATA}"
    );
    let recipe = read_toml(&write(dir, "pairs.toml", &text)).unwrap();
    let work = |run: &mut Run<'_>| ode_pairs::run(&bundle, &recipe, run);
    losses(&dir.join("pairs"), false, work).0.unwrap();
    bundle
}

fn student(keep: &str) -> String {
    let stage = "[stage]\npairs = \"pairs\"\nclean_past = 0.5\n";
    format!("{}{stage}", watched(4, &watch(2, 4, 2, keep)))
}

#[test]
fn every_stage_with_a_loss_is_validated_and_filmed() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let bundle = taught(dir);
    let recipe = StageRecipe::read(&write(dir, "student.toml", &student("last"))).unwrap();
    let work = |run: &mut Run<'_>| ode_init::run(bundle.clone(), &recipe, run);
    losses(&dir.join("student"), false, work).0.unwrap();
    let forcing = format!(
        "{}[stage]\nteacher = \"teacher\"\nhistory = \"own\"\nperiod = 2\ncritic_rate = 1.0\n\
         guidance = 1.0\nshift = 3.0\n[stage.data]\n{}",
        watched(2, &watch(2, 2, 0, "last")),
        DATA.replace("stories = 2", "stories = 0"),
    );
    let recipe = StageRecipe::read(&write(dir, "forcing.toml", &forcing)).unwrap();
    let work = |run: &mut Run<'_>| self_forcing::run(bundle.clone(), &recipe, run);
    losses(&dir.join("own"), false, work).0.unwrap();
    for (name, film, numbers) in [
        ("teacher", "film-000002.mp4", &["loss"][..]),
        ("student", "film-000004.mp4", &["loss"]),
        ("own", "film-000002.mp4", &["matching", "critic"]),
    ] {
        let dir = dir.join(name);
        assert!(dir.join(film).exists(), "{name}");
        let lines = lines(&dir);
        let look = &lines.last().unwrap()["validation"];
        assert!(numbers.iter().all(|n| look[n].as_f64().unwrap().is_finite()), "{name}: {look}");
    }
    assert!(dir.join("student/sheet-000004.png").exists());
}

#[test]
fn the_judge_keeps_the_best_student_and_the_stage_may_leave_it() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let bundle = taught(dir);
    let recipe = StageRecipe::read(&write(dir, "student.toml", &student("best"))).unwrap();
    let work = |run: &mut Run<'_>| ode_init::run(bundle, &recipe, run);
    let left = losses(&dir.join("student"), false, work).0.unwrap();
    let lines = lines(&dir.join("student"));
    let means: Vec<_> = lines.iter().filter_map(|line| line["judge"]["mean"].as_f64()).collect();
    assert_eq!(means.len(), 2);
    let shares = lines[3]["judge"].as_object().unwrap();
    let each: Vec<_> = shares.iter().filter(|(name, _)| *name != "mean").collect();
    let each: Vec<_> = each.into_iter().map(|(_, share)| share.as_f64().unwrap()).collect();
    assert!(each.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
    assert!((mean(&each) - means[1]).abs() < 1e-12, "{shares:?}");
    left.save(&dir.join("left.safetensors"), StoredDtype::F32).unwrap();
    let [best, left] = [dir.join("student").join(BEST), dir.join("left.safetensors")];
    assert_eq!(fs::read(best).unwrap(), fs::read(left).unwrap());
}

#[test]
fn a_run_that_cannot_be_watched_as_asked_says_why() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let refused = |watch: &str| {
        let text = format!("{}{VAE_STAGE}", watched(2, watch));
        let recipe = StageRecipe::read(&write(dir, "vae.toml", &text))?;
        let work = |run: &mut Run<'_>| vae::run(toy(dir), &recipe, run);
        losses(&dir.join("run"), false, work).0.map(drop)
    };
    let error = refused(&watch(0, 0, 0, "best")).unwrap_err().to_string();
    assert!(error.contains("judge_every is 0"), "{error}");
    let error = refused(&watch(0, 0, 2, "last")).unwrap_err();
    assert!(matches!(&error, TrainError::Stage { .. }), "{error}");
    let error = refused("validate_every = 1\n").unwrap_err().to_string();
    assert!(error.contains("missing field `validate_batches`"), "{error}");
}

#[test]
fn a_page_holds_all_that_a_folder_does_and_needs_nothing_else() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let runs = dir.join("runs");
    assert!(matches!(report::write(dir), Err(TrainError::Stored { .. })));
    let text = format!("# Words & <things>.\n{}{VAE_STAGE}", watched(4, &watch(2, 4, 0, "last")));
    let recipe = write(dir, "vae.toml", &text);
    toy(dir).save(&dir.join("from.safetensors"), StoredDtype::F32).unwrap();
    let mut ignore = |_, _, _: &Vec<(&'static str, f64)>| ();
    let mut run = Run {
        stage: "vae",
        dir: runs.join("first"),
        resume: false,
        threads: 2,
        ranks: &Alone,
        record: None,
        watch: &mut ignore,
    };
    Stage::Vae.run(Some(&dir.join("from.safetensors")), &recipe, &mut run).unwrap();
    let page = fs::read_to_string(runs.join("first/report.html")).unwrap();
    for part in [
        "<h1>first</h1>",
        "finished",
        "Words &amp; &lt;things&gt;",
        "data:image/png;base64,",
        "data:video/mp4;base64,",
        "<h3>Loss",
        "Peak signal-to-noise ratio",
        "prefers-color-scheme: dark",
        env!("CARGO_PKG_VERSION"),
    ] {
        assert!(page.contains(part), "{part}");
    }
    let outside = ["http://", "https://", "url(http", "@import"];
    assert!(outside.iter().all(|part| !page.contains(part)));
    let curves = page.split("<h2>").find(|section| section.starts_with("Curves")).unwrap();
    assert!(!curves.contains("NaN") && !curves.contains("inf"), "{curves}");
    assert_eq!(report::write(&runs).unwrap(), runs.join("report.html"));
    let overview = fs::read_to_string(runs.join("report.html")).unwrap();
    assert!(overview.contains("href=\"first/report.html\"") && overview.contains("1 of 1"));
    let page = fs::read_to_string(runs.join("first/report.html")).unwrap();
    assert!(page.contains("../report.html"), "the way back");
}
