//! Progress of long work: a bar on a terminal, a plain line now and then elsewhere. All of it, and
//! every warning, goes to standard error.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Seconds between plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Where the user sees how far the work is.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    last: Instant,
}

impl Progress {
    /// A bar if standard error is a terminal.
    pub(crate) fn new() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} {eta} {msg}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, last: Instant::now() }
    }

    /// `done` of `all`, with a few words.
    pub(crate) fn show(&mut self, done: u64, all: u64, words: &str) {
        if let Some(bar) = &self.bar {
            bar.set_length(all);
            bar.set_position(done);
            bar.set_message(words.to_owned());
        } else if done == all || PLAIN_EVERY <= self.last.elapsed() {
            self.last = Instant::now();
            line(&format!("{done}/{all}  {words}"));
        }
    }

    /// A line that stays, above the bar.
    pub(crate) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| line(text)),
            None => line(text),
        }
    }

    /// Take the bar away.
    pub(crate) fn clear(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// One line to standard error.
pub(crate) fn line(text: &str) {
    // A closed standard error is no reason to stop working.
    let _ = writeln!(stderr(), "{text}");
}
