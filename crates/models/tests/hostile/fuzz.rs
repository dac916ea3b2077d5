//! Files with random damage: whatever is in them, they are read or refused, and nothing panics.
//!
//! `FUZZ_INPUTS=10000000 cargo test --release --workspace --test hostile fuzz` tries that many on
//! every parser; without it, as many as take a moment. `docs/MODELS.md` has what was tried.

use std::{fs, path::Path};

use burn::tensor::Device;
use shotstream_damage::{Dice, damaged, inputs};
use shotstream_models::{
    checkpoint::Weights,
    dit::{Dit, DitConfig},
    fast::{Keeping, Precision},
    lora::Lora,
    stored::StoredModel,
    tokenizer::Tokenizer,
};

/// Read a damaged file as far as it can be read.
fn read(bytes: &[u8]) -> bool {
    match Weights::parse(bytes, Path::new("a.file")) {
        Ok(weights) => {
            for (name, ..) in weights.tensors() {
                drop(weights.values(name));
            }
            true
        }
        Err(error) => {
            let error = error.to_string();
            assert!(error.ends_with(": a.file") && error.lines().count() == 1, "{error}");
            false
        }
    }
}

/// Damage a file again and again, mostly before `end`, and count what is still read.
fn fuzz(whole: &[u8], end: usize) {
    assert!(read(whole));
    let mut sound = 0_u64;
    for input in 0..inputs() {
        let mut dice = Dice::of(input);
        let end = if dice.below(4) == 0 { whole.len() } else { end };
        sound += u64::from(read(&damaged(whole, end, &mut dice)));
    }
    // Damage to values is no damage to the form.
    assert!(0 < sound && sound < inputs());
}

/// Damage a text again and again; count what is still read.
fn fuzz_text(whole: &[u8], mut read: impl FnMut(&[u8]) -> Result<(), String>) {
    assert_eq!(read(whole), Ok(()));
    let mut sound = 0_u64;
    for input in 0..inputs() {
        match read(&damaged(whole, whole.len(), &mut Dice::of(input))) {
            Ok(()) => sound += 1,
            Err(error) => assert_eq!(error.lines().count(), 1, "{error}"),
        }
    }
    assert!(0 < sound && sound < inputs(), "{sound}");
}

fn golden(name: &str) -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/published");
    fs::read(root.join(name)).unwrap()
}

#[test]
fn fuzz_safetensors() {
    let whole = golden("diffusers/text_encoder/model-00002-of-00002.safetensors");
    fuzz(&whole, 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize);
}

#[test]
fn fuzz_zip() {
    let whole = golden("wan/models_t5_umt5-xxl-enc-bf16.pth");
    // The central directory, turned to the front of what is changed.
    let directory = whole.windows(4).position(|four| four == b"PK\x01\x02").unwrap();
    assert!(read(&whole));
    for input in 0..inputs() {
        let mut dice = Dice::of(input);
        let (body, tail) = whole.split_at(directory);
        let tail = damaged(tail, tail.len(), &mut dice);
        read(&[body, &tail].concat());
    }
}

#[test]
fn fuzz_pickle() {
    let whole = golden("wan/models_t5_umt5-xxl-enc-bf16.pth");
    let end = whole.windows(4).skip(1).position(|four| four == b"PK\x03\x04").unwrap();
    fuzz(&whole, end);
}

#[test]
fn fuzz_gguf() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/gguf_files");
    let whole = fs::read(root.join("blocks.gguf")).unwrap();
    // The lists end where the names of the tensors do.
    let last = whole.windows(4).rposition(|four| four == b"bf16").unwrap();
    fuzz(&whole, last + 40);
}

#[test]
fn fuzz_bundle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/rollout");
    let whole = fs::read(root.join("model.safetensors")).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let (header, tensors) = whole.split_at(header);
    fuzz_text(&header[8..], |header| {
        let length = (header.len() as u64).to_le_bytes();
        let file = [&length[..], header, tensors].concat();
        match StoredModel::parse(&file, Path::new("a.file")) {
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    });
}

#[test]
fn fuzz_index() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/published/wan");
    let home = tempfile::tempdir().unwrap();
    let index = "diffusion_pytorch_model.safetensors.index.json";
    for file in fs::read_dir(&root).unwrap() {
        let file = file.unwrap();
        if file.file_name().to_string_lossy().starts_with("diffusion_pytorch_model") {
            fs::copy(file.path(), home.path().join(file.file_name())).unwrap();
        }
    }
    fuzz_text(&golden(&format!("wan/{index}")), |bytes| {
        fs::write(home.path().join(index), bytes).unwrap();
        Weights::open(&home.path().join(index)).map(drop).map_err(|error| error.to_string())
    });
}

#[test]
fn fuzz_tokenizer() {
    fuzz_text(&golden("diffusers/tokenizer/tokenizer.json"), |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let read = Tokenizer::from_json(&text).map_err(|error| error.to_string())?;
        // What was read can be used.
        read.encode("A red fox waves in the snow. shot1:it walks home", 16)
            .map(drop)
            .map_err(|error| error.to_string())
    });
}

#[test]
fn fuzz_adapter() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    let home = tempfile::tempdir().unwrap();
    // Of the sizes the adapter was made for.
    let sizes = DitConfig {
        dim: 32,
        ffn_dim: 48,
        freq_dim: 16,
        num_heads: 2,
        num_layers: 3,
        in_channels: 4,
        out_channels: 4,
        text_dim: 12,
        text_len: 5,
        ..DitConfig::wan_1_3b()
    };
    let dit = Dit::new(&sizes, &Device::flex());
    let (config, model) = ("adapter_config.json", "adapter_model.safetensors");
    fs::copy(root.join("lora/plain").join(model), home.path().join(model)).unwrap();
    fuzz_text(&fs::read(root.join("lora/plain").join(config)).unwrap(), |bytes| {
        fs::write(home.path().join(config), bytes).unwrap();
        Lora::read(home.path(), &dit).map(drop).map_err(|error| error.to_string())
    });
}

#[test]
fn fuzz_folder() {
    let home = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/published/diffusers");
    let files = [
        "transformer/config.json",
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/config.json",
        "text_encoder/model.safetensors.index.json",
        "text_encoder/model-00001-of-00002.safetensors",
        "text_encoder/model-00002-of-00002.safetensors",
        "tokenizer/tokenizer.json",
    ];
    for file in files {
        let to = home.path().join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(root.join(file), to).unwrap();
    }
    assert!(StoredModel::open(home.path()).is_ok());
    for input in 0..inputs().div_ceil(20) {
        let mut dice = Dice::of(input);
        let file = files[dice.below(files.len())];
        let (path, whole) = (home.path().join(file), fs::read(root.join(file)).unwrap());
        let header = if file.ends_with(".safetensors") {
            8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize
        } else {
            whole.len()
        };
        fs::write(&path, damaged(&whole, header, &mut dice)).unwrap();
        if let Ok(model) = StoredModel::open(home.path()) {
            assert!(
                0 < model.memory(&model.config().recipe, Precision::Bf16, Keeping::Whole).bytes()
            );
        }
        fs::write(&path, whole).unwrap();
    }
}
