//! The DiT against PyTorch: f32 on the CPU, 1e-4 of the largest value. See tools/goldens/dit.py.

mod dit;

use std::fs;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use shotstream_models::dit::{Dit, FrameMask, LocalCache, TextCache};
use shotstream_plan::layout::FrameSlot;

use dit::{distance, tiny, with_weights};

const TOLERANCE: f32 = 1e-4;

struct Goldens {
    cases: Vec<u8>,
    dit: Dit,
    device: Device,
}

impl Goldens {
    fn new() -> Self {
        let device = Device::flex();
        let bytes = read("weights.safetensors");
        let weights = SafeTensors::deserialize(&bytes).expect("a safetensors file");
        let mut used = 0;
        let dit = with_weights(&tiny(), &device, |name, shape| {
            let view = weights.tensor(name).expect(name);
            assert_eq!(view.shape(), shape, "{name}");
            used += 1;
            floats(&view)
        });
        assert_eq!(used, weights.len());
        Self { cases: read("cases.safetensors"), dit, device }
    }

    fn tensor<const R: usize>(&self, name: &str) -> Tensor<R> {
        let cases = SafeTensors::deserialize(&self.cases).expect("a safetensors file");
        let view = cases.tensor(name).expect(name);
        let data = TensorData::new(floats(&view), view.shape().to_vec());
        Tensor::from_data(data, &self.device)
    }

    fn integers(&self, name: &str) -> Vec<u32> {
        let cases = SafeTensors::deserialize(&self.cases).expect("a safetensors file");
        let bytes = cases.tensor(name).expect(name).data().to_vec();
        let (words, _) = bytes.as_chunks::<8>();
        words.iter().map(|word| i64::from_le_bytes(*word) as u32).collect()
    }

    fn slots(&self) -> Vec<FrameSlot> {
        let values = self.integers("slots");
        let (slots, _) = values.as_chunks::<3>();
        let slot = |&[position, phase, caption]: &[u32; 3]| FrameSlot {
            position,
            phase,
            caption: caption as usize,
        };
        slots.iter().map(slot).collect()
    }

    fn text(&self) -> TextCache {
        self.dit.text_cache(self.tensor("captions"))
    }

    fn check(&self, name: &str, velocity: Tensor<5>) {
        let distance = distance(velocity, self.tensor(name));
        assert!(distance < TOLERANCE, "{name}: {distance:e}");
    }
}

fn read(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/dit").join(name))
        .expect(name)
}

fn floats(view: &TensorView<'_>) -> Vec<f32> {
    let (words, _) = view.data().as_chunks::<4>();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

#[test]
fn a_plain_clip_agrees_with_diffusers() {
    let goldens = Goldens::new();
    let slots: Vec<_> =
        (0..6).map(|position| FrameSlot { position, phase: 0, caption: 0 }).collect();
    let (latents, timesteps) = (goldens.tensor("latents"), goldens.tensor("plain.timesteps"));
    let velocity = goldens.dit.parallel(latents, timesteps, &slots, &goldens.text(), None);
    goldens.check("plain.velocity", velocity);
}

#[test]
fn phases_captions_and_timesteps_of_each_frame_agree_with_pytorch() {
    let goldens = Goldens::new();
    let (latents, timesteps) = (goldens.tensor("latents"), goldens.tensor("timesteps"));
    let velocity =
        goldens.dit.parallel(latents, timesteps, &goldens.slots(), &goldens.text(), None);
    goldens.check("bidirectional.velocity", velocity);
}

#[test]
fn a_masked_clip_agrees_with_pytorch() {
    let goldens = Goldens::new();
    let mask = FrameMask::block_causal(2, 4, 2);
    assert_eq!(mask.labels(), goldens.integers("labels"));
    let (latents, timesteps) = (goldens.tensor("latents"), goldens.tensor("timesteps"));
    let velocity =
        goldens.dit.parallel(latents, timesteps, &goldens.slots(), &goldens.text(), Some(&mask));
    goldens.check("causal.velocity", velocity);
}

#[test]
fn chunks_over_caches_agree_with_pytorch() {
    let goldens = Goldens::new();
    let (dit, text, slots) = (&goldens.dit, goldens.text(), goldens.slots());
    let latents = |from| goldens.tensor::<5>("latents").narrow(2, from, 2);
    let timesteps = |from| goldens.tensor::<2>("timesteps").narrow(1, from, 2);
    let context = dit.encode_context(latents(0), &slots[..2], &text);
    let mut local = LocalCache::default();

    let first = dit.denoise(latents(2), timesteps(2), &slots[2..4], &text, &context, &local);
    goldens.check("cached.first", first);

    dit.commit(latents(2), &slots[2..4], &text, &context, &mut local);
    let second = dit.denoise(latents(4), timesteps(4), &slots[4..], &text, &context, &local);
    goldens.check("cached.second", second);
}
