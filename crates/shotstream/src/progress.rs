//! Progress of long work: a bar on a terminal, a plain line now and then elsewhere.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Seconds between plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Where the user sees how far the work is.
pub struct Progress {
    bar: Option<ProgressBar>,
    last: Option<Instant>,
}

impl Progress {
    /// A bar if standard error is a terminal.
    pub fn new() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {eta} {msg}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, last: None }
    }

    /// `done` of `all`, with some named numbers.
    pub fn show(&mut self, done: u64, all: u64, numbers: &[(&'static str, f64)]) {
        let numbers: Vec<_> = numbers.iter().map(|(name, x)| format!("{name} {x:.4}")).collect();
        let numbers = numbers.join("  ");
        if let Some(bar) = &self.bar {
            bar.set_length(all);
            bar.set_position(done);
            bar.set_message(numbers);
        } else if done == all || self.last.is_none_or(|last| last.elapsed() >= PLAIN_EVERY) {
            self.last = Some(Instant::now());
            // A closed standard error is no reason to stop working.
            let _ = writeln!(stderr(), "{done}/{all}  {numbers}");
        }
    }
}
