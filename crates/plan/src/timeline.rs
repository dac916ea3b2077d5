//! Shots on the clock: where each one starts, how long it is, when it is seen.
//!
//! Frames are counted over the whole story. Which frames a shot remembers depends on these global
//! numbers (see `context`), so the timeline is the only thing that must outlive a shot.

use crate::geometry::PixelFrames;

/// The lengths of the shots of a story so far, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    lengths: Vec<PixelFrames>,
}

impl Timeline {
    /// Append a shot.
    pub fn push(&mut self, length: PixelFrames) {
        self.lengths.push(length);
    }

    /// Replace the length of the newest shot, which was cut short. Nothing happens without shots.
    pub fn cut(&mut self, length: PixelFrames) {
        if let Some(last) = self.lengths.last_mut() {
            *last = length;
        }
    }

    /// The lengths of all shots, oldest first.
    pub fn lengths(&self) -> &[PixelFrames] {
        &self.lengths
    }

    /// The number of shots.
    pub fn num_shots(&self) -> usize {
        self.lengths.len()
    }

    /// The global number of a shot's first frame; for the next shot, the length of the story.
    pub fn start(&self, shot: usize) -> usize {
        self.lengths.iter().take(shot).map(|length| length.0).sum()
    }

    /// The length of the story.
    pub fn total(&self) -> PixelFrames {
        PixelFrames(self.start(self.lengths.len()))
    }
}

impl FromIterator<PixelFrames> for Timeline {
    fn from_iter<I: IntoIterator<Item = PixelFrames>>(lengths: I) -> Self {
        Self { lengths: lengths.into_iter().collect() }
    }
}

/// The time at which a frame is shown, as `m:ss.cc`.
pub fn clock(frame: usize, frames_per_second: u32) -> String {
    let centis = frame * 100 / frames_per_second as usize;
    format!("{}:{:02}.{:02}", centis / 6000, centis / 100 % 60, centis % 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shot_starts_where_the_one_before_ends() {
        let mut timeline: Timeline = [81, 33].map(PixelFrames).into_iter().collect();
        timeline.push(PixelFrames(81));
        assert_eq!([0, 1, 2, 3].map(|shot| timeline.start(shot)), [0, 81, 114, 195]);
        timeline.cut(PixelFrames(9));
        assert_eq!(timeline.total(), PixelFrames(123));
        assert_eq!(timeline.num_shots(), 3);
    }

    #[test]
    fn the_clock_counts_minutes_seconds_and_hundredths() {
        assert_eq!(clock(0, 16), "0:00.00");
        assert_eq!(clock(81, 16), "0:05.06");
        assert_eq!(clock(16 * 75 + 8, 16), "1:15.50");
    }
}
