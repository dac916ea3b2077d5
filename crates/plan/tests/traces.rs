//! Golden traces: what the engine will do for stories of one to twelve shots, as text.

use expect_test::{Expect, expect};
use shotstream_plan::{
    context::MemoryPolicy,
    geometry::PixelFrames,
    plan::Plan,
    recipe::{ContextCaptions, Recipe, RecipeFile},
    script::{Script, ShotScript},
    trace::trace,
};

fn story(recipe: Recipe, lengths: &[usize]) -> String {
    let shot = |(index, &frames): (usize, &usize)| ShotScript {
        frames: Some(PixelFrames(frames)),
        ..ShotScript::new(format!("Caption of shot {index}."))
    };
    let shots = lengths.iter().enumerate().map(shot).collect();
    let script = Script { global: "A story. ".to_owned(), shots };
    let plan = Plan::of(recipe, &script).expect("the lengths end at chunk borders");
    trace(&script, &plan)
}

/// The whole trace.
fn check(recipe: Recipe, lengths: &[usize], expected: Expect) {
    expected.assert_eq(&story(recipe, lengths));
}

/// What the last shot remembers and where it starts in the rotary grid.
fn check_last(lengths: &[usize], expected: Expect) {
    check_last_of(Recipe::wan().into(), lengths, expected);
}

/// The same under other rules than the paper's.
fn check_last_of(rules: RecipeFile, lengths: &[usize], expected: Expect) {
    let text = story(rules.resolve().expect("the rules fit the recipe"), lengths);
    let last = text.split("\n\n").last().expect("a trace has shots");
    let kept = |line: &&str| line.contains("remembers") || line.contains("chunk 0");
    let lines: Vec<_> = last.lines().filter(kept).map(str::trim_start).collect();
    expected.assert_eq(&lines.join("\n"));
}

#[test]
fn a_tiny_story_of_three_shots() {
    check(
        Recipe::tiny(),
        &[33, 45, 9],
        expect![[r#"
        story: 3 shots, 87 frames of 128x80, 0:05.43 at 16 Hz
          "A story."
        every chunk: 3 latent frames, 120 tokens
          denoised in 4 steps at timesteps 1000.0 934.3 833.3 637.3
          committed at timestep 0

        shot 0: 33 frames = 9 latent, 0:00.00 to 0:02.06
          "Caption of shot 0."
          remembers nothing: 6 null frames at positions 0-5, phase 0, own caption
          chunk 0: latent 0-2, frames 0-8,   positions 6-8,   phase 1, attends to 360 tokens
          chunk 1: latent 3-5, frames 9-20,  positions 9-11,  phase 1, attends to 480 tokens
          chunk 2: latent 6-8, frames 21-32, positions 12-14, phase 1, attends to 600 tokens
          memory: 240 tokens of context, up to 360 of its own
          leaves frames 0 6 13 16 19 26 32

        shot 1: 45 frames = 12 latent, 0:02.06 to 0:04.87
          "Caption of shot 1."
          remembers shot 0: frames 0 6 13 19 26 32 at positions 0-5, phase 0, caption 0
          chunk 0: latent 0-2,  frames 0-8,   positions 6-8,   phase 1, attends to 360 tokens
          chunk 1: latent 3-5,  frames 9-20,  positions 9-11,  phase 1, attends to 480 tokens
          chunk 2: latent 6-8,  frames 21-32, positions 12-14, phase 1, attends to 600 tokens
          chunk 3: latent 9-11, frames 33-44, positions 15-17, phase 1, attends to 600 tokens
          memory: 240 tokens of context, up to 360 of its own
          leaves frames 0 22 44

        shot 2: 9 frames = 3 latent, 0:04.87 to 0:05.43
          "Caption of shot 2."
          remembers shot 0: frames 0 16 32 at positions 0-2, phase 0, caption 0
          remembers shot 1: frames 0 22 44 at positions 3-5, phase 1, caption 1
          chunk 0: latent 0-2, frames 0-8, positions 6-8, phase 2, attends to 360 tokens
          memory: 240 tokens of context, up to 120 of its own
          leaves frames 0 8
    "#]],
    );
}

#[test]
fn a_story_of_two_shots_at_full_size() {
    check(
        Recipe::wan(),
        &[81, 81],
        expect![[r#"
        story: 2 shots, 162 frames of 832x480, 0:10.12 at 16 Hz
          "A story."
        every chunk: 3 latent frames, 4680 tokens
          denoised in 4 steps at timesteps 1000.0 957.9 888.9 737.6
          committed at timestep 0

        shot 0: 81 frames = 21 latent, 0:00.00 to 0:05.06
          "Caption of shot 0."
          remembers nothing: 6 null frames at positions 0-5, phase 0, own caption
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 1, attends to 14040 tokens
          chunk 1: latent 3-5,   frames 9-20,  positions 9-11,  phase 1, attends to 18720 tokens
          chunk 2: latent 6-8,   frames 21-32, positions 12-14, phase 1, attends to 23400 tokens
          chunk 3: latent 9-11,  frames 33-44, positions 15-17, phase 1, attends to 28080 tokens
          chunk 4: latent 12-14, frames 45-56, positions 18-20, phase 1, attends to 32760 tokens
          chunk 5: latent 15-17, frames 57-68, positions 21-23, phase 1, attends to 37440 tokens
          chunk 6: latent 18-20, frames 69-80, positions 24-26, phase 1, attends to 42120 tokens
          memory: 9360 tokens of context, up to 32760 of its own
          leaves frames 0 16 32 40 48 64 80

        shot 1: 81 frames = 21 latent, 0:05.06 to 0:10.12
          "Caption of shot 1."
          remembers shot 0: frames 0 16 32 48 64 80 at positions 0-5, phase 0, caption 0
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 1, attends to 14040 tokens
          chunk 1: latent 3-5,   frames 9-20,  positions 9-11,  phase 1, attends to 18720 tokens
          chunk 2: latent 6-8,   frames 21-32, positions 12-14, phase 1, attends to 23400 tokens
          chunk 3: latent 9-11,  frames 33-44, positions 15-17, phase 1, attends to 28080 tokens
          chunk 4: latent 12-14, frames 45-56, positions 18-20, phase 1, attends to 32760 tokens
          chunk 5: latent 15-17, frames 57-68, positions 21-23, phase 1, attends to 37440 tokens
          chunk 6: latent 18-20, frames 69-80, positions 24-26, phase 1, attends to 42120 tokens
          memory: 9360 tokens of context, up to 32760 of its own
          leaves frames 0 40 80
    "#]],
    );
}

#[test]
fn the_first_shot_remembers_null_frames() {
    check_last(
        &[81],
        expect![[r#"
          remembers nothing: 6 null frames at positions 0-5, phase 0, own caption
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 1, attends to 14040 tokens"#]],
    );
}

#[test]
fn the_second_shot_remembers_six_frames_of_the_first() {
    check_last(
        &[81; 2],
        expect![[r#"
          remembers shot 0: frames 0 16 32 48 64 80 at positions 0-5, phase 0, caption 0
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 1, attends to 14040 tokens"#]],
    );
}

#[test]
fn the_third_shot_remembers_three_of_each() {
    check_last(
        &[81; 3],
        expect![[r#"
          remembers shot 0: frames 0 40 80 at positions 0-2, phase 0, caption 0
          remembers shot 1: frames 0 40 80 at positions 3-5, phase 1, caption 1
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 2, attends to 14040 tokens"#]],
    );
}

#[test]
fn the_fourth_shot_remembers_two_of_each() {
    check_last(
        &[81; 4],
        expect![[r#"
          remembers shot 0: frames 0 80 at positions 0-1, phase 0, caption 0
          remembers shot 1: frames 0 80 at positions 2-3, phase 1, caption 1
          remembers shot 2: frames 0 80 at positions 4-5, phase 2, caption 2
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 3, attends to 14040 tokens"#]],
    );
}

#[test]
fn the_fifth_shot_remembers_more_of_the_newest_two() {
    check_last(
        &[81; 5],
        expect![[r#"
          remembers shot 0: frame 0 at position 0, phase 0, caption 0
          remembers shot 1: frame 0 at position 1, phase 1, caption 1
          remembers shot 2: frames 0 80 at positions 2-3, phase 2, caption 2
          remembers shot 3: frames 0 80 at positions 4-5, phase 3, caption 3
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 4, attends to 14040 tokens"#]],
    );
}

#[test]
fn the_sixth_shot_remembers_more_of_the_newest() {
    check_last(
        &[81; 6],
        expect![[r#"
          remembers shot 0: frame 0 at position 0, phase 0, caption 0
          remembers shot 1: frame 0 at position 1, phase 1, caption 1
          remembers shot 2: frame 0 at position 2, phase 2, caption 2
          remembers shot 3: frame 0 at position 3, phase 3, caption 3
          remembers shot 4: frames 0 80 at positions 4-5, phase 4, caption 4
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 5, attends to 14040 tokens"#]],
    );
}

#[test]
fn the_seventh_shot_remembers_one_of_each() {
    check_last(
        &[81; 7],
        expect![[r#"
          remembers shot 0: frame 0 at position 0, phase 0, caption 0
          remembers shot 1: frame 0 at position 1, phase 1, caption 1
          remembers shot 2: frame 0 at position 2, phase 2, caption 2
          remembers shot 3: frame 0 at position 3, phase 3, caption 3
          remembers shot 4: frame 0 at position 4, phase 4, caption 4
          remembers shot 5: frame 0 at position 5, phase 5, caption 5
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 6, attends to 14040 tokens"#]],
    );
}

#[test]
fn the_eighth_shot_forgets_the_first() {
    check_last(
        &[81; 8],
        expect![[r#"
          remembers shot 1: frame 0 at position 0, phase 0, caption 1
          remembers shot 2: frame 0 at position 1, phase 1, caption 2
          remembers shot 3: frame 0 at position 2, phase 2, caption 3
          remembers shot 4: frame 0 at position 3, phase 3, caption 4
          remembers shot 5: frame 0 at position 4, phase 4, caption 5
          remembers shot 6: frame 0 at position 5, phase 5, caption 6
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 6, attends to 14040 tokens"#]],
    );
}

#[test]
fn the_ninth_shot_forgets_the_first_two() {
    check_last(
        &[81; 9],
        expect![[r#"
          remembers shot 2: frame 0 at position 0, phase 0, caption 2
          remembers shot 3: frame 0 at position 1, phase 1, caption 3
          remembers shot 4: frame 0 at position 2, phase 2, caption 4
          remembers shot 5: frame 0 at position 3, phase 3, caption 5
          remembers shot 6: frame 0 at position 4, phase 4, caption 6
          remembers shot 7: frame 0 at position 5, phase 5, caption 7
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 6, attends to 14040 tokens"#]],
    );
}

#[test]
fn the_tenth_shot_forgets_the_first_three() {
    check_last(
        &[81; 10],
        expect![[r#"
          remembers shot 3: frame 0 at position 0, phase 0, caption 3
          remembers shot 4: frame 0 at position 1, phase 1, caption 4
          remembers shot 5: frame 0 at position 2, phase 2, caption 5
          remembers shot 6: frame 0 at position 3, phase 3, caption 6
          remembers shot 7: frame 0 at position 4, phase 4, caption 7
          remembers shot 8: frame 0 at position 5, phase 5, caption 8
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 6, attends to 14040 tokens"#]],
    );
}

#[test]
fn the_eleventh_shot_forgets_the_first_four() {
    check_last(
        &[81; 11],
        expect![[r#"
          remembers shot 4: frame 0 at position 0, phase 0, caption 4
          remembers shot 5: frame 0 at position 1, phase 1, caption 5
          remembers shot 6: frame 0 at position 2, phase 2, caption 6
          remembers shot 7: frame 0 at position 3, phase 3, caption 7
          remembers shot 8: frame 0 at position 4, phase 4, caption 8
          remembers shot 9: frame 0 at position 5, phase 5, caption 9
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 6, attends to 14040 tokens"#]],
    );
}

#[test]
fn the_twelfth_shot_forgets_the_first_five() {
    check_last(
        &[81; 12],
        expect![[r#"
          remembers shot 5: frame 0 at position 0, phase 0, caption 5
          remembers shot 6: frame 0 at position 1, phase 1, caption 6
          remembers shot 7: frame 0 at position 2, phase 2, caption 7
          remembers shot 8: frame 0 at position 3, phase 3, caption 8
          remembers shot 9: frame 0 at position 4, phase 4, caption 9
          remembers shot 10: frame 0 at position 5, phase 5, caption 10
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 6, attends to 14040 tokens"#]],
    );
}

#[test]
fn shots_of_other_lengths_are_spread_over_their_own_frames() {
    check_last(
        &[33, 57, 21, 81],
        expect![[r#"
          remembers shot 0: frames 0 32 at positions 0-1, phase 0, caption 0
          remembers shot 1: frames 0 56 at positions 2-3, phase 1, caption 1
          remembers shot 2: frames 0 20 at positions 4-5, phase 2, caption 2
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 3, attends to 14040 tokens"#]],
    );
}

#[test]
fn a_memory_of_first_frames_or_of_first_and_last_ones_repeats_them() {
    check_last_of(
        RecipeFile { memory: MemoryPolicy::First, ..Recipe::wan().into() },
        &[81; 3],
        expect![[r#"
          remembers shot 0: frames 0 0 0 at positions 0-2, phase 0, caption 0
          remembers shot 1: frames 0 0 0 at positions 3-5, phase 1, caption 1
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 2, attends to 14040 tokens"#]],
    );
    check_last_of(
        RecipeFile { memory: MemoryPolicy::FirstLast, ..Recipe::wan().into() },
        &[81; 3],
        expect![[r#"
          remembers shot 0: frames 0 0 80 at positions 0-2, phase 0, caption 0
          remembers shot 1: frames 0 0 80 at positions 3-5, phase 1, caption 1
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 2, attends to 14040 tokens"#]],
    );
}

#[test]
fn an_anchored_memory_keeps_the_first_shot_one_phase_before_the_others() {
    check_last_of(
        RecipeFile { memory: MemoryPolicy::Anchor, ..Recipe::wan().into() },
        &[81; 9],
        expect![[r#"
          remembers shot 0: frame 0 at position 0, phase 0, caption 0
          remembers shot 3: frame 0 at position 1, phase 1, caption 3
          remembers shot 4: frame 0 at position 2, phase 2, caption 4
          remembers shot 5: frame 0 at position 3, phase 3, caption 5
          remembers shot 6: frame 0 at position 4, phase 4, caption 6
          remembers shot 7: frame 0 at position 5, phase 5, caption 7
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 6, attends to 14040 tokens"#]],
    );
}

#[test]
fn a_recent_memory_is_of_the_newest_shot_only() {
    check_last_of(
        RecipeFile { memory: MemoryPolicy::Recent, ..Recipe::wan().into() },
        &[81; 9],
        expect![[r#"
          remembers shot 7: frames 0 16 32 48 64 80 at positions 0-5, phase 0, caption 7
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 1, attends to 14040 tokens"#]],
    );
}

#[test]
fn a_memory_without_captions_reads_that_of_the_shot_to_come() {
    check_last_of(
        RecipeFile { context_captions: ContextCaptions::Target, ..Recipe::wan().into() },
        &[81; 3],
        expect![[r#"
          remembers shot 0: frames 0 40 80 at positions 0-2, phase 0, caption 2
          remembers shot 1: frames 0 40 80 at positions 3-5, phase 1, caption 2
          chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 2, attends to 14040 tokens"#]],
    );
}

#[test]
fn a_shot_longer_than_the_window_attends_to_its_newest_frames() {
    check(
        Recipe::tiny(),
        &[69],
        expect![[r#"
            story: 1 shot, 69 frames of 128x80, 0:04.31 at 16 Hz
              "A story."
            every chunk: 3 latent frames, 120 tokens
              denoised in 4 steps at timesteps 1000.0 934.3 833.3 637.3
              committed at timestep 0

            shot 0: 69 frames = 18 latent, 0:00.00 to 0:04.31
              "Caption of shot 0."
              remembers nothing: 6 null frames at positions 0-5, phase 0, own caption
              chunk 0: latent 0-2,   frames 0-8,   positions 6-8,   phase 1, attends to 360 tokens
              chunk 1: latent 3-5,   frames 9-20,  positions 9-11,  phase 1, attends to 480 tokens
              chunk 2: latent 6-8,   frames 21-32, positions 12-14, phase 1, attends to 600 tokens
              chunk 3: latent 9-11,  frames 33-44, positions 15-17, phase 1, attends to 600 tokens
              chunk 4: latent 12-14, frames 45-56, positions 18-20, phase 1, attends to 600 tokens
              chunk 5: latent 15-17, frames 57-68, positions 21-23, phase 1, attends to 600 tokens
              memory: 240 tokens of context, up to 360 of its own
              leaves frames 0 14 27 34 41 54 68
        "#]],
    );
}

#[test]
fn a_long_caption_is_cut_to_one_line() {
    let script = Script {
        global: String::new(),
        shots: vec![ShotScript {
            seed: Some(7),
            ..ShotScript::new("A cat\nand a dog ".repeat(20))
        }],
    };
    let plan = Plan::of(Recipe::tiny(), &script).unwrap();
    let text = trace(&script, &plan);
    let lines: Vec<_> = text.lines().skip(5).take(2).map(str::trim_start).collect();
    expect![[r#"
        shot 0: 33 frames = 9 latent, 0:00.00 to 0:02.06, seed 7
        "A cat and a dog A cat and a dog A cat and a dog A cat and a dog A cat and a dog A cat an…""#]].assert_eq(&lines.join("\n"));
}
