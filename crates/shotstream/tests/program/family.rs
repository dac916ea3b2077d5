//! Models of the same family: words that change inside a shot, and other recipes.

use std::fs;

use crate::fixture::{Home, root};
use crate::road;

/// One shot of three chunks whose words change after the second.
const REWRITTEN: &str = r#"
global = "A red fox with a top hat."
[[shots]]
caption = "Wide shot: the red fox waves in the snow by day."
then = [{ after_chunks = 2, caption = "Close-up of the fox at night." }]
"#;

#[test]
fn words_of_a_story_file_change_the_film_from_their_chunk_on_and_are_exported_with_it() {
    let home = Home::new();
    home.write("story.toml", REWRITTEN);
    let frames = |story: &str| {
        home.done(&["generate", story, "-o", "film.mp4", "--frames", "frames"]);
        let read = |frame: usize| fs::read(home.path(&format!("frames/{frame:05}.png"))).unwrap();
        let all: Vec<_> = (0..33).map(read).collect();
        fs::remove_dir_all(home.path("frames")).unwrap();
        all
    };
    let changed = frames("story.toml");
    let plain: String = REWRITTEN
        .lines()
        .filter(|line| !line.starts_with("then"))
        .fold(String::new(), |text, line| text + line + "\n");
    home.write("plain.toml", plain);
    let plain = frames("plain.toml");
    assert!(changed[..21] == plain[..21], "what was made before stays");
    assert!((21..33).all(|frame| changed[frame] != plain[frame]));
    home.done(&["generate", "story.toml", "--export", "out", "--only", "story"]);
    let exported = &home.json("out/story.json")["shots"][0];
    assert_eq!(exported["then"][0]["after_chunks"], 2);
    assert_eq!(exported["then"][0]["caption"], "Close-up of the fox at night.");
    fs::copy(home.path("out/story.json"), home.path("again.json")).unwrap();
    assert!(frames("again.json") == changed, "the exported story makes the same film");
}

#[test]
fn every_recipe_of_the_family_makes_a_film() {
    let home = Home::new();
    let story = "[[shots]]\ncaption = \"A red fox waves.\"\nframes = 69\n\
                 then = [{ after_chunks = 5, caption = \"The fox jumps.\" }]\n";
    home.write("story.toml", story);
    for (name, expected) in [
        (
            "self_forcing",
            "chunk 5: latent 15-17, frames 57-68, positions 15-17, phase 0, attends to 720 tokens",
        ),
        ("causvid", "denoised in 3 steps at timesteps 1000.0 757.0 522.0"),
        ("longlive", "phase 0, attends to 480 tokens, latent 0-2 among them"),
    ] {
        let recipe = root().join(format!("recipes/generation/{name}.toml"));
        let flags = ["--recipe", recipe.to_str().unwrap(), "--size", "128x80"];
        let plan = home.done(&[&["plan", "story.toml"], &flags[..]].concat());
        assert!(plan.text().contains(expected), "{}", plan.text());
        assert!(plan.text().contains("remembers nothing: there are no context frames"));
        let film = format!("{name}.mp4");
        home.done(&[&["generate", "story.toml", "-o", &film], &flags[..]].concat());
        assert_eq!(home.film(&film).len(), 69);
    }
    let committed = root().join("recipes/generation");
    assert_eq!(fs::read_dir(committed).unwrap().count(), 3, "every recipe is tried above");
}

#[test]
fn a_model_without_context_frames_is_not_trained_to_remember() {
    let home = road::home();
    let fresh = fs::read_to_string(home.path("fresh.toml")).unwrap();
    let lines = fresh.lines().map(|line| match line.starts_with("context_frames") {
        true => "context_frames = 0\n".to_owned(),
        false => line.to_owned() + "\n",
    });
    home.write("fresh.toml", lines.collect::<String>());
    home.done(&["train", "fresh", "--recipe", "fresh.toml", "--dir", "fresh"]);
    let from = ["--from", "fresh/model.safetensors", "--dir", "teacher"];
    let run = home.run(&[&["train", "teacher", "--recipe", "teacher.toml"], &from[..]].concat());
    let expected = "error: the recipe asks for what cannot be done: teacher needs context frames, \
                    the model's recipe has none\n";
    assert_eq!((run.code, run.stderr.ends_with(expected)), (Some(2), true), "{}", run.stderr);
    let asked = ["prepare", "--world", "1", "-o", "shards", "--model", "fresh/model.safetensors"];
    let refused = home.refused(2, &asked);
    let expected = "stories are prepared for context frames, the model's recipe has none";
    assert_eq!(refused, format!("error: {expected}"));
}

#[test]
fn a_recipe_that_is_none_or_fits_other_networks_is_refused() {
    let home = Home::with_story();
    home.write("no.toml", "steps = 4\n");
    let refused = home.refused(2, &["plan", "story.toml", "--recipe", "no.toml"]);
    assert!(refused.starts_with("error: cannot read the recipe: "), "{refused}");
    assert!(refused.ends_with(": no.toml"), "{refused}");
    let longlive = root().join("recipes/generation/longlive.toml");
    let other = fs::read_to_string(longlive).unwrap().replace("patch = [2, 2]", "patch = [1, 1]");
    home.write("other.toml", other);
    let refused = home.refused(2, &["plan", "story.toml", "--recipe", "other.toml"]);
    assert_eq!(refused, "error: dit patch is [2, 2], but recipe patch is [1, 1]: other.toml");
    let missing = home.refused(2, &["plan", "story.toml", "--recipe", "missing.toml"]);
    assert!(missing.starts_with("error: cannot read the recipe ("), "{missing}");
}
