//! Frames of a story to its latents: every shot as a clip, and what later shots remember of it.
//!
//! | letter | means |
//! |---|---|
//! | `T` | frames of a shot |
//! | `F` | its latent frames |
//! | `K` | those of its frames that a later shot may remember |
//! | `C`, `h`, `w` | latent channels, height, width |

use std::collections::BTreeSet;

use burn::tensor::{Device, Tensor, TensorData};
use sha2::{Digest as _, Sha256};
use shotstream_media::Frame;
use shotstream_models::vae::Vae;
use shotstream_plan::{
    context::{Memory, select_context},
    geometry::PixelFrames,
    timeline::Timeline,
};

use crate::{
    data::{halves::Halves, shards::StoredShot, world::pixels},
    fingerprint::hex,
    params::{self, host},
};

/// Frames of shot `shot` that a later shot of a story with shots of these lengths remembers.
pub fn remembered(memory: Memory, lengths: &[usize], shot: usize) -> Vec<usize> {
    let later = shot + 1..lengths.len();
    let picks = later.flat_map(|next| {
        let past: Timeline = lengths[..next].iter().copied().map(PixelFrames).collect();
        select_context(memory, &past)
    });
    let frames = picks.filter(|pick| pick.shot == shot).map(|pick| pick.frame);
    frames.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Latents of a shot of frames that all have the same size, and of some of its frames.
pub fn encode_shot(vae: &Vae, frames: &[Frame], remembered: &[usize]) -> StoredShot {
    let size = [frames[0].height, frames[0].width];
    let tensor = |frames: &[Frame]| {
        let data =
            TensorData::new(pixels(frames, [0, 0], size), [frames.len(), 3, size[0], size[1]]);
        Tensor::<4>::from_data(data, &Device::flex())
    };
    let clip = tensor(frames).swap_dims(0, 1).unsqueeze::<5>();
    let clip = vae.encode(clip).squeeze_dim::<4>(0).swap_dims(0, 1);
    let [_, cell @ ..] = clip.dims();
    let alone = if remembered.is_empty() {
        Halves::new(&[], [&[0], cell.as_slice()].concat())
    } else {
        let chosen: Vec<_> = remembered.iter().map(|&frame| frames[frame].clone()).collect();
        halves(vae.encode_frames(tensor(&chosen)))
    };
    StoredShot { clip: halves(clip), frames: alone }
}

fn halves(latents: Tensor<4>) -> Halves {
    let shape = latents.dims().to_vec();
    Halves::new(&host(latents), shape)
}

/// A hash of everything that latents depend on: the encoder and its statistics.
pub fn fingerprint(vae: &Vae) -> String {
    let (specs, vectors) = params::values(vae);
    let mut hash = Sha256::new();
    let encoder = |name: &str| name.starts_with("encoder") || name.starts_with("conv1");
    for (spec, vector) in specs.iter().zip(&vectors).filter(|(spec, _)| encoder(&spec.name)) {
        hash.update(&spec.name);
        vector.iter().for_each(|x| hash.update(x.to_le_bytes()));
    }
    let config = vae.config();
    for x in config.latents_mean.iter().chain(&config.latents_std) {
        hash.update(x.to_le_bytes());
    }
    hex(hash)
}

#[cfg(test)]
mod tests {
    use shotstream_plan::context::MemoryPolicy;

    use super::*;

    #[test]
    fn a_shot_keeps_what_the_later_shots_of_its_story_ask_for() {
        let six = Memory { frames: 6, policy: MemoryPolicy::Spread };
        assert_eq!(remembered(six, &[33], 0), [0usize; 0]);
        assert_eq!(remembered(six, &[33, 33], 0), [0, 6, 13, 19, 26, 32]);
        assert_eq!(remembered(six, &[33, 33, 33], 0), [0, 6, 13, 16, 19, 26, 32]);
        assert_eq!(remembered(six, &[33, 33, 33], 1), [0, 16, 32]);
        assert_eq!(remembered(six, &[33, 33, 33], 2), [0usize; 0]);
    }
}
