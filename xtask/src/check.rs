//! Everything a change must pass, in one command that works offline and says what ran.

use std::{path::Path, process::Command, time::Instant};

use crate::tidy;

/// The cargo commands, quickest first.
const COMMANDS: [&[&str]; 3] = [
    &["fmt", "--all", "--check"],
    &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"],
    &["test", "--locked", "--workspace"],
];

/// The program as several processes, where MPI is installed. The features of the other crates stay
/// as they are, so nothing but ours is compiled again.
const WITH_MPI: [&[&str]; 2] = [
    &["clippy", "--locked", "--workspace", "--all-targets", MPI, "--", "-D", "warnings"],
    &["test", "--locked", "--workspace", MPI, "--test", "mpi"],
];

/// Viewers over WebRTC, and traces, in the one crate that knows of them.
const WITH_SERVING: [&[&str]; 2] = [
    &["clippy", "--locked", SERVE, "--all-targets", SERVING, "--", "-D", "warnings"],
    &["test", "--locked", SERVE, SERVING],
];

/// Films made on a card, whose programs run on the processor here.
const WITH_CUDA: [&[&str]; 2] = [
    &["clippy", "--locked", "--workspace", "--all-targets", CUDA, "--", "-D", "warnings"],
    &["test", "--locked", RUNTIME, "--features=cuda", "--test=cuda"],
];

const CUDA: &str = "--features=shotstream/cuda";

const RUNTIME: &str = "--package=shotstream-runtime";

const SERVING: &str = "--features=whep,otlp";

const SERVE: &str = "--package=shotstream-serve";

const MPI: &str = "--features=shotstream/mpi";

/// Run every check, also after one has failed, and tell whether all passed.
pub(crate) fn check(root: &Path) -> bool {
    let mut outcomes = vec![timed("cargo xtask tidy", || tidy::print_report(root))];
    let absent: Vec<_> = ["mpicc", "mpirun"].into_iter().filter(|name| !is_there(name)).collect();
    let with_mpi = if absent.is_empty() { WITH_MPI.as_slice() } else { &[] };
    for arguments in COMMANDS.iter().chain(&WITH_CUDA).chain(&WITH_SERVING).chain(with_mpi) {
        let name = format!("cargo {}", arguments.join(" "));
        println!("\n== {name}");
        outcomes.push(timed(&name, || cargo(root, arguments)));
    }
    println!("\n== what ran");
    for outcome in &outcomes {
        let verdict = if outcome.passed { "passed" } else { "FAILED" };
        println!("{verdict} in {:6.1} s: {}", outcome.seconds, outcome.name);
    }
    if !absent.is_empty() {
        println!("NOT RUN: several processes over MPI, {} is not installed", absent.join(", "));
    }
    outcomes.iter().all(|outcome| outcome.passed)
}

struct Outcome {
    name: String,
    passed: bool,
    seconds: f32,
}

fn timed(name: &str, run: impl FnOnce() -> bool) -> Outcome {
    let start = Instant::now();
    let passed = run();
    Outcome { name: name.to_owned(), passed, seconds: start.elapsed().as_secs_f32() }
}

fn is_there(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok()
}

fn cargo(root: &Path, arguments: &[&str]) -> bool {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    match Command::new(program).args(arguments).current_dir(root).status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("error: cannot start cargo: {error}");
            false
        }
    }
}
