//! Promises of the VAE that need no reference: streaming equals whole, frames alone equal first
//! frames, and every weight learns.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, Distribution, Gradients, Tensor},
};
use shotstream_models::vae::{Vae, VaeConfig};

fn small(patch: usize) -> VaeConfig {
    VaeConfig {
        dim: 4,
        decoder_dim: 6,
        z_dim: 3,
        dim_mult: if patch == 1 { vec![1, 2, 2, 4] } else { vec![1, 2, 4] },
        num_res_blocks: 1,
        temporal_downsample: if patch == 1 { vec![false, true, true] } else { vec![true, true] },
        patch,
        latents_mean: vec![0.3, -0.2, 0.1],
        latents_std: vec![1.5, 0.7, 1.1],
    }
}

fn noise<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

fn largest<const D: usize>(tensor: Tensor<D>) -> f32 {
    tensor.abs().max().into_scalar::<f32>()
}

/// The largest difference relative to the largest value.
fn distance<const D: usize>(left: Tensor<D>, right: Tensor<D>) -> f32 {
    assert_eq!(left.dims(), right.dims());
    largest(left - right.clone()) / largest(right)
}

#[test]
fn streaming_equals_whole_however_the_latents_are_split() {
    let device = Device::flex();
    for patch in [1, 2] {
        let vae = Vae::new(&small(patch), &device);
        let latents = noise([2, 3, 7, 2, 3], &device);
        let whole = vae.decode(latents.clone());
        assert_eq!(whole.dims(), [2, 3, 25, 16, 24]);
        for split in [&[1; 7][..], &[3, 3, 1], &[2, 1, 4], &[1, 6]] {
            let mut state = vae.start();
            let mut seen = 0;
            let chunks = split.iter().map(|&length| {
                let chunk = latents.clone().narrow(2, seen, length);
                seen += length;
                vae.decode_next(&mut state, chunk)
            });
            let streamed = Tensor::cat(chunks.collect(), 2);
            assert!(distance(streamed, whole.clone()) < 1e-5, "patch {patch}, split {split:?}");
        }
    }
}

#[test]
fn a_frame_alone_is_the_first_latent_of_any_clip_that_starts_with_it() {
    let device = Device::flex();
    for patch in [1, 2] {
        let vae = Vae::new(&small(patch), &device);
        let clips = noise([2, 3, 9, 16, 24], &device);
        let latents = vae.encode(clips.clone());
        assert_eq!(latents.dims(), [2, 3, 3, 2, 3]);
        let alone = vae.encode_frames(clips.narrow(2, 0, 1).squeeze_dim(2));
        assert!(distance(alone, latents.narrow(2, 0, 1).squeeze_dim(2)) < 1e-5, "patch {patch}");
    }
}

#[test]
fn no_latent_sees_a_later_frame() {
    let device = Device::flex();
    let vae = Vae::new(&small(2), &device);
    let clip = noise([1, 3, 9, 16, 16], &device);
    let other =
        Tensor::cat(vec![clip.clone().narrow(2, 0, 5), noise([1, 3, 4, 16, 16], &device)], 2);
    let [latents, others] = [clip, other].map(|clip| vae.encode(clip).narrow(2, 0, 2));
    assert!(distance(latents, others) < 1e-6);
}

#[test]
fn normalising_and_back_changes_nothing() {
    let device = Device::flex();
    let vae = Vae::new(&small(2), &device);
    let latents = noise([1, 3, 2, 2, 2], &device);
    let back = vae.denormalise(vae.normalise(latents.clone()));
    assert!(distance(back, latents) < 1e-6);
}

/// The names of parameters whose gradient is missing, zero or not finite.
struct Unlearning<'a> {
    gradients: &'a Gradients,
    path: Vec<String>,
    names: Vec<String>,
}

impl ModuleVisitor for Unlearning<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let learns = param.val().grad(self.gradients).is_some_and(|gradient| {
            let size = largest(gradient);
            size.is_finite() && size > 0.0
        });
        if !learns {
            self.names.push(self.path.join("."));
        }
    }
}

#[test]
fn every_weight_learns() {
    let device = Device::flex().autodiff();
    for patch in [1, 2] {
        let vae = Vae::new(&small(patch), &device);
        let clips = noise([2, 3, 9, 16, 24], &device);
        let (mean, log_variance) = vae.posterior(clips.clone());
        let spread = noise(mean.dims(), &device);
        let latents = mean + (log_variance * 0.5).exp() * spread;
        let gradients = (vae.decode_raw(latents) - clips).square().mean().backward();
        let mut unlearning = Unlearning { gradients: &gradients, path: vec![], names: vec![] };
        vae.visit(&mut unlearning);
        // A silent branch passes no gradient on before its last weight has moved.
        let silent = ["attention.norm.gamma", "attention.to_qkv.weight", "attention.to_qkv.bias"];
        let loud = unlearning.names.iter().filter(|name| !silent.iter().any(|s| name.ends_with(s)));
        assert_eq!(loud.collect::<Vec<_>>(), Vec::<&String>::new());
    }
}
