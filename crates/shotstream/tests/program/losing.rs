//! A disk that is full and numbers that are none: the run stops, what was saved stays.

use std::{fs, os::unix::fs::symlink};

use crate::{
    fixture::Home,
    road::{self, VAE, contents, loop_of},
};

const RUN: [&str; 6] = ["train", "vae", "--recipe", "vae.toml", "--dir", "vae"];
const FROM: [&str; 2] = ["--from", "fresh/model.safetensors"];

fn home() -> Home {
    let home = road::home();
    home.done(&["train", "fresh", "--recipe", "fresh.toml", "--dir", "fresh"]);
    home
}

fn train(flags: &[&'static str]) -> Vec<&'static str> {
    [&RUN[..], &FROM[..], flags].concat()
}

/// The one line of a run that fails.
fn failure(home: &Home, arguments: &[&str]) -> String {
    let run = home.run(arguments);
    assert_eq!(run.code, Some(1), "{}", run.stderr);
    run.stderr.lines().last().unwrap().to_owned()
}

/// A recipe whose steps do not depend on how many there are.
fn recipe(steps: u64, save_every: u64) -> String {
    loop_of(steps, save_every).replace("decay = 0.5", "decay = 0.0") + VAE
}

#[test]
fn a_full_disk_leaves_the_last_checkpoint_and_a_run_that_goes_on() {
    let home = home();
    let read = |file: &str| fs::read(home.path(file)).unwrap();
    home.write("vae.toml", recipe(8, 4));
    home.done(&["train", "vae", "--recipe", "vae.toml", "--dir", "whole", FROM[0], FROM[1]]);
    for (full, sentence) in [
        ("sheet-000008.png", "cannot write (FULL), what was saved before is intact"),
        ("resume.safetensors", "cannot write (FULL), what was saved before is intact"),
        ("model.safetensors", "cannot write the checkpoint (FULL)"),
    ] {
        home.write("vae.toml", recipe(4, 1));
        home.done(&train(&[]));
        fs::remove_file(home.path("vae/model.safetensors")).unwrap();
        let saved = read("vae/resume.safetensors");
        home.write("vae.toml", recipe(8, 4));
        // Every byte of this file meets a full disk.
        symlink("/dev/full", home.path(&format!("vae/{full}.tmp"))).unwrap();
        let sentence = sentence.replace("FULL", "No space left on device (os error 28)");
        let line = failure(&home, &train(&["--resume"]));
        assert_eq!(line, format!("error: {sentence}: vae/{full}"));
        // The last step was saved if, and only if, the disk was full after that.
        assert_eq!(read("vae/resume.safetensors") != saved, full == "model.safetensors");
        assert!(!home.path(&format!("vae/{full}")).exists() || full == "resume.safetensors");
        assert!(fs::symlink_metadata(home.path(&format!("vae/{full}.tmp"))).is_err());
        home.done(&train(&["--resume"]));
        let [whole, resumed] = ["whole", "vae"].map(|dir| contents(&home.path(dir)));
        assert!(whole == resumed, "{full}");
        fs::remove_dir_all(home.path("vae")).unwrap();
    }
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_with_its_step_and_leaves_the_checkpoint() {
    let home = home();
    home.write("vae.toml", recipe(8, 1).replace("adamw_lr = 3e-3", "adamw_lr = 1e30"));
    let line = failure(&home, &train(&[]));
    let steps = road::log(&home.path("vae")).len();
    assert!(line.starts_with("error: the loss is "), "{line}");
    let end = format!("in step {steps}, the run stops here and the last checkpoint is intact");
    assert!(steps > 0 && line.ends_with(&end), "{line}");
    let saved = contents(&home.path("vae"));
    // It can be looked at as often as one likes.
    assert_eq!(failure(&home, &train(&["--resume"])), line);
    assert!(saved == contents(&home.path("vae")));
}
