//! The project's own chores: `cargo xtask check` before every commit.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a task runner talks to its user")]

mod check;
mod goldens;
mod tidy;

use std::{path::Path, process::ExitCode};

const USAGE: &str = "usage: cargo xtask check   format, lints, tests and tidy: all that CI runs
       cargo xtask tidy    only the rules this project keeps by program
       cargo xtask goldens make every golden again with PyTorch and compare";

fn main() -> ExitCode {
    // Cargo says where the package is now; what it was when compiled may have moved since.
    let package = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    let Some(root) = Path::new(&package).parent() else {
        eprintln!("error: the task runner is started by cargo, as in `cargo xtask check`");
        return ExitCode::FAILURE;
    };
    let task = std::env::args().nth(1);
    let passed = match task.as_deref() {
        Some("check") => check::check(root),
        Some("tidy") => tidy::print_report(root),
        Some("goldens") => goldens::regenerate(root),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
