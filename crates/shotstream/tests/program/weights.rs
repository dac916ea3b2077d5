//! `inspect` and `export`: model files.

use std::fs;

use crate::fixture::{Home, root};

#[test]
fn inspect_tells_what_a_model_holds() {
    let file = root().join("weights/tiny.safetensors");
    let home = Home::new();
    let run = home.done(&["inspect", file.to_str().unwrap()]);
    let text = run.text();
    let starts = |line: &str, start: &str| assert!(line.starts_with(start), "{line}");
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains("weights/tiny.safetensors: a shotstream model, "), "{}", lines[0]);
    starts(lines[1], "diffusion transformer");
    assert!(lines[1].ends_with(" tensors of F16"), "{}", lines[1]);
    starts(lines[2], "VAE");
    starts(lines[3], "text encoder");
    starts(lines[4], "vocabulary");
    assert_eq!(lines[5], "pictures                128x80, 33 frames a shot, 16 a second");
    assert!(text.contains("\n[recipe]\ndenoising_steps = ["), "{text}");
    let run = home.done(&["inspect", file.to_str().unwrap(), "--tensors"]);
    assert!(run.text().contains("\ndit.patch_embedding.weight  F16  ["), "{}", run.text());
}

#[test]
fn inspect_reads_any_safetensors_file() {
    let home = Home::with_story();
    home.done(&["generate", "story.toml", "--save-latents", "l.safetensors"]);
    let text = home.done(&["inspect", "l.safetensors"]).text().to_owned();
    let parameters = (3 + 6 + 6 + 6) * 16 * 10 * 16;
    assert_eq!(parameters, 53_760);
    assert!(text.ends_with("53 760 parameters in 4 tensors of F32\n"), "{text}");
}

#[test]
fn an_exported_model_makes_the_same_film() {
    let home = Home::with_story();
    let tiny = root().join("weights/tiny.safetensors");
    home.done(&["export", tiny.to_str().unwrap(), "wide.safetensors", "--dtype", "f32"]);
    home.done(&["export", "wide.safetensors", "again.safetensors"]);
    let [tiny, wide, again] =
        [&tiny, &home.path("wide.safetensors"), &home.path("again.safetensors")]
            .map(|path| fs::read(path).unwrap());
    assert_eq!(again, tiny);
    assert!(tiny.len() < wide.len());
    let sha256 = |model| {
        home.done(&["generate", "story.toml", "--model", model, "--report", "r.json"]);
        home.json("r.json")["frames_sha256"].clone()
    };
    assert_eq!(sha256("wide.safetensors"), sha256("tiny"));
}
