//! Folders of published files that were damaged or mixed up.

use std::{fs, path::Path};

use burn::tensor::Device;
use shotstream_models::{checkpoint::Weights, stored::StoredModel};
use tempfile::TempDir;

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/published").join(name)
}

/// The files of a layout, in a folder of their own.
fn copied(layout: &str) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    let folder = golden(layout);
    fs::create_dir_all(home.path().join("google/umt5-xxl")).unwrap();
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, home.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let tokenizer = "google/umt5-xxl/tokenizer.json";
    fs::copy(folder.join(tokenizer), home.path().join(tokenizer)).unwrap();
    home
}

/// What loading a folder is refused with, its own path taken out.
fn refusal(home: &TempDir) -> String {
    let loaded = StoredModel::open(home.path()).and_then(|model| model.load(&Device::flex()));
    let error = loaded.expect_err("a damaged folder").to_string();
    assert_eq!(error.lines().count(), 1, "{error}");
    error.replace(&home.path().display().to_string(), "HOME")
}

#[test]
fn every_beginning_of_a_file_is_refused() {
    let path = Path::new("a.pth");
    let whole = fs::read(golden("wan/models_t5_umt5-xxl-enc-bf16.pth")).unwrap();
    assert!(Weights::parse(&whole, path).is_ok());
    for end in (0..whole.len()).step_by(7) {
        let error = Weights::parse(&whole[..end], path).unwrap_err().to_string();
        assert!(error.ends_with(": a.pth"), "{error}");
    }
}

#[test]
fn parts_in_each_others_place_are_told_by_what_they_lack() {
    let home = copied("shotstream");
    let [vae, text] =
        ["Wan2.1_VAE.pth", "models_t5_umt5-xxl-enc-bf16.pth"].map(|name| home.path().join(name));
    fs::copy(&text, &vae).unwrap();
    assert_eq!(
        refusal(&home),
        "1 tensors the model needs are absent, the first is encoder.conv1.weight: \
         HOME/Wan2.1_VAE.pth"
    );
}

#[test]
fn a_part_that_is_not_there_is_named() {
    let home = copied("wan");
    fs::remove_file(home.path().join("Wan2.1_VAE.pth")).unwrap();
    let expected = "the folder holds no VAE, expected Wan2.1_VAE.pth or its like: HOME";
    assert_eq!(refusal(&home), expected);
    let home = copied("wan");
    fs::remove_file(home.path().join("google/umt5-xxl/tokenizer.json")).unwrap();
    let expected = "the folder holds no tokenizer, expected google/umt5-xxl/tokenizer.json or its \
                    like: HOME";
    assert_eq!(refusal(&home), expected);
    let home = copied("wan");
    let piece = "diffusion_pytorch_model-00002-of-00002.safetensors";
    fs::remove_file(home.path().join(piece)).unwrap();
    let error = refusal(&home);
    assert!(error.starts_with("cannot read the checkpoint (") && error.ends_with(piece), "{error}");
}

#[test]
fn an_index_does_not_lead_out_of_its_folder() {
    let home = copied("wan");
    let index = home.path().join("diffusion_pytorch_model.safetensors.index.json");
    fs::write(&index, r#"{"weight_map": {"a": "../../etc/passwd"}}"#).unwrap();
    let error = refusal(&home);
    assert!(error.contains("(\"../../etc/passwd\" is no name of a file beside it)"), "{error}");
    // What goes to a terminal is one line, whatever the index says.
    fs::write(&index, r#"{"weight_map": {"a": "a\nb\u001b[2J"}}"#).unwrap();
    let error = refusal(&home);
    assert!(error.contains(r#"("a\nb\u{1b}[2J" is no name of a file beside it)"#), "{error}");
}

#[test]
fn a_configuration_that_contradicts_the_weights_is_refused() {
    let home = copied("wan");
    fs::write(home.path().join("config.json"), r#"{"num_heads": 5}"#).unwrap();
    let error = refusal(&home);
    assert!(error.contains("5 heads do not divide a dit dim of 32 into even parts"), "{error}");
    fs::write(home.path().join("config.json"), "{}").unwrap();
    let error = refusal(&home);
    assert!(error.contains("a width of 32 does not tell the number of heads"), "{error}");
}
