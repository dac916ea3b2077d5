//! The VAE agrees with PyTorch's numbers, laid out as Wan 2.1 and with folded pixels.
//!
//! Expected values: `tools/goldens/vae.py`.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::SafeTensors;
use shotstream_models::{
    checkpoint::{self, Network},
    vae::{Vae, VaeConfig},
};

/// Allowed difference, relative to the largest expected value.
const TOLERANCE: f32 = 1e-4;

fn testdata(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/vae").join(name)
}

/// One network and what it should answer.
struct Golden {
    vae: Vae,
    cases: Vec<u8>,
}

impl Golden {
    fn load(name: &str) -> Self {
        let cases = std::fs::read(testdata(&format!("{name}-cases.safetensors"))).unwrap();
        let (_, header) = SafeTensors::read_metadata(&cases).unwrap();
        let config = &header.metadata().as_ref().unwrap()["config"];
        let config: VaeConfig = serde_json::from_str(config).unwrap();
        let weights = testdata(&format!("{name}-weights.safetensors"));
        let vae = checkpoint::load(Vae::new(&config, &Device::flex()), Network::Vae, &weights);
        Self { vae: vae.unwrap(), cases }
    }

    fn tensor<const D: usize>(&self, name: &str) -> Tensor<D> {
        let tensors = SafeTensors::deserialize(&self.cases).unwrap();
        let view = tensors.tensor(name).unwrap();
        let (bytes, _) = view.data().as_chunks::<4>();
        let values: Vec<f32> = bytes.iter().map(|&four| f32::from_le_bytes(four)).collect();
        Tensor::from_data(TensorData::new(values, view.shape()), &Device::flex())
    }

    fn assert_agrees<const D: usize>(&self, name: &str, found: Tensor<D>) {
        let expected = self.tensor(name);
        assert_eq!(found.dims(), expected.dims(), "{name}");
        let scale: f32 = expected.clone().abs().max().into_scalar();
        let error: f32 = (found - expected).abs().max().into_scalar();
        assert!(error <= TOLERANCE * scale, "{name}: {error} of {scale}");
    }
}

fn agrees_within_1e_4(name: &str) {
    let golden = Golden::load(name);
    let vae = &golden.vae;
    let (mean, log_variance) = vae.posterior(golden.tensor("video"));
    golden.assert_agrees("mean", mean);
    golden.assert_agrees("log_variance", log_variance);
    golden.assert_agrees("encoded", vae.encode(golden.tensor("video")));
    golden.assert_agrees("encoded_frames", vae.encode_frames(golden.tensor("frames")));
    golden.assert_agrees("decoded", vae.decode(golden.tensor("latents")));
}

#[test]
fn laid_out_as_wan_2_1_it_agrees_within_1e_4() {
    agrees_within_1e_4("plain");
}

#[test]
fn with_folded_pixels_it_agrees_within_1e_4() {
    agrees_within_1e_4("patched");
}
