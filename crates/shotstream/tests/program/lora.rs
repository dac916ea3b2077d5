//! `--lora`: adapters of the model, merged as it is loaded.

use burn::tensor::Device;
use shotstream_models::{
    bundle::Bundle,
    checkpoint::{Network, parameters},
    lora::{Factors, Lora, LoraConfig, is_target, projection},
};

use crate::fixture::{Home, root};

/// Write an adapter of the tiny model's layers that end with `target`, as large as `size`.
fn write_adapter(home: &Home, name: &str, target: &str, size: f32) {
    const RANK: usize = 2;
    let tiny = root().join("weights/tiny.safetensors");
    let tiny = Bundle::from_file(&tiny, &Device::flex()).unwrap();
    let numbers = |count| (0..count).map(|i| size * ((i * 7 % 11) as f32 - 5.0)).collect();
    let factors = parameters(&tiny.dit, Network::Dit).into_iter().filter_map(|(name, shape)| {
        let (layer, shape) = projection(&name, &shape)?;
        let (a, b) = (numbers(RANK * shape[1]), numbers(shape[0] * RANK));
        is_target(layer, target).then(|| (layer.to_owned(), Factors { shape, a, b }))
    });
    let factors = factors.collect();
    let config = LoraConfig::new(RANK, 1.0, vec![target.to_owned()]);
    Lora { config, factors }.write(&home.path(name)).unwrap();
}

fn with_adapters() -> Home {
    let home = Home::with_story();
    write_adapter(&home, "style", "ffn.0", 0.1);
    write_adapter(&home, "look", "self_attn.v", 0.1);
    home
}

/// The report of a film made with more flags.
fn report(home: &Home, flags: &[&str]) -> (String, String) {
    home.done(&[&["generate", "story.toml", "--report", "r.json"], flags].concat());
    let report = home.json("r.json");
    let [sha256, model] = ["frames_sha256", "model"].map(|key| report[key].as_str().unwrap());
    (sha256.to_owned(), model.to_owned())
}

#[test]
fn an_adapter_changes_the_film_and_a_scale_of_zero_does_not() {
    let home = with_adapters();
    let (base, _) = report(&home, &[]);
    let (styled, model) = report(&home, &["--lora", "style"]);
    assert_ne!(styled, base);
    assert_eq!(model, "tiny + style:1");
    assert_ne!(report(&home, &["--lora", "style:0.5"]).0, styled);
    assert_eq!(report(&home, &["--lora", "style:0"]).0, base);
    assert_eq!(report(&home, &["--lora", "style/adapter_model.safetensors"]).0, styled);
}

#[test]
fn an_exported_model_with_several_adapters_makes_the_film_of_them_all() {
    let home = with_adapters();
    let loras = ["--lora", "style:0.5", "--lora", "look:-1"];
    let tiny = root().join("weights/tiny.safetensors");
    let export = ["export", tiny.to_str().unwrap(), "merged.safetensors", "--dtype", "f32"];
    home.done(&[&export, &loras[..]].concat());
    let (together, model) = report(&home, &loras);
    assert_eq!(model, "tiny + style:0.5 + look:-1");
    assert_eq!(report(&home, &["--model", "merged.safetensors"]).0, together);
    assert_ne!(report(&home, &["--lora", "style:0.5"]).0, together);
    home.done(&["bench", "--shots", "1", "--lora", "style"]);
}

#[test]
fn an_adapter_that_cannot_be_used_is_refused_before_anything_is_written() {
    let home = with_adapters();
    write_adapter(&home, "huge", "ffn.0", 1e18);
    let refused = |lora: &str| home.refused(2, &["generate", "story.toml", "--lora", lora]);
    assert_eq!(
        refused("missing"),
        "error: cannot read the checkpoint (No such file or directory (os error 2)): missing"
    );
    assert_eq!(
        refused("huge:1000"),
        "error: merged with a scale of 1000, the adapter makes blocks.0.ffn.0 infinite"
    );
    let golden = root().join("testdata/lora/plain");
    let line = refused(golden.to_str().unwrap());
    assert!(line.starts_with("error: the adapter has no factors for blocks.3.ffn.0, "), "{line}");
    std::fs::remove_file(home.path("style/adapter_config.json")).unwrap();
    assert!(refused("style").starts_with("error: the adapter's configuration is not usable (No"));
    let run = home.run(&["generate", "story.toml", "--lora", "look:inf"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("expected a finite scale, found inf"), "{}", run.stderr);
}
