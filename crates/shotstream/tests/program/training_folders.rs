//! Checkpoints, models and folders that training refuses: one line, and nothing changes.

use std::fs;

use crate::{
    fixture::Home,
    road::{self, contents, recipes},
};

/// A folder of runs in which the whole road has been walked.
fn walked() -> Home {
    let home = road::home();
    home.done(&["train", "all", "--recipe", "road.toml", "--dir", "."]);
    home
}

#[test]
fn a_checkpoint_of_another_run_is_refused_and_nothing_is_lost() {
    let home = walked();
    let recipes = recipes();
    let train =
        |stage: &'static str, name: &'static str, from: &'static str, flags: &[&'static str]| {
            let dir = name.trim_end_matches(".toml");
            [&["train", stage, "--recipe", name, "--dir", dir, "--from", from], flags].concat()
        };
    let vae = |flags: &[&'static str]| train("vae", "vae.toml", "fresh/model.safetensors", flags);
    let refused = |home: &Home, arguments: &[&str], expected: &str| {
        let before = contents(&home.path("."));
        let line = home.refused(2, arguments);
        assert!(line.contains(expected), "{expected}: {line}");
        let after = contents(&home.path("."));
        assert!(before == after, "{expected}");
    };
    refused(
        &home,
        &vae(&[]),
        "the folder holds a run, resume it with --resume or choose another folder: vae",
    );
    for (from, to, expected) in [
        ("batch = 1", "batch = 2", "its recipe is another one: loop.batch was 1, now it is 2: vae"),
        (
            "adamw_lr = 3e-3",
            "adamw_lr = 1e-3",
            "its recipe is another one: optimizer.adamw_lr was 0.00",
        ),
        (
            "muon_lr = 5e-3",
            "muon_lr = 0.0",
            "its recipe is another one: optimizer.muon_lr was 0.00",
        ),
        (
            "crop = [5, 16, 16]",
            "crop = [1, 16, 16]",
            "its recipe is another one: stage.crop was [5,16,16], now it is [1,16,16]: vae",
        ),
    ] {
        home.write("vae.toml", recipes["vae.toml"].replace(from, to));
        refused(&home, &vae(&["--resume"]), expected);
    }
    home.write("vae.toml", &recipes["vae.toml"]);
    let other = train("vae", "vae.toml", "teacher/model.safetensors", &["--resume"]);
    refused(&home, &other, "it began with the weights of another model: vae");
    let mut wrong = train("teacher", "teacher.toml", "vae/model.safetensors", &["--resume"]);
    wrong[5] = "vae";
    refused(&home, &wrong, "it is a run of vae, not of teacher: vae");

    // Longer, and with other intervals, it goes on.
    let longer = recipes["vae.toml"]
        .replace("steps = 8", "steps = 10")
        .replace("save_every = 1", "save_every = 5")
        .replace("decay = 0.5", "decay = 0.1\nfall = \"cosine\"");
    home.write("vae.toml", longer);
    home.done(&vae(&["--resume"]));
    assert_eq!(road::log(&home.path("vae")).len(), 10);
}

#[test]
fn a_damaged_checkpoint_is_refused_and_stays() {
    let home = walked();
    let path = home.path("vae/resume.safetensors");
    let whole = fs::read(&path).unwrap();
    let arguments = [
        "train",
        "vae",
        "--recipe",
        "vae.toml",
        "--dir",
        "vae",
        "--from",
        "fresh/model.safetensors",
        "--resume",
    ];
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for (damaged, expected) in [
        (&whole[..whole.len() - 1], "its checkpoint is damaged ("),
        (&whole[..7], "its checkpoint is damaged ("),
        (&[], "its checkpoint is damaged ("),
        (&flipped, "its checkpoint is damaged (the numbers are not its own): vae"),
    ] {
        fs::write(&path, damaged).unwrap();
        let line = home.refused(2, &arguments);
        assert!(
            line.starts_with(&format!("error: the run cannot be resumed, {expected}")),
            "{line}"
        );
        assert_eq!(fs::read(&path).unwrap(), damaged);
    }
}

#[test]
fn a_folder_that_holds_something_else_is_left_alone() {
    let home = walked();
    let before = contents(&home.path("."));
    let cases: [(&[&str], &str); 4] = [
        (
            &["fresh", "--recipe", "fresh.toml", "--dir", "fresh"],
            "the folder holds a finished model, choose another folder: fresh",
        ),
        (
            &[
                "vae",
                "--recipe",
                "vae.toml",
                "--dir",
                "fresh",
                "--from",
                "fresh/model.safetensors",
                "--resume",
            ],
            "the folder holds a finished model, choose another folder: fresh",
        ),
        (
            &[
                "ode-pairs",
                "--recipe",
                "pairs.toml",
                "--dir",
                "teacher",
                "--from",
                "teacher/model.safetensors",
            ],
            "the folder holds a run, choose another folder: teacher",
        ),
        (
            &[
                "ode-pairs",
                "--recipe",
                "pairs.toml",
                "--dir",
                "pairs",
                "--from",
                "student/model.safetensors",
            ],
            "it was made by another teacher or recipe, choose another folder: pairs/pairs-00000.safetensors",
        ),
    ];
    for (arguments, expected) in cases {
        let line = home.refused(2, &[&["train"], arguments].concat());
        assert!(line.ends_with(expected), "{line}");
    }
    assert!(before == contents(&home.path(".")));
}

#[test]
fn trajectories_with_a_gap_or_of_another_model_are_refused() {
    let home = walked();
    let student = |dir: &'static str, from: &'static str| {
        ["train", "ode-init", "--recipe", "student.toml", "--dir", dir, "--from", from]
    };
    let wide = recipes()["fresh.toml"].replace("pixels = [16, 32]", "pixels = [32, 32]");
    home.write("wide.toml", wide);
    home.done(&["train", "fresh", "--recipe", "wide.toml", "--dir", "wide"]);
    let line = home.refused(2, &student("new", "wide/model.safetensors"));
    assert!(line.contains("it was made for another model: points [2, 5, 3, 16, 2, 4]"), "{line}");
    fs::remove_file(home.path("pairs/pairs-00001.safetensors")).unwrap();
    let line = home.refused(2, &student("new", "teacher/model.safetensors"));
    let expected = "pairs-00003.safetensors is missing, make it with `train ode-pairs`: pairs";
    let gap = "pairs-00001.safetensors is missing, make it with `train ode-pairs`: pairs";
    assert!(line.ends_with(gap) && !line.ends_with(expected), "{line}");
    let line = home.refused(
        2,
        &[
            "train",
            "self-forcing",
            "--recipe",
            "intra.toml",
            "--dir",
            "new",
            "--from",
            "wide/model.safetensors",
        ],
    );
    assert!(line.contains("the folder was prepared with another encoder"), "{line}");
}

#[test]
fn a_model_or_recipe_that_cannot_be_read_is_named() {
    let home = road::home();
    home.write("text.safetensors", "once upon a time");
    for (from, recipe, expected) in [
        ("missing.safetensors", "vae.toml", ": missing.safetensors"),
        ("text.safetensors", "vae.toml", ": text.safetensors"),
        (
            "text.safetensors",
            "missing.toml",
            "cannot read (No such file or directory (os error 2)): missing.toml",
        ),
    ] {
        let line =
            home.refused(2, &["train", "vae", "--recipe", recipe, "--dir", "new", "--from", from]);
        assert!(line.ends_with(expected), "{line}");
    }
    assert_eq!(
        home.run(&[
            "train",
            "vae",
            "--recipe",
            "vae.toml",
            "--dir",
            "new",
            "--from",
            "x",
            "--threads",
            "0"
        ])
        .code,
        Some(2)
    );
}
