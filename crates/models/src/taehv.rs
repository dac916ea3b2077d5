//! A small decoder in place of the VAE's: quick previews of the same latents.
//!
//! | letter | means | taew2_1 |
//! |---|---|---|
//! | `F` | latent frames | |
//! | `T` | frames: four of a latent frame, less the first three of a stream | |
//! | `z` | latent channels | 16 |
//! | `C` | channels of a stage | 256, 128, 64 |
//! | `h`, `w` | height and width of a stage; they double from stage to stage | 60, 104 |
//!
//! Three stages of three blocks; a block sees a frame and the one before it, and that frame is all
//! a stream has to remember. After its blocks a stage doubles height and width, and the last two
//! double time. Latents come as the denoiser makes them, normalised, and frames come out in [0, 1].
//! Where every frame of a clip is known, they run through as one batch, which is what a stream of
//! one chunk does.
//!
//! Method: TAEHV, a tiny autoencoder for video by madebyollin, as published for Wan 2.1.

use std::path::Path;

use burn::tensor::{
    Device, Tensor, TensorData,
    activation::{relu, tanh},
    module::conv2d,
    ops::ConvOptions,
};

use crate::checkpoint::{CheckpointError, Weights};

/// Blocks of a stage.
const BLOCKS: usize = 3;

/// Stages, and by how much each multiplies time.
const TIMES: [usize; 3] = [1, 2, 2];

/// Frames that a latent frame becomes.
const FRAMES: usize = 4;

/// Frames at the beginning of a stream that are not shown: they would lie before its first one.
const HIDDEN: usize = FRAMES - 1;

/// Where latents are cut off, softly.
const LIMIT: f32 = 3.0;

/// How the names of the decoder's tensors begin.
const PREFIX: &str = "decoder.";

/// The decoder.
#[derive(Clone, Debug)]
pub struct Taehv {
    first: Conv,
    stages: Vec<Stage>,
    last: Conv,
    latent_channels: usize,
    device: Device,
}

/// What a stream has to remember: of every block, the last frame it saw.
#[derive(Clone, Debug)]
pub struct TaehvState {
    pasts: Vec<Option<Tensor<4>>>,
    /// Frames still to be left out.
    hidden: usize,
}

/// Blocks, then larger pictures and perhaps more of them.
#[derive(Clone, Debug)]
struct Stage {
    blocks: Vec<MemoryBlock>,
    /// Pointwise, to the channels of all frames that a frame becomes.
    grow: Conv,
    project: Conv,
}

/// Three convolutions of a frame and the one before it, added to the frame.
#[derive(Clone, Debug)]
struct MemoryBlock {
    convs: [Conv; 3],
}

/// A convolution that keeps the size of a picture.
#[derive(Clone, Debug)]
struct Conv {
    /// `[out, in, side, side]`.
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
}

impl Conv {
    /// `[T, in, h, w]` to `[T, out, h, w]`.
    fn forward(&self, frames: Tensor<4>) -> Tensor<4> {
        let [_, _, side, _] = self.weight.dims();
        let options = ConvOptions::new([1, 1], [side / 2, side / 2], [1, 1], 1);
        conv2d(frames, self.weight.clone(), self.bias.clone(), options)
    }
}

impl MemoryBlock {
    /// The next frames of a stream, `[T, C, h, w]`.
    fn next(&self, frames: Tensor<4>, past: &mut Option<Tensor<4>>) -> Tensor<4> {
        let count = frames.dims()[0];
        let before = past.take().unwrap_or_else(|| frames.zeros_like().narrow(0, 0, 1));
        *past = Some(frames.clone().narrow(0, count - 1, 1));
        let before = match count {
            1 => before,
            _ => Tensor::cat(vec![before, frames.clone().narrow(0, 0, count - 1)], 0),
        };
        let both = Tensor::cat(vec![frames.clone(), before], 1);
        let [first, second, third] = &self.convs;
        let change = third.forward(relu(second.forward(relu(first.forward(both)))));
        relu(change + frames)
    }
}

impl Stage {
    /// The next frames of a stream, `[T, C, h, w]`, to `[n T, C', 2 h, 2 w]`.
    fn next(&self, frames: Tensor<4>, pasts: &mut [Option<Tensor<4>>]) -> Tensor<4> {
        let blocks = self.blocks.iter().zip(pasts);
        let frames = blocks.fold(frames, |frames, (block, past)| block.next(frames, past));
        let [count, channels, height, width] = frames.dims();
        let doubled = frames
            .reshape([count, channels, height, 1, width, 1])
            .expand([count, channels, height, 2, width, 2])
            .reshape([count, channels, 2 * height, 2 * width]);
        let grown = self.grow.forward(doubled);
        let times = grown.dims()[1] / channels;
        self.project.forward(grown.reshape([times * count, channels, 2 * height, 2 * width]))
    }
}

impl Taehv {
    /// Frames, rows and columns that a cell of a latent frame becomes.
    pub const STRIDE: [usize; 3] = [FRAMES, 8, 8];

    /// The decoder in a file, `taew2_1.safetensors` or `taew2_1.pth`, on `device`. Its encoder,
    /// if the file has one, is passed over.
    ///
    /// # Errors
    /// When the file cannot be read, its tensors are not those of the network, or a value is no
    /// number.
    pub fn open(path: &Path, device: &Device) -> Result<Self, CheckpointError> {
        let weights = Weights::open(path)?;
        let mut reader = Reader { weights: &weights, device, read: Vec::new() };
        let first = reader.conv(1, "", true)?;
        let [mut width, latent_channels, ..] = first.weight.dims();
        reader.expect(&first, 1, "", [width, latent_channels, 3])?;
        let mut stages = Vec::with_capacity(TIMES.len());
        let mut index = 3;
        for times in TIMES {
            let (stage, next) = reader.stage(&mut index, width, times)?;
            stages.push(stage);
            width = next;
        }
        // What follows the stages has no weights but for the last convolution.
        let last = reader.conv(index + 1, "", true)?;
        reader.expect(&last, index + 1, "", [3, width, 3])?;
        reader.finish()?;
        Ok(Self { first, stages, last, latent_channels, device: device.clone() })
    }

    /// Channels of a latent frame, `z`.
    #[must_use]
    pub fn latent_channels(&self) -> usize {
        self.latent_channels
    }

    /// The state before the first latent frame of a shot.
    #[must_use]
    pub fn start(&self) -> TaehvState {
        TaehvState { pasts: vec![None; BLOCKS * self.stages.len()], hidden: HIDDEN }
    }

    /// The next frames of a stream: normalised latents `[1, z, F, h, w]` to `[1, 3, T, 8 h, 8 w]` in
    /// `[-1, 1]`, where `T` is `1 + 4 (F - 1)` for the first chunk of a shot and `4 F` after it.
    pub fn decode_next(&self, state: &mut TaehvState, latents: Tensor<5>) -> Tensor<5> {
        let latents = latents.to_device(&self.device).squeeze_dim::<4>(0).swap_dims(0, 1);
        let cut = tanh(latents / LIMIT) * LIMIT;
        let mut frames = relu(self.first.forward(cut));
        for (stage, pasts) in self.stages.iter().zip(state.pasts.chunks_mut(BLOCKS)) {
            frames = stage.next(frames, pasts);
        }
        let frames = self.last.forward(relu(frames));
        let count = frames.dims()[0];
        let hidden = std::mem::take(&mut state.hidden).min(count);
        let frames = frames.narrow(0, hidden, count - hidden).clamp(0.0, 1.0);
        (frames * 2.0 - 1.0).swap_dims(0, 1).unsqueeze()
    }
}

/// Takes the decoder's tensors out of a file.
struct Reader<'w> {
    weights: &'w Weights<'w>,
    device: &'w Device,
    /// Names of the tensors that were taken.
    read: Vec<String>,
}

impl Reader<'_> {
    /// The stage whose first entry of the decoder's list is `index`, and its width in the end;
    /// `index` is moved behind it.
    fn stage(
        &mut self,
        index: &mut usize,
        width: usize,
        times: usize,
    ) -> Result<(Stage, usize), CheckpointError> {
        let mut blocks = Vec::with_capacity(BLOCKS);
        for entry in *index..*index + BLOCKS {
            let mut convs = Vec::with_capacity(3);
            for (place, inputs) in [(0, 2 * width), (2, width), (4, width)] {
                let inside = format!("conv.{place}.");
                let conv = self.conv(entry, &inside, true)?;
                self.expect(&conv, entry, &inside, [width, inputs, 3])?;
                convs.push(conv);
            }
            let [first, second, third] = &convs[..] else { unreachable!("three were read") };
            blocks.push(MemoryBlock { convs: [first, second, third].map(Clone::clone) });
        }
        // The enlargement between has no weights.
        let (grow_at, project_at) = (*index + BLOCKS + 1, *index + BLOCKS + 2);
        let mut grow = self.conv(grow_at, "conv.", false)?;
        let channels = grow.weight.dims()[0];
        // Some files make more frames than are shown; the last ones are those that are.
        if times * width < channels {
            grow.weight = grow.weight.narrow(0, channels - times * width, times * width);
        }
        self.expect(&grow, grow_at, "conv.", [times * width, width, 1])?;
        let project = self.conv(project_at, "", false)?;
        let next = project.weight.dims()[0];
        self.expect(&project, project_at, "", [next, width, 3])?;
        *index = project_at + 1;
        Ok((Stage { blocks, grow, project }, next))
    }

    fn name(&self, entry: usize, inside: &str, end: &str) -> String {
        format!("{PREFIX}{entry}.{inside}{end}")
    }

    /// A convolution of an entry of the decoder's list.
    fn conv(&mut self, entry: usize, inside: &str, bias: bool) -> Result<Conv, CheckpointError> {
        let (weight, shape) = self.tensor(self.name(entry, inside, "weight"), 4)?;
        let side = [shape[0], shape[1], shape[2], shape[3]];
        let weight = Tensor::from_data(TensorData::new(weight, side), self.device);
        let bias = match bias {
            true => {
                let (values, shape) = self.tensor(self.name(entry, inside, "bias"), 1)?;
                if shape != side[..1] {
                    let name = self.name(entry, inside, "bias");
                    return Err(self.mismatch(name, side[..1].to_vec(), shape));
                }
                Some(Tensor::from_data(TensorData::new(values, shape), self.device))
            }
            false => None,
        };
        Ok(Conv { weight, bias })
    }

    /// Values and shape of a tensor of so many axes.
    fn tensor(
        &mut self,
        name: String,
        axes: usize,
    ) -> Result<(Vec<f32>, Vec<usize>), CheckpointError> {
        let values = self.weights.finite_values(&name)?;
        let shape = self.weights.shape(&name).unwrap_or_default().to_vec();
        if shape.len() != axes || shape.contains(&0) {
            return Err(self.mismatch(name, vec![1; axes], shape));
        }
        self.read.push(name);
        Ok((values, shape))
    }

    /// Refuse a convolution that has not these outputs, inputs and side.
    fn expect(
        &self,
        conv: &Conv,
        entry: usize,
        inside: &str,
        [outputs, inputs, side]: [usize; 3],
    ) -> Result<(), CheckpointError> {
        let (expected, found) = ([outputs, inputs, side, side], conv.weight.dims());
        match expected == found {
            true => Ok(()),
            false => {
                let name = self.name(entry, inside, "weight");
                Err(self.mismatch(name, expected.to_vec(), found.to_vec()))
            }
        }
    }

    /// Refuse tensors of a decoder that were not taken.
    fn finish(&self) -> Result<(), CheckpointError> {
        let names = self.weights.tensors().map(|(name, ..)| name);
        let left = |name: &&str| name.starts_with(PREFIX) && !self.read.iter().any(|n| n == name);
        let mut left = names.filter(left);
        let Some(first) = left.next().map(str::to_owned) else { return Ok(()) };
        let path = self.weights.path().to_owned();
        Err(CheckpointError::Unused { count: 1 + left.count(), first, path })
    }

    fn mismatch(&self, name: String, expected: Vec<usize>, found: Vec<usize>) -> CheckpointError {
        let path = self.weights.path().to_owned();
        CheckpointError::ShapeMismatch { name, expected, found, path }
    }
}
