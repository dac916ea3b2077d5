//! Golden traces of what the paper does not do: words that change inside a shot, a sink, and no
//! context frames.

use expect_test::expect;
use shotstream_plan::{
    geometry::PixelFrames,
    plan::Plan,
    recipe::{Recipe, RecipeFile},
    script::{Rewrite, Script, ShotScript},
    trace::trace,
};

fn story(recipe: Recipe, shots: Vec<ShotScript>) -> String {
    let script = Script { global: "A story. ".to_owned(), shots };
    let plan = Plan::of(recipe, &script).expect("the words change at chunk borders");
    let text = trace(&script, &plan);
    text.split_once("\n\n").expect("a trace has shots").1.to_owned()
}

fn shot(caption: &str, frames: usize, then: &[(usize, &str)]) -> ShotScript {
    let rewrite = |&(after_chunks, caption): &(usize, &str)| Rewrite {
        after_chunks,
        caption: caption.to_owned(),
    };
    let then = then.iter().map(rewrite).collect();
    ShotScript { frames: Some(PixelFrames(frames)), then, ..ShotScript::new(caption) }
}

#[test]
fn words_that_change_are_read_where_they_hold_and_remembered_with_their_frames() {
    let first = shot("A cat sits.", 33, &[(1, "The cat runs."), (2, "The cat jumps.")]);
    let text = story(Recipe::tiny(), vec![first, shot("A dog.", 9, &[])]);
    expect![[r#"
        shot 0: 33 frames = 9 latent, 0:00.00 to 0:02.06
          "A cat sits."
          remembers nothing: 6 null frames at positions 0-5, phase 0, own caption
          chunk 0: latent 0-2, frames 0-8,   positions 6-8,   phase 1, attends to 360 tokens
          "The cat runs."
          1 chunk committed again
          chunk 1: latent 3-5, frames 9-20,  positions 9-11,  phase 1, attends to 480 tokens
          "The cat jumps."
          2 chunks committed again
          chunk 2: latent 6-8, frames 21-32, positions 12-14, phase 1, attends to 600 tokens
          memory: 240 tokens of context, up to 360 of its own
          leaves frames 0 6 13 16 19 26 32

        shot 1: 9 frames = 3 latent, 0:02.06 to 0:02.62
          "A dog."
          remembers shot 0: frames 0 6 at positions 0-1, phase 0, caption 0
          remembers shot 0: frames 13 19 at positions 2-3, phase 0, caption 0 from chunk 1
          remembers shot 0: frames 26 32 at positions 4-5, phase 0, caption 0 from chunk 2
          chunk 0: latent 0-2, frames 0-8, positions 6-8, phase 1, attends to 360 tokens
          memory: 240 tokens of context, up to 120 of its own
          leaves frames 0 4 8
    "#]]
    .assert_eq(&text);
}

#[test]
fn a_long_shot_with_a_sink_and_no_context_commits_again_what_it_still_sees() {
    let file = RecipeFile { context_frames: 0, sink_latent_frames: 3, ..Recipe::tiny().into() };
    let first = shot("A cat sits.", 57, &[(4, "The cat runs.")]);
    let text = story(file.resolve().expect("the sink fits"), vec![first, shot("A dog.", 9, &[])]);
    expect![[r#"
        shot 0: 57 frames = 15 latent, 0:00.00 to 0:03.56
          "A cat sits."
          remembers nothing: there are no context frames
          chunk 0: latent 0-2,   frames 0-8,   positions 0-2,   phase 0, attends to 120 tokens
          chunk 1: latent 3-5,   frames 9-20,  positions 3-5,   phase 0, attends to 240 tokens
          chunk 2: latent 6-8,   frames 21-32, positions 6-8,   phase 0, attends to 360 tokens
          chunk 3: latent 9-11,  frames 33-44, positions 9-11,  phase 0, attends to 360 tokens, latent 0-2 among them
          "The cat runs."
          3 chunks committed again
          chunk 4: latent 12-14, frames 45-56, positions 12-14, phase 0, attends to 360 tokens, latent 0-2 among them
          memory: 0 tokens of context, up to 360 of its own
          leaves nothing

        shot 1: 9 frames = 3 latent, 0:03.56 to 0:04.12
          "A dog."
          remembers nothing: there are no context frames
          chunk 0: latent 0-2, frames 0-8, positions 0-2, phase 0, attends to 120 tokens
          memory: 0 tokens of context, up to 120 of its own
          leaves nothing
    "#]].assert_eq(&text);
}
