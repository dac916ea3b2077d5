//! The rollout without a session, as training runs it.

use std::sync::Arc;

use expect_test::expect;
use shotstream_engine::network::{Latents, NetworkError};
use shotstream_engine::rollout::{Border, ShotInput, rollout};
use shotstream_engine::schedule::Schedule;
use shotstream_plan::geometry::PixelFrames;
use shotstream_plan::plan::plan_shot;
use shotstream_plan::timeline::Timeline;

use crate::fake::{CHANNELS, Fake, recipe};

/// Roll a shot out, with the network's diary and how many chunks came out.
fn roll(steps: usize, keep: usize) -> (String, usize) {
    roll_frames(recipe().shot_frames(), steps, keep)
}

/// The same for a shot of any length.
fn roll_frames(frames: PixelFrames, steps: usize, keep: usize) -> (String, usize) {
    let (fake, recipe) = (Fake::default(), recipe());
    let plan = plan_shot(&recipe, &Timeline::default(), frames).unwrap();
    let text = Arc::new("a cat".to_owned());
    let input = ShotInput { chunks: &plan.chunks, text: &text, context: &0.5 };
    let mut made = Vec::new();
    let noise = |chunk, step| {
        let data = vec![(chunk * 10 + step) as f32; 3 * CHANNELS * 4];
        Ok(Latents { shape: [3, CHANNELS, 2, 2], data })
    };
    let emit = |chunk: usize, clean: &Latents| {
        assert_eq!(chunk, made.len());
        made.push(clean.clone());
        Ok(if made.len() == keep { Border::End } else { Border::GoOn })
    };
    let schedule = Schedule::of(&recipe).first(steps);
    rollout::<_, NetworkError>(&fake, &input, &schedule, noise, emit).unwrap();
    (fake.diary(), made.len())
}

#[test]
fn a_rollout_that_stops_at_its_first_step_still_commits_every_chunk_that_is_followed() {
    let (diary, made) = roll(1, 99);
    assert_eq!(made, 3);
    expect![[r#"
        denoise 1000 positions 6..=8 phases 111 sees 0
        commit positions 6..=8 phases 111
        denoise 1000 positions 9..=11 phases 111 sees 1
        commit positions 9..=11 phases 111
        denoise 1000 positions 12..=14 phases 111 sees 2
    "#]]
    .assert_eq(&diary);
}

#[test]
fn a_rollout_may_be_broken_off_after_a_chunk_which_is_then_not_committed() {
    let (diary, made) = roll(1, 2);
    assert_eq!(made, 2);
    expect![[r#"
        denoise 1000 positions 6..=8 phases 111 sees 0
        commit positions 6..=8 phases 111
        denoise 1000 positions 9..=11 phases 111 sees 1
    "#]]
    .assert_eq(&diary);
}

#[test]
fn a_shot_that_outgrows_the_window_forgets_its_oldest_chunk_before_the_next() {
    let (diary, made) = roll_frames(PixelFrames(57), 1, 99);
    assert_eq!(made, 5);
    let seen: Vec<_> = diary.lines().filter_map(|line| line.split("sees ").nth(1)).collect();
    assert_eq!(seen, ["0", "1", "2", "2", "2"]);
}
