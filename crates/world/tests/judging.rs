//! The judge reads what was drawn, also through blur and noise.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use shotstream_media::Frame;
use shotstream_world::{Judge, Scores, ShotPainter, Story, StoryOptions};

const FRAMES: usize = 33;

/// Draws stories and spoils their frames.
fn films(
    seeds: std::ops::Range<u64>,
    size: [usize; 2],
    mut spoil: impl FnMut(&mut Frame),
) -> Vec<(Story, Vec<Vec<Frame>>)> {
    let options = StoryOptions { shots: 3..=3, pairs: 0.3 };
    let film = |seed| {
        let story = Story::sample(seed, &options);
        let mut shot = |shot| {
            let painter = ShotPainter::new(&story, shot, size, FRAMES);
            let mut frames: Vec<Frame> = (0..FRAMES).map(|t| painter.frame(t)).collect();
            frames.iter_mut().for_each(&mut spoil);
            frames
        };
        let shots = (0..story.shots.len()).map(&mut shot).collect();
        (story, shots)
    };
    seeds.map(film).collect()
}

fn assert_all_right(scores: &Scores, share: f64) {
    for (name, tally) in scores.rows() {
        assert!(tally.share() >= share, "{name}:\n{scores}");
    }
}

/// Three passes of a running mean of three pixels in both directions: a Gaussian of 1.4 pixels.
fn blur(frame: &mut Frame) {
    let (w, h) = (frame.width, frame.height);
    for _ in 0..3 {
        for (dx, dy) in [(1, 0), (0, 1)] {
            let from = frame.rgb.clone();
            for y in 0..h {
                for x in 0..w {
                    let before = (y - dy.min(y)) * w + x - dx.min(x);
                    let after = (y + dy).min(h - 1) * w + (x + dx).min(w - 1);
                    for c in 0..3 {
                        let sum = [before, y * w + x, after].map(|i| u32::from(from[3 * i + c]));
                        frame.rgb[3 * (y * w + x) + c] = (sum.iter().sum::<u32>() / 3) as u8;
                    }
                }
            }
        }
    }
}

#[test]
fn clean_shots_are_read_without_error() {
    let scores = Judge::new([80, 128]).score(&films(0..12, [80, 128], |_| ()));
    assert_all_right(&scores, 1.0);
    assert!(scores.residual() < 0.01, "{scores}");
}

#[test]
fn other_sizes_are_read_as_well() {
    let scores = Judge::new([96, 160]).score(&films(100..103, [96, 160], |_| ()));
    assert_all_right(&scores, 1.0);
}

#[test]
fn blurred_shots_are_read() {
    let scores = Judge::new([80, 128]).score(&films(200..206, [80, 128], blur));
    assert_all_right(&scores, 0.94);
}

#[test]
fn noisy_shots_are_read() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let noise = |frame: &mut Frame| {
        for byte in &mut frame.rgb {
            let normal = (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0;
            *byte = (f32::from(*byte) + 255.0 * 0.06 * normal).round() as u8;
        }
    };
    let scores = Judge::new([80, 128]).score(&films(300..306, [80, 128], noise));
    assert_all_right(&scores, 0.94);
}

#[test]
fn a_picture_of_nothing_known_leaves_a_residual() {
    let noise: Vec<u8> =
        (0..80 * 128 * 3).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let frames = vec![Frame { width: 128, height: 80, rgb: noise }; 5];
    assert!(Judge::new([80, 128]).read(&frames, 1).residual > 0.1);
}

#[test]
fn a_character_that_changes_between_shots_is_noticed() {
    let size = [80, 128];
    let options = StoryOptions { shots: 2..=2, pairs: 0.0 };
    let (story, other) = (Story::sample(1, &options), Story::sample(2, &options));
    assert_ne!(story.cast[0].species, other.cast[0].species);
    let read = |story: &Story, shot| {
        let painter = ShotPainter::new(story, shot, size, FRAMES);
        let frames: Vec<Frame> = (0..FRAMES).map(|t| painter.frame(t)).collect();
        Judge::new(size).read(&frames, 1)
    };
    let mut scores = Scores::default();
    scores.add(&story, &[read(&story, 0), read(&other, 1)]);
    assert_eq!((scores.same_character.of, scores.same_character.right), (1, 0));
    assert_eq!((scores.species.of, scores.species.right), (2, 1));
}
