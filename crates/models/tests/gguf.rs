//! Files of llama.cpp against the numbers that its own package unpacks.
//!
//! Files and expected values: `tools/goldens/gguf_files.py`.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Int, Tensor, TensorData};
use shotstream_models::{
    checkpoint::{Naming, Network, Weights},
    umt5::{Umt5, Umt5Config},
};

/// The sizes the golden was made with.
const SIZES: Umt5Config = Umt5Config {
    vocab_size: 40,
    dim: 32,
    dim_attn: 32,
    dim_ffn: 64,
    num_heads: 2,
    num_layers: 2,
    num_buckets: 8,
    max_distance: 128,
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/gguf_files").join(name)
}

#[test]
fn blocks_of_every_type_are_the_numbers_of_their_own_package_bit_for_bit() {
    let found = Weights::open(&golden("blocks.gguf")).expect("the committed golden");
    let expected = Weights::open(&golden("blocks.safetensors")).expect("the committed golden");
    let listed = |weights: &Weights<'_>| {
        let tensors = weights.tensors().map(|(name, _, shape)| (name.to_owned(), shape.to_vec()));
        tensors.collect::<Vec<_>>()
    };
    assert_eq!(listed(&found), listed(&expected));
    for (name, form, _) in found.tensors() {
        let (found, expected) =
            (found.values(name).expect(name), expected.values(name).expect(name));
        assert_eq!(found.len(), expected.len(), "{name}");
        assert_eq!(form.to_lowercase(), name);
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let off = (found - expected).abs();
            assert!(found.to_bits() == expected.to_bits(), "{name} {at}: {found} {expected} {off}");
        }
    }
}

#[test]
fn a_text_encoder_of_llama_cpp_is_the_same_network() {
    let device = Device::flex();
    let embed = |file: &str, naming| {
        let weights = Weights::open(&golden(file)).expect("the committed golden");
        let text = Umt5::new(&SIZES, &device);
        let text = weights.load_named(text, Network::Umt5, naming, "").expect("a text encoder");
        let ids = TensorData::new(vec![3_i64, 17, 4, 39, 1, 0], [1, 6]);
        let embedding = text.forward(Tensor::<2, Int>::from_data(ids, &device), &[5]);
        embedding.into_data().iter::<f32>().collect::<Vec<_>>()
    };
    let found = embed("umt5.gguf", Naming::LlamaCpp);
    assert!(found == embed("umt5.safetensors", Naming::Official));
    assert!(found.iter().any(|value| *value != 0.0));
}
