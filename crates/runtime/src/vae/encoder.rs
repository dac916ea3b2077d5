//! The encoder of single frames, each as if a clip began with it.
//!
//! Before such a frame there is nothing, so of every kernel only the last tap in time matters, and
//! halving time leaves it alone.

use std::sync::Arc;

use shotstream_engine::network::{FrameEncoder, Latents, NetworkError, Pixels};

use super::{
    Sizes,
    blocks::{Conv, Head, Middle, Residual, Weights},
    pads::{Pad, Size},
    picture,
    sections::{Builder, Frames, List},
};
use crate::{
    check,
    kernels::{DeviceError, Kernels, PageShape, Precision, Sight, Step, Then},
    memory::{Known, Plan, Shelf},
    weights::{Linear, Matrices, Names, Source, WeightsError},
};

/// The encoder of a VAE on a device.
#[derive(Debug)]
pub struct Encoder<K: Kernels> {
    kernels: K,
    sizes: Sizes,
    matrices: Matrices<K>,
    plan: Plan,
    network: Network,
    lists: Known<[usize; 2], Lists<K>>,
}

#[derive(Debug)]
struct Network {
    first: Conv,
    stages: Vec<Stage>,
    middle: Middle,
    head: Head,
    /// Pointwise, to the means.
    leave: usize,
}

/// One entry of the encoder's list.
#[derive(Debug)]
enum Stage {
    Residual(Residual),
    Halve(usize),
}

/// The list of one size of pictures.
#[derive(Debug)]
struct Lists<K: Kernels> {
    constants: Vec<f32>,
    len: usize,
    /// Where positions go in.
    input: usize,
    list: List,
    page: PageShape,
    memories: Shelf<Working<K>>,
}

#[derive(Debug)]
struct Working<K: Kernels> {
    memory: K::Memory,
    page: [Arc<K::Page>; 1],
    positions: Vec<f32>,
}

impl<K: Kernels> Encoder<K> {
    /// Pack the weights of a source.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn new(kernels: K, sizes: Sizes, source: &dyn Source) -> Result<Self, WeightsError> {
        let names = Names::new(source);
        let (matrices, plan) = (Matrices::new(), Plan::new(kernels.precision()));
        let mut weights = Weights { kernels: &kernels, matrices, plan, time: 1 };
        let network = Network::new(&sizes, &names, &mut weights)?;
        let Weights { matrices, plan, .. } = weights;
        Ok(Self { kernels, sizes, matrices, plan, network, lists: Known::new() })
    }

    /// The list of pictures of this height and width.
    fn make_lists(&self, [height, width]: [usize; 2]) -> Arc<Lists<K>> {
        let side = self.sizes.patch;
        let size = Size { frames: 1, rows: height / side, columns: width / side };
        let mut plan = self.plan.clone();
        let input = plan.room(size.positions() * self.sizes.picture());
        let mut pads: Vec<Pad> = Vec::new();
        self.network.list(&self.sizes, size, input, &mut plan.clone(), &mut pads);
        for pad in &mut pads {
            *pad = pad.at(plan.room(pad.len()));
        }
        let list = self.network.list(&self.sizes, size, input, &mut plan, &mut pads);
        let stride = self.sizes.stride();
        let deepest = self.sizes.widths(self.sizes.dims[0]).last().copied().unwrap_or(1);
        let tokens = (height / stride) * (width / stride);
        let page = PageShape { tokens, layers: 1, heads: 1, width: deepest };
        let constants = plan.constants().to_vec();
        let (len, memories) = (plan.len(), Shelf::new());
        Arc::new(Lists { constants, len, input, list, page, memories })
    }

    /// One picture `[3, H, W]` to latents `[C, h, w]`.
    fn encode_one(
        &self,
        lists: &Lists<K>,
        picture: &[f32],
        size: [usize; 2],
        to: &mut [f32],
    ) -> Result<(), DeviceError> {
        let mut working = lists.memories.borrow(|| {
            let mut memory = self.kernels.memory(lists.len)?;
            self.kernels.upload(&mut memory, 0, &lists.constants)?;
            let page = [Arc::new(self.kernels.page(lists.page)?)];
            Ok(Working { memory, page, positions: Vec::new() })
        })?;
        let Working { memory, page, positions } = &mut *working;
        positions.resize(picture.len(), 0.0);
        picture::fold(picture, size, self.sizes.patch, positions);
        self.kernels.upload(memory, lists.input, positions)?;
        let (list, sight) = (&lists.list, Sight { own: page, ..Sight::nothing() });
        rayon::scope(|_| self.kernels.run(&list.sections, &self.matrices.packed, memory, sight))?;
        let (start, area) = (list.output.start, list.output.size.positions());
        positions.resize(to.len(), 0.0);
        self.kernels.download(memory, start..start + to.len(), positions)?;
        let Sizes { channels, mean, std, .. } = &self.sizes;
        for (position, values) in positions.chunks_exact(*channels).enumerate() {
            for (channel, value) in values.iter().enumerate() {
                to[channel * area + position] = (value - mean[channel]) / std[channel];
            }
        }
        Ok(())
    }
}

impl<K: Kernels> FrameEncoder for Encoder<K> {
    fn encode(&self, frames: &Pixels) -> Result<Latents, NetworkError> {
        let found = frames.shape;
        let [count, _, height, width] = found;
        let (stride, channels) = (self.sizes.stride(), self.sizes.channels);
        let whole = |side: usize| side.max(1).next_multiple_of(stride);
        check("frames", &[count.max(1), 3, whole(height), whole(width)], &found)?;
        check("the values of frames", &[found.iter().product()], &[frames.data.len()])?;
        let size = [height, width];
        let lists = self.lists.get(size, || self.make_lists(size));
        let shape = [count, channels, height / stride, width / stride];
        let mut data = vec![0.0; shape.iter().product()];
        let latents = data.chunks_exact_mut(shape[1..].iter().product());
        for (index, to) in latents.enumerate() {
            self.encode_one(&lists, frames.frame(index), size, to)?;
        }
        Ok(Latents { shape, data })
    }
}

impl Network {
    fn new<K: Kernels>(
        sizes: &Sizes,
        names: &Names<'_>,
        weights: &mut Weights<'_, K>,
    ) -> Result<Self, WeightsError> {
        let encoder = names.under("encoder");
        let mut channels = sizes.dims[0];
        let first = weights.conv(&encoder.under("conv1"), [sizes.picture(), channels], [3, 3])?;
        let mut stages = Vec::new();
        for (stage, width) in sizes.widths(channels).into_iter().enumerate() {
            for _ in 0..sizes.num_res_blocks {
                let names = encoder.under("downsamples").under(stages.len());
                stages.push(Stage::Residual(weights.residual(&names, [channels, width])?));
                channels = width;
            }
            if stage < sizes.halves_time.len() {
                let names = encoder.under("downsamples").under(stages.len());
                stages.push(Stage::Halve(weights.halving(&names.under("resample.1"), width)?));
            }
        }
        let middle = weights.middle(&encoder.under("middle"), channels)?;
        let moments = 2 * sizes.channels;
        let head = weights.head(&encoder.under("head"), [channels, moments])?;
        let names = names.under("conv1");
        let mut weight = names.tensor("weight", &[moments, moments, 1, 1, 1])?;
        let mut offset = names.tensor("bias", &[moments])?;
        weight.truncate(sizes.channels * moments);
        offset.truncate(sizes.channels);
        let leave = weights.matrices.add(weights.kernels, &Linear { weight, offset })?;
        Ok(Self { first, stages, middle, head, leave })
    }

    fn list(
        &self,
        sizes: &Sizes,
        size: Size,
        input: usize,
        plan: &mut Plan,
        pads: &mut Vec<Pad>,
    ) -> List {
        let mut builder = Builder::new(plan, pads);
        let width = sizes.picture();
        let pad = builder.pad(size, width, [1, self.first.margin]);
        let copy =
            Step::Copy { x: size.packed(input, width, Precision::F32), y: pad.inside(), width };
        builder.push(size.array(), copy);
        let mut x = builder.convolve(pad, self.first, size);
        for stage in &self.stages {
            x = match stage {
                Stage::Residual(block) => builder.residual(x, block),
                Stage::Halve(matrix) => halve(&mut builder, x, *matrix),
            };
        }
        let x = builder.middle(x, &self.middle);
        let moments = builder.head(x, &self.head);
        let y = builder.scratch(moments.size, sizes.channels);
        let x = builder.rounded(moments).grid();
        let leave = Step::projection(x, self.leave, y.grid(), Then::Plain);
        builder.push(y.size.array(), leave);
        builder.finish(y)
    }
}

/// Half the rows and columns.
fn halve(builder: &mut Builder<'_>, x: Frames, matrix: usize) -> Frames {
    let pad = builder.pad(x.size, x.channels, [1, 1]);
    let copy = Step::Copy { x: x.grid(), y: pad.inside(), width: x.channels };
    builder.push(x.size.array(), copy);
    builder.wait();
    let size = Size { rows: x.size.rows / 2, columns: x.size.columns / 2, ..x.size };
    let y = builder.scratch(size, x.channels);
    builder.push(size.array(), Step::Product(pad.halved(matrix, y.grid())));
    builder.free(x);
    y
}
