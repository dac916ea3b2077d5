//! Noise by address: chunk 3 of shot 2 starts from the same noise whatever was drawn before it.
//!
//! The address is the key of a counter-based generator, so a film does not depend on the order of
//! its draws, on the device, on what else runs, or on a restart in its middle.
//!
//! Letters: `F` latent frames, `C` latent channels, `h`, `w` latent height and width.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use thiserror::Error;

use crate::network::Latents;

/// Where in a story a noise tensor belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NoiseAddress {
    /// The shot, counted from 0.
    pub shot: usize,
    /// The chunk, counted from the start of its shot.
    pub chunk: usize,
    /// The denoising step; step 0 is what the chunk starts from.
    pub step: usize,
}

/// Where noise comes from.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Noise {
    /// Drawn from the shot's seed and the address.
    #[default]
    Seeded,
    /// Given by name, to lay numbers beside another implementation: `shot{g}.initial`
    /// `[F, C, h, w]` for the start of every chunk, `shot{g}.chunk{c}.step{k}` `[n, C, h, w]` for
    /// the re-noising before step `k` of chunk `c`, whose `n` latent frames are one chunk.
    Given(BTreeMap<String, Latents>),
}

/// Given noise that does not fit what is generated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NoiseError {
    /// An entry is absent.
    #[error("the given noise has no entry {name}")]
    Missing {
        /// The entry that is needed.
        name: String,
    },
    /// An entry has another shape.
    #[error("the given noise {name} has shape {found:?}, expected {expected:?}")]
    Shape {
        /// The entry.
        name: String,
        /// What is needed; of `initial`, the fewest latent frames that reach this chunk.
        expected: [usize; 4],
        /// What was given.
        found: [usize; 4],
    },
}

impl Noise {
    /// The noise of one step of one chunk, `shape` being `[n, C, h, w]` of the chunk.
    ///
    /// `seed` is the shot's; given noise does not look at it.
    ///
    /// # Errors
    /// When given noise lacks the entry or has it in another shape.
    pub fn draw(
        &self,
        seed: u64,
        address: NoiseAddress,
        shape: [usize; 4],
    ) -> Result<Latents, NoiseError> {
        match self {
            Self::Seeded => Ok(seeded(seed, address, shape)),
            Self::Given(entries) if address.step == 0 => initial(entries, address, shape),
            Self::Given(entries) => renoising(entries, address, shape),
        }
    }
}

/// Standard normal noise of one address.
fn seeded(seed: u64, address: NoiseAddress, shape: [usize; 4]) -> Latents {
    let NoiseAddress { shot, chunk, step } = address;
    let mut key = [0; 32];
    for (bytes, part) in key.chunks_exact_mut(8).zip([seed, shot as u64, chunk as u64, step as u64])
    {
        bytes.copy_from_slice(&part.to_le_bytes());
    }
    let generator = ChaCha8Rng::from_seed(key);
    let count = shape.iter().product();
    Latents { shape, data: StandardNormal.sample_iter(generator).take(count).collect() }
}

/// The part of a shot's given start that belongs to one chunk.
fn initial(
    entries: &BTreeMap<String, Latents>,
    address: NoiseAddress,
    shape: [usize; 4],
) -> Result<Latents, NoiseError> {
    let name = format!("shot{}.initial", address.shot);
    let given = entries.get(&name).ok_or(NoiseError::Missing { name: name.clone() })?;
    let [n, c, h, w] = shape;
    let end = (address.chunk + 1) * n;
    let part = given.slice(end - n..end).filter(|part| part.shape == shape);
    part.ok_or(NoiseError::Shape { name, expected: [end, c, h, w], found: given.shape })
}

/// The given noise between two steps of one chunk.
fn renoising(
    entries: &BTreeMap<String, Latents>,
    address: NoiseAddress,
    shape: [usize; 4],
) -> Result<Latents, NoiseError> {
    let NoiseAddress { shot, chunk, step } = address;
    let name = format!("shot{shot}.chunk{chunk}.step{step}");
    match entries.get(&name) {
        None => Err(NoiseError::Missing { name }),
        Some(given) if given.shape != shape => {
            Err(NoiseError::Shape { name, expected: shape, found: given.shape })
        }
        Some(given) => Ok(given.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 4] = [3, 16, 10, 16];

    fn address(shot: usize, chunk: usize, step: usize) -> NoiseAddress {
        NoiseAddress { shot, chunk, step }
    }

    fn draw(seed: u64, address: NoiseAddress) -> Latents {
        Noise::Seeded.draw(seed, address, SHAPE).unwrap()
    }

    #[test]
    fn noise_depends_on_the_address_and_not_on_the_order_of_requests() {
        let [a, b] = [0, 1].map(|chunk| address(2, chunk, 0));
        let (first, _) = (draw(7, a), draw(7, b));
        let (_, again) = (draw(7, b), draw(7, a));
        assert_eq!(first, again);
    }

    #[test]
    fn every_part_of_the_address_and_the_seed_matter() {
        let others = [address(1, 0, 0), address(0, 1, 0), address(0, 0, 1)].map(|a| draw(7, a));
        let here = draw(7, address(0, 0, 0));
        assert!(others.iter().all(|other| *other != here));
        assert_ne!(draw(8, address(0, 0, 0)), here);
    }

    #[test]
    fn noise_is_standard_normal() {
        let data = draw(0, address(0, 0, 0)).data;
        let count = data.len() as f64;
        let moment = |power| data.iter().map(|&x| f64::from(x).powi(power)).sum::<f64>() / count;
        assert!(moment(1).abs() < 0.05);
        assert!((moment(2) - 1.0).abs() < 0.05);
        assert!((moment(4) - 3.0).abs() < 0.4);
    }

    #[test]
    fn the_first_values_of_a_seed_never_change() {
        let values = draw(7, address(2, 1, 3)).data[..4].to_vec();
        assert_eq!(values, [-0.313_966_33, -0.862_434_8, -0.918_922_66, 0.010_857_912]);
    }

    #[test]
    fn given_noise_is_cut_into_chunks_and_named_when_it_is_missing() {
        let shape = [3, 1, 1, 1];
        let whole = Latents { shape: [6, 1, 1, 1], data: vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0] };
        let step = Latents { shape, data: vec![9.0; 3] };
        let entries = [("shot4.initial", whole), ("shot4.chunk0.step1", step)];
        let noise = Noise::Given(entries.map(|(name, value)| (name.to_owned(), value)).into());
        let data = |a| noise.draw(0, a, shape).map(|latents| latents.data);
        assert_eq!(data(address(4, 1, 0)), Ok(vec![3.0, 4.0, 5.0]));
        assert_eq!(data(address(4, 0, 1)), Ok(vec![9.0; 3]));
        let said = |a| data(a).unwrap_err().to_string();
        assert_eq!(said(address(4, 1, 2)), "the given noise has no entry shot4.chunk1.step2");
        assert_eq!(said(address(5, 0, 0)), "the given noise has no entry shot5.initial");
        assert_eq!(
            said(address(4, 2, 0)),
            "the given noise shot4.initial has shape [6, 1, 1, 1], expected [9, 1, 1, 1]"
        );
    }
}
