//! How the frames of films change: whether chunks join, and whether what stands still stays still.

use shotstream_media::Frame;
use shotstream_plan::recipe::Recipe;
use shotstream_world::{Action, Pan, ShotPainter, Story};

/// Sums over shots; differences are of pixel values between 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Motion {
    borders: Mean,
    inner: Mean,
    still: Mean,
}

/// A sum and how many there were.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Mean {
    sum: f64,
    count: usize,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn join(&mut self, other: Self) {
        self.sum += other.sum;
        self.count += other.count;
    }

    fn value(self) -> Option<f64> {
        (0 < self.count).then(|| self.sum / self.count as f64)
    }
}

impl Motion {
    /// Count one shot: all its frames, and what story it belongs to.
    pub(super) fn add(&mut self, frames: &[Frame], recipe: &Recipe, story: &Story, shot: usize) {
        let geometry = recipe.geometry();
        let mut borders = (1..).map(|chunk| geometry.chunk_frames(chunk).start).peekable();
        for (frame, pair) in (1..).zip(frames.windows(2)) {
            let change = difference(&pair[0], &pair[1]);
            let border = borders.next_if_eq(&frame).is_some();
            if border { self.borders.add(change) } else { self.inner.add(change) }
        }
        let take = &story.shots[shot];
        let stands = take.pan == Pan::None && take.actions.iter().all(|&a| a == Action::Stands);
        if stands && !frames.is_empty() {
            let size = [frames[0].height, frames[0].width];
            let painter = ShotPainter::new(story, shot, size, frames.len());
            let drawn: Vec<_> = (0..frames.len()).map(|frame| painter.frame(frame)).collect();
            self.still.join(unrest(frames, &drawn));
        }
    }

    /// Count the shots of another film.
    pub fn join(&mut self, other: &Self) {
        self.borders.join(other.borders);
        self.inner.join(other.inner);
        self.still.join(other.still);
    }

    /// The mean change from chunk to chunk over the mean change inside chunks; nothing without
    /// chunk borders, or where nothing moves.
    pub fn jump(&self) -> Option<f64> {
        let (border, inner) = self.borders.value().zip(self.inner.value())?;
        (0.0 < inner).then(|| border / inner)
    }

    /// Where everybody stands and the camera too: the mean deviation over time of the values of
    /// pixels that the drawing keeps.
    pub fn unrest(&self) -> Option<f64> {
        self.still.value()
    }
}

/// The mean difference of two frames' values.
fn difference(a: &Frame, b: &Frame) -> f64 {
    let pairs = a.rgb.iter().zip(&b.rgb);
    let sum: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / 255.0 / a.rgb.len() as f64
}

/// Deviations over time of those values of `frames` that do not change in `drawn`.
fn unrest(frames: &[Frame], drawn: &[Frame]) -> Mean {
    let mut mean = Mean::default();
    for index in 0..frames[0].rgb.len() {
        if drawn.iter().any(|frame| frame.rgb[index] != drawn[0].rgb[index]) {
            continue;
        }
        let count = frames.len() as u64;
        let values = frames.iter().map(|frame| u64::from(frame.rgb[index]));
        let (sum, squares) = values.fold((0, 0), |(s, q), x| (s + x, q + x * x));
        // In whole numbers, so that what stands still deviates by nothing.
        let spread = (count * squares - sum * sum) as f64;
        mean.add(spread.sqrt() / count as f64 / 255.0);
    }
    mean
}

#[cfg(test)]
mod tests {
    use shotstream_world::StoryOptions;

    use super::*;

    fn drawn(story: &Story) -> Vec<Frame> {
        let painter = ShotPainter::new(story, 0, [80, 128], 33);
        (0..33).map(|frame| painter.frame(frame)).collect()
    }

    fn judged(frames: &[Frame], story: &Story) -> Motion {
        let mut motion = Motion::default();
        motion.add(frames, &Recipe::tiny(), story, 0);
        motion
    }

    fn story(stands: bool) -> Story {
        let mut stories = (0..).map(|seed| Story::sample(seed, &StoryOptions::default()));
        let still = |story: &Story| {
            let shot = &story.shots[0];
            shot.pan == Pan::None && shot.actions.iter().all(|&a| a == Action::Stands)
        };
        stories.find(|story| still(story) == stands).unwrap()
    }

    #[test]
    fn a_drawing_joins_its_chunks_and_keeps_still() {
        let moving = story(false);
        let motion = judged(&drawn(&moving), &moving);
        assert!((0.5..1.5).contains(&motion.jump().unwrap()), "{motion:?}");
        assert_eq!(motion.unrest(), None);
        let still = story(true);
        assert_eq!(judged(&drawn(&still), &still).unrest(), Some(0.0));
    }

    #[test]
    fn a_film_that_changes_with_its_chunks_jumps_and_is_restless() {
        let still = story(true);
        let mut frames = drawn(&still);
        let brighter = |byte: &mut u8| *byte = byte.saturating_add(40);
        frames[9..21].iter_mut().for_each(|frame| frame.rgb.iter_mut().for_each(brighter));
        let motion = judged(&frames, &still);
        assert!(5.0 < motion.jump().unwrap(), "{motion:?}");
        assert!((0.02..0.1).contains(&motion.unrest().unwrap()), "{motion:?}");
    }
}
