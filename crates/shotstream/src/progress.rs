//! Progress of long work: a bar on a terminal, a plain line now and then elsewhere. All of it, and
//! every warning, goes to standard error.

use std::{
    io::{IsTerminal as _, Write as _, stderr},
    time::{Duration, Instant},
};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Seconds between plain lines.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Where the user sees how far the work is, and how long it will still take.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    last: Instant,
    pace: Pace,
}

impl Progress {
    /// A bar if standard error is a terminal.
    pub(crate) fn new() -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{wide_bar} {pos}/{len}  {msg}");
            ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar, last: Instant::now(), pace: Pace::default() }
    }

    /// `done` of `all`, with a few words.
    pub(crate) fn show(&mut self, done: u64, all: u64, words: &str) {
        let left = self.pace.left(done, all, Instant::now());
        let left = left.map(|left| format!("  {} left", HumanDuration(left)));
        let words = format!("{words}{}", left.unwrap_or_default());
        if let Some(bar) = &self.bar {
            bar.set_length(all);
            bar.set_position(done);
            bar.set_message(words);
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

/// How quickly work goes: seconds a unit, the recent ones counting most.
#[derive(Debug, Default)]
struct Pace {
    last: Option<(u64, u64, Instant)>,
    secs: f64,
    weight: f64,
}

/// What a unit's time weighs against those before it.
const PACE: f64 = 0.05;

impl Pace {
    /// The time that is left when `done` of `all` is; nothing before two units or at the end.
    fn left(&mut self, done: u64, all: u64, now: Instant) -> Option<Duration> {
        match self.last {
            Some((before, of, then)) if of == all && before < done => {
                let units = done - before;
                let secs = now.duration_since(then).as_secs_f64() / units as f64;
                let keep = (1.0 - PACE).powf(units as f64);
                self.secs = keep * self.secs + (1.0 - keep) * secs;
                self.weight = keep * self.weight + (1.0 - keep);
            }
            // Other work has begun.
            _ => (self.secs, self.weight) = (0.0, 0.0),
        }
        self.last = Some((done, all, now));
        let left = all.saturating_sub(done);
        (0.0 < self.weight && 0 < left)
            .then(|| Duration::from_secs_f64(self.secs / self.weight * left as f64))
    }
}

/// One line to standard error.
pub(crate) fn line(text: &str) {
    // A closed standard error is no reason to stop working.
    let _ = writeln!(stderr(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_the_pace_and_starts_anew_with_other_work() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let mut left = |done, all, secs| {
            let left = pace.left(done, all, start + Duration::from_secs(secs));
            left.map(|left| left.as_secs_f64().round())
        };
        // A run that goes on says nothing of how long it took before.
        assert_eq!(left(500, 600, 0), None);
        assert_eq!(left(501, 600, 2), Some(198.0));
        assert_eq!(left(511, 600, 22), Some(178.0));
        assert_eq!(left(600, 600, 200), None);
        assert_eq!(left(1, 10, 201), None);
        assert_eq!(left(2, 10, 206), Some(40.0));
    }
}
