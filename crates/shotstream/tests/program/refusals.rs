//! Bad input: exit code 2 (1 where the system refuses), one line, nothing written.

use std::fs;

use serde_json::Value;

use crate::fixture::{Home, STORY, root};

/// What a story is refused with.
fn story_error(name: &str, text: &str) -> String {
    let home = Home::new();
    home.write(name, text);
    let line = home.refused(2, &["generate", name]);
    assert_eq!(home.refused(2, &["plan", name]), line);
    line
}

#[test]
fn a_bad_story_is_one_sentence_with_its_place() {
    let words = "fox ".repeat(10_000);
    let long = format!(r#"{{"global_caption": "g", "shot1": "{words}"}}"#);
    let cases = [
        ("a.json", "", "the story is empty"),
        (
            "a.json",
            "{}",
            "the story has no shots, expected [[shots]] with a caption, or shot1, shot2, …",
        ),
        (
            "a.toml",
            "global = \"g\"\nshots = []",
            "the story has no shots, expected [[shots]] with a caption, or shot1, shot2, …",
        ),
        ("a.json", r#"{"shot1": "a"}"#, "a key is missing: global_caption"),
        ("a.toml", "[[shots]]\nframes = 9", "a key is missing: shots[0].caption, line 1"),
        (
            "a.json",
            r#"{"global_caption": "g", "shot1": 7}"#,
            "expected text, found a number: shot1, line 1",
        ),
        (
            "a.json",
            r#"{"global": "g", "shots": "a"}"#,
            "expected a list of tables, found text: shots, line 1",
        ),
        ("a.json", "[1]", "expected a table, found a list: line 1"),
        (
            "a.json",
            &long,
            "the caption has 40000 characters, at most 20000 are read: shot1, line 1",
        ),
    ];
    for (name, text, expected) in cases {
        assert_eq!(story_error(name, text), format!("error: {expected}: {name}"));
    }
    assert!(
        story_error("a.json", "{\"shot1\": ").starts_with("error: the story is not valid JSON")
    );
    assert!(story_error("a.toml", "shots = [").starts_with("error: the story is not valid TOML"));
}

#[test]
fn a_story_that_cannot_be_read_is_wrong_use() {
    let home = Home::new();
    home.write("binary.json", [0xff, 0xfe, 0x00]);
    let line = home.refused(2, &["generate", "missing.json"]);
    assert!(line.starts_with("error: cannot read the story (No such file"), "{line}");
    assert!(home.refused(2, &["generate", "binary.json"]).contains("cannot read the story"));
    assert!(home.refused(2, &["generate", "."]).contains("cannot read the story"));
}

#[test]
fn what_this_build_cannot_do_is_said_plainly() {
    let home = Home::with_story();
    let refused = |flags: &[&str]| home.refused(2, &[&["generate", "story.toml"], flags].concat());
    assert_eq!(
        refused(&["--device", "cuda"]),
        "error: this program was built for the processor only, expected --device cpu, or a program \
         built with --features cuda"
    );
    assert_eq!(
        refused(&["--precision", "f16"]),
        "error: networks compute in f32 and bf16, expected --precision f32, bf16 or int8"
    );
    assert_eq!(
        refused(&["--size", "100x80"]),
        "error: width of 100 pixels is not a positive multiple of 16"
    );
    assert!(refused(&["--scale", "40"]).contains("a film of 5120x3200 is not possible"));
    // The judge looks at networks as they are trained.
    let judge = |flags: &[&str]| home.refused(2, &[&["world", "judge"], flags].concat());
    assert_eq!(
        judge(&["--precision", "bf16"]),
        "error: this command computes in f32 only, expected --precision f32"
    );
    assert_eq!(
        judge(&["--device", "cuda"]),
        "error: this command computes on the processor only, expected --device cpu"
    );
    home.done(&["generate", "story.toml", "--device", "cpu", "--precision", "f32"]);
}

#[test]
fn flags_that_do_not_exist_or_do_not_parse_are_wrong_use() {
    let home = Home::with_story();
    let generate = |flags: &'static [&str]| [&["generate", "story.toml"], flags].concat();
    let cases = [
        vec![],
        vec!["direct"],
        vec!["generate"],
        generate(&["--sead", "1"]),
        generate(&["--seed", "-1"]),
        generate(&["--size", "128"]),
        generate(&["--threads", "0"]),
        generate(&["--device", "tpu"]),
        vec!["play"],
        vec!["world", "draw"],
    ];
    for case in cases {
        let run = home.run(&case);
        assert_eq!(run.code, Some(2), "{case:?}: {}", run.stderr);
        assert_eq!(home.files(), ["story.toml"], "{case:?}");
    }
}

#[test]
fn a_place_that_cannot_be_written_is_found_before_the_first_frame() {
    let home = Home::with_story();
    fs::create_dir(home.path("folder")).unwrap();
    home.write("folder/film.txt", "taken");
    let refused = |flags: &[&str]| home.refused(1, &[&["generate", "story.toml"], flags].concat());
    assert_eq!(
        refused(&["-o", "missing/film.mp4"]),
        "error: cannot write a film here: No such file or directory (os error 2): missing/film.mp4"
    );
    assert!(refused(&["-o", "folder"]).contains("cannot write a film here: is a directory"));
    assert!(refused(&["--report", "missing/r.json"]).contains("cannot write the file"));
    assert!(refused(&["--report", "folder"]).contains("it is a directory: folder"));
    assert!(refused(&["--save-latents", "missing/l"]).contains("cannot write the file"));
    assert!(refused(&["--frames", "folder"]).contains("directory not empty: folder"));
    assert!(refused(&["--frames", "missing/frames"]).contains("cannot write frames here"));
}

/// The model file with another header.
fn with_header(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let bytes = fs::read(root().join("weights/tiny.safetensors")).unwrap();
    let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let mut header: Value = serde_json::from_slice(header).unwrap();
    change(&mut header);
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat()
}

#[test]
fn weights_that_are_damaged_are_named() {
    let home = Home::new();
    home.write("story.toml", STORY);
    let whole = fs::read(root().join("weights/tiny.safetensors")).unwrap();
    let tensor = "dit.patch_embedding.weight";
    home.write("empty", "");
    home.write("text", "once upon a time, there was no model");
    home.write("cut", &whole[..whole.len() / 2]);
    home.write(
        "renamed",
        with_header(|header| {
            let entry = header[tensor].take();
            header.as_object_mut().unwrap().remove(tensor);
            header["dit.other"] = entry;
        }),
    );
    home.write(
        "shaped",
        with_header(|header| header[tensor]["shape"].as_array_mut().unwrap().reverse()),
    );
    home.write("stranger", with_header(|header| header["__metadata__"] = serde_json::json!({})));
    home.write(
        "unwise",
        with_header(|header| {
            let config = header["__metadata__"]["config"].as_str().unwrap();
            header["__metadata__"]["config"] =
                config.replace("\"num_heads\":4", "\"num_heads\":5").into();
        }),
    );
    let cases = [
        ("missing", "cannot read the checkpoint (No such file or directory (os error 2)): missing"),
        ("empty", "not a whole safetensors file (shorter than its own length): empty"),
        ("text", "not a whole safetensors file ("),
        ("cut", "not a whole safetensors file (tensor "),
        (
            "renamed",
            "1 tensors the model needs are absent, the first is dit.patch_embedding.weight: renamed",
        ),
        ("shaped", "tensor dit.patch_embedding.weight has shape [2, 2, 1, 16, "),
        ("stranger", "the file is no bundle, its header has no format: stranger"),
        ("unwise", "the parts of the bundle do not fit together (5 heads do not divide a "),
    ];
    for (model, expected) in cases {
        let line = home.refused(2, &["generate", "story.toml", "--model", model]);
        assert!(line.starts_with(&format!("error: {expected}")), "{line}");
    }
}

#[cfg(not(feature = "mpi"))]
#[test]
fn a_build_without_mpi_is_not_started_as_several() {
    let home = Home::new();
    let train = ["train", "fresh", "--recipe", "model.toml", "--dir", "fresh"];
    let run = home.command(&train).env("OMPI_COMM_WORLD_SIZE", "2").output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(run.stderr).unwrap(),
        "error: 2 processes were started together, and this program was built without MPI; \
         start one, or build it with `--features mpi`\n"
    );
}
