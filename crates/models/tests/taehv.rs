//! The small decoder for previews: PyTorch's numbers, and a stream that is the whole.
//!
//! Files and expected values: `tools/goldens/taehv.py`.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use shotstream_models::{
    checkpoint::{StoredDtype, Weights, WeightsWriter},
    taehv::Taehv,
};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/taehv").join(name)
}

fn decoder() -> Taehv {
    Taehv::open(&golden("weights.safetensors"), &Device::flex()).expect("the committed golden")
}

/// Latents `[1, z, F, h, w]` and frames `[1, 3, T, H, W]` in [-1, 1].
fn cases() -> [Tensor<5>; 2] {
    let cases = Weights::open(&golden("cases.safetensors")).expect("the committed golden");
    ["latents", "frames"].map(|name| {
        let values = cases.values(name).expect(name);
        let shape = cases.shape(name).expect(name).to_vec();
        Tensor::<4>::from_data(TensorData::new(values, shape), &Device::flex()).unsqueeze()
    })
}

fn largest(tensor: Tensor<5>) -> f32 {
    tensor.abs().max().into_scalar()
}

/// The frames of latents that come in chunks of these lengths.
fn streamed(decoder: &Taehv, latents: &Tensor<5>, lengths: &[usize]) -> Tensor<5> {
    let (mut state, mut seen) = (decoder.start(), 0);
    let chunks = lengths.iter().map(|&length| {
        let chunk = latents.clone().narrow(2, seen, length);
        seen += length;
        decoder.decode_next(&mut state, chunk)
    });
    Tensor::cat(chunks.collect(), 2)
}

#[test]
fn frames_agree_within_1e_4_of_pytorchs_f32() {
    let [latents, frames] = cases();
    let found = streamed(&decoder(), &latents, &[7]);
    assert_eq!(found.dims(), frames.dims());
    let error = largest(found - (frames * 2.0 - 1.0));
    assert!(error < 1e-4, "{error}");
}

#[test]
fn streaming_equals_whole_however_the_latents_are_split() {
    let ([latents, _], decoder) = (cases(), decoder());
    let whole = streamed(&decoder, &latents, &[7]);
    assert_eq!(whole.dims(), [1, 3, 25, 24, 32]);
    for lengths in [&[1; 7][..], &[3, 3, 1], &[2, 1, 4], &[1, 6]] {
        let error = largest(streamed(&decoder, &latents, lengths) - whole.clone());
        assert!(error < 1e-6, "{lengths:?}: {error}");
    }
}

#[test]
fn a_file_that_is_no_such_decoder_is_refused_by_the_tensor_that_does_not_fit() {
    type Change = fn(&str, Vec<usize>, Vec<f32>) -> Option<(Vec<usize>, Vec<f32>)>;
    let cases: [(Change, &str); 4] = [
        (
            |name, shape, values| (name != "decoder.9.conv.2.bias").then_some((shape, values)),
            "1 tensors the model needs are absent, the first is decoder.9.conv.2.bias: ",
        ),
        (
            |name, mut shape, values| {
                if name == "decoder.8.weight" {
                    shape.swap(0, 1);
                }
                Some((shape, values))
            },
            "tensor decoder.8.weight has shape [12, 8, 3, 3], expected [12, 12, 3, 3]: ",
        ),
        (
            |name, shape, mut values| {
                if name == "decoder.22.bias" {
                    values[1] = f32::INFINITY;
                }
                Some((shape, values))
            },
            "tensor decoder.22.bias holds a value that is not finite: ",
        ),
        (
            |name, shape, values| {
                let flat = vec![values.len()];
                Some((if name == "decoder.1.weight" { flat } else { shape }, values))
            },
            "tensor decoder.1.weight has shape [1728], expected [1, 1, 1, 1]: ",
        ),
    ];
    let home = tempfile::tempdir().expect("a folder");
    let path = home.path().join("decoder.safetensors");
    let weights = Weights::open(&golden("weights.safetensors")).expect("the committed golden");
    for (change, expected) in cases {
        let mut writer = WeightsWriter::new(StoredDtype::F32);
        for (name, _, shape) in weights.tensors() {
            let values = weights.values(name).expect(name);
            if let Some((shape, values)) = change(name, shape.to_vec(), values) {
                writer.add_tensor(name.to_owned(), shape, values);
            }
        }
        // What a writer refuses is written past it.
        let infinite = writer.write(&path, &[]).is_err();
        if infinite {
            let mut bytes = std::fs::read(golden("weights.safetensors")).expect("the golden");
            let length = bytes.len();
            let entry = Weights::parse(&bytes, &path).expect("a file").values("decoder.22.bias");
            let value = entry.expect("the bias")[1].to_le_bytes();
            let at = bytes[..length].windows(4).rposition(|four| four == value).expect("the value");
            bytes[at..at + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
            std::fs::write(&path, bytes).expect("a file");
        }
        let error = Taehv::open(&path, &Device::flex()).expect_err("no decoder").to_string();
        assert!(error.starts_with(expected), "{error}");
    }
    let mut writer = WeightsWriter::new(StoredDtype::F32);
    for (name, _, shape) in weights.tensors() {
        writer.add_tensor(name.to_owned(), shape.to_vec(), weights.values(name).expect(name));
    }
    writer.add_tensor("decoder.3.skip2.weight".to_owned(), vec![1], vec![1.0]);
    writer.write(&path, &[]).expect("a file");
    let error = Taehv::open(&path, &Device::flex()).expect_err("one too many").to_string();
    let expected = "1 tensors have no place in the model, the first is decoder.3.skip2.weight: ";
    assert!(error.starts_with(expected), "{error}");
}
