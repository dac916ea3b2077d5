//! `plan`: what would happen, as text.

use expect_test::expect;

use crate::fixture::{Home, root};

#[test]
fn the_plan_of_two_friends() {
    let story = root().join("examples/two-friends.toml");
    let run = Home::new().done(&["plan", story.to_str().unwrap()]);
    expect![[r#"
        story: 2 shots, 78 frames of 128x80, 0:04.87 at 16 Hz
          "A blue robot with a scarf meets a white rabbit with a balloon."
        every chunk: 3 latent frames, 120 tokens
          denoised in 4 steps at timesteps 1000.0 895.2 750.0 513.2
          committed at timestep 0

        shot 0: 33 frames = 9 latent, 0:00.00 to 0:02.06
          "Medium shot: the blue robot and the white rabbit wave in the meadow by day."
          remembers nothing: 6 null frames at positions 0-5, phase 0, own caption
          chunk 0: latent 0-2, frames 0-8,   positions 6-8,   phase 1, attends to 360 tokens
          chunk 1: latent 3-5, frames 9-20,  positions 9-11,  phase 1, attends to 480 tokens
          chunk 2: latent 6-8, frames 21-32, positions 12-14, phase 1, attends to 600 tokens
          memory: 240 tokens of context, up to 360 of its own
          leaves frames 0 6 13 16 19 26 32

        shot 1: 45 frames = 12 latent, 0:02.06 to 0:04.87, seed 7
          "Wide shot: the robot walks and the rabbit hops on the beach at sunset, the camera pans r…"
          remembers shot 0: frames 0 6 13 19 26 32 at positions 0-5, phase 0, caption 0
          chunk 0: latent 0-2,  frames 0-8,   positions 6-8,   phase 1, attends to 360 tokens
          chunk 1: latent 3-5,  frames 9-20,  positions 9-11,  phase 1, attends to 480 tokens
          chunk 2: latent 6-8,  frames 21-32, positions 12-14, phase 1, attends to 600 tokens
          chunk 3: latent 9-11, frames 33-44, positions 15-17, phase 1, attends to 600 tokens
          memory: 240 tokens of context, up to 360 of its own
          leaves frames 0 22 44
    "#]].assert_eq(run.text());
}

#[test]
fn a_plan_follows_the_size() {
    let home = Home::with_story();
    let run = home.done(&["plan", "story.toml", "--size", "64x48"]);
    assert!(run.text().starts_with("story: 2 shots, 30 frames of 64x48,"), "{}", run.text());
}
