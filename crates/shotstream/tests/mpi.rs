//! The real program as two processes under `mpirun`: what one gives, two give, and what ends one
//! ends both.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

const VAE: &str = "[loop]\nseed = 5\nsteps = 24\nwarmup = 1\ndecay = 0.0\nparts = 2\nbatch = 2\n\
    save_every = 4\nsheet_every = 12\n[optimizer]\nadamw_lr = 3e-3\nmuon_lr = 5e-3\n\
    [stage]\ncrop = [5, 16, 16]\ndivergence = 1e-3\n\
    [stage.errors]\nabsolute = 1.0\nsquared = 0.5\ndifferences = 0.5\n";

/// A folder with an untrained toy model and a recipe for its VAE.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let toy = concat!(env!("CARGO_MANIFEST_DIR"), "/../train/tests/toy_model.toml");
        fs::write(home.path("vae.toml"), VAE).unwrap();
        let fresh = ["train", "fresh", "--recipe", toy, "--dir", "fresh"];
        let Output { status, stderr, .. } = home.alone(&fresh).output().unwrap();
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn alone(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shotstream"));
        command.current_dir(self.0.path()).args(arguments).stdin(Stdio::null());
        command
    }

    fn two(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("mpirun");
        command.args(["-n", "2", env!("CARGO_BIN_EXE_shotstream")]).args(arguments);
        command.current_dir(self.0.path()).stdin(Stdio::null());
        // Open MPI alone needs to be told that root, and more processes than cores, are meant.
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1");
        command.env("OMPI_MCA_rmaps_base_oversubscribe", "1");
        command.env("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe");
        command
    }

    /// Every step of a run's log, without its time.
    fn log(&self, dir: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path(dir).join("log.jsonl")).unwrap();
        let untimed = |line: &str| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            for time in ["secs", "samples_per_sec"] {
                line.as_object_mut().unwrap().remove(time).unwrap();
            }
            line
        };
        text.lines().map(untimed).collect()
    }

    fn model(&self, dir: &str) -> Vec<u8> {
        fs::read(self.path(dir).join("model.safetensors")).unwrap()
    }
}

fn vae(dir: &str) -> [&str; 10] {
    let from = "fresh/model.safetensors";
    ["train", "vae", "--recipe", "vae.toml", "--threads", "1", "--from", from, "--dir", dir]
}

fn resumed(dir: &str) -> Vec<&str> {
    [vae(dir).as_slice(), &["--resume"]].concat()
}

fn done(mut command: Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{stderr}");
    stderr
}

fn refused(mut command: Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(!status.success(), "{stderr}");
    stderr
}

/// The process that is `rank` of the run in `dir`.
fn process_of(rank: usize, dir: &Path) -> Option<String> {
    let ranks = [format!("OMPI_COMM_WORLD_RANK={rank}"), format!("PMI_RANK={rank}")];
    let folder = dir.to_str().unwrap().as_bytes();
    let is_it = |process: &PathBuf| {
        let words = |name| fs::read(process.join(name)).unwrap_or_default();
        let (environment, line) = (words("environ"), words("cmdline"));
        let variables = environment.split(|&byte| byte == 0);
        line.split(|&byte| byte == 0).any(|word| word == folder)
            && variables.into_iter().any(|word| ranks.iter().any(|rank| rank.as_bytes() == word))
    };
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    let found = processes.into_iter().find(is_it)?;
    Some(found.file_name().unwrap().to_str().unwrap().to_owned())
}

#[test]
fn two_processes_give_the_numbers_of_one_bit_for_bit() {
    let home = Home::new();
    done(home.alone(&vae("alone")));
    let said = done(home.two(&vae("two")));
    assert_eq!(said.lines().filter(|line| line.starts_with("24/24 ")).count(), 1, "{said}");
    assert_eq!(home.log("alone"), home.log("two"));
    assert_eq!(home.log("alone").len(), 24);
    assert!(home.model("alone") == home.model("two"));
}

#[test]
fn a_killed_rank_ends_the_job_and_the_run_goes_on_from_its_checkpoint() {
    let home = Home::new();
    done(home.alone(&vae("whole")));
    let dir = home.path("killed");
    let mut job = home.two(&vae(dir.to_str().unwrap())).stderr(Stdio::piped()).spawn().unwrap();
    let log = || fs::read_to_string(dir.join("log.jsonl")).unwrap_or_default();
    while log().lines().count() < 6 {
        assert!(job.try_wait().unwrap().is_none(), "it ended before it could be killed");
        thread::sleep(Duration::from_millis(2));
    }
    let process = process_of(1, &dir).unwrap();
    assert!(Command::new("kill").args(["-9", &process]).status().unwrap().success());
    let Output { status, stderr, .. } = job.wait_with_output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(!status.success(), "{said}");
    let flat = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("rank 1") && flat.contains("signal 9"), "{said}");
    assert!(!dir.join("model.safetensors").exists());

    let other = home.path("other");
    fs::create_dir(&other).unwrap();
    for name in ["log.jsonl", "resume.safetensors"] {
        fs::copy(dir.join(name), other.join(name)).unwrap();
    }
    done(home.two(&resumed("killed")));
    done(home.alone(&resumed("other")));
    for dir in ["killed", "other"] {
        assert_eq!(home.log(dir), home.log("whole"), "{dir}");
        assert!(home.model(dir) == home.model("whole"), "{dir}");
    }
}

#[test]
fn what_is_wrong_on_every_rank_is_said_once() {
    let home = Home::new();
    fs::write(home.path("vae.toml"), VAE.replace("parts = 2", "parts = 3")).unwrap();
    let said = refused(home.two(&vae("uneven")));
    let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    let expected =
        "error: 2 ranks cannot share loop.parts evenly, expected a multiple of 2, found 3";
    assert_eq!(errors, [expected], "{said}");
}
