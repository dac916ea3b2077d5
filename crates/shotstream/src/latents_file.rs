//! Noise and latents as safetensors files, to lay our numbers beside another implementation's.
//!
//! Letters: `F` latent frames, `C` latent channels, `h`, `w` latent height and width.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::anyhow;
use safetensors::{Dtype, tensor::TensorView};
use shotstream_engine::{
    network::Latents,
    noise::{Noise, NoiseAddress},
};
use shotstream_models::checkpoint::Weights;
use shotstream_plan::plan::Plan;

use crate::failure::Blame as _;

/// Read a noise file and see whether it has all the noise a plan needs.
///
/// # Errors
/// When it cannot be read, or lacks an entry.
pub(crate) fn read_noise(path: &Path, plan: &Plan, channels: usize) -> anyhow::Result<Noise> {
    let bytes = fs::read(path)
        .map_err(|error| format!("cannot read the noise ({error}): {}", path.display()))
        .wrong_use()?;
    let file = Weights::parse(&bytes, path).wrong_use()?;
    let mut entries = BTreeMap::new();
    for (name, _, shape) in file.tensors() {
        let shape = <[usize; 4]>::try_from(shape)
            .map_err(|_| {
                let place = path.display();
                format!("the noise {name} has shape {shape:?}, expected four sides: {place}")
            })
            .wrong_use()?;
        let data = file.values(name).wrong_use()?;
        entries.insert(name.to_owned(), Latents { shape, data });
    }
    let noise = Noise::Given(entries);
    check(&noise, plan, channels)
        .map_err(|error| format!("{error}: {}", path.display()))
        .wrong_use()?;
    Ok(noise)
}

/// Whether there is noise for every step.
fn check(noise: &Noise, plan: &Plan, channels: usize) -> Result<(), String> {
    let geometry = plan.recipe().geometry();
    let [height, width] = geometry.latent_size();
    let shape = [geometry.chunk.0, channels, height, width];
    for shot in plan.shots() {
        for chunk in 0..shot.chunks.len() {
            for step in 0..plan.recipe().timesteps().len() {
                let address = NoiseAddress { shot: shot.shot, chunk, step };
                let drawn = noise.draw(0, address, shape).map_err(|error| error.to_string())?;
                if !drawn.data.iter().all(|value| value.is_finite()) {
                    let NoiseAddress { shot, chunk, step } = address;
                    return Err(format!(
                        "the noise of shot {shot}, chunk {chunk}, step {step} is not finite"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Named latents as the bytes of a safetensors file, f32.
///
/// # Errors
/// When they do not fill their shapes.
pub(crate) fn to_bytes(latents: &BTreeMap<String, Latents>) -> anyhow::Result<Vec<u8>> {
    let bytes: Vec<(&String, [usize; 4], Vec<u8>)> = latents
        .iter()
        .map(|(name, Latents { shape, data })| {
            (name, *shape, data.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    let views: Result<Vec<_>, _> = bytes
        .iter()
        .map(|(name, shape, data)| Ok((name, TensorView::new(Dtype::F32, shape.to_vec(), data)?)))
        .collect();
    views
        .and_then(|views| safetensors::serialize(views, None))
        .map_err(|error| anyhow!("cannot express the latents as a file: {error}"))
}
