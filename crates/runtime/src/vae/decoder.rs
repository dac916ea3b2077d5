//! The decoder of a stream.

use std::sync::Arc;

use rayon::prelude::*;
use shotstream_engine::network::{self, Latents, NetworkError, Pixels};

use super::{
    Sizes,
    blocks::{Conv, Head, Middle, PARITIES, Residual, Weights},
    pads::{Pad, Size},
    picture,
    sections::{Builder, Frames, List},
};
use crate::{
    check,
    kernels::{DeviceError, Grid, Kernels, PageShape, Precision, Sight, Step, Then},
    memory::{Known, Plan, Shelf},
    weights::{Matrices, Names, Source, WeightsError},
};

/// The decoder of a VAE on a device.
#[derive(Debug)]
pub struct Decoder<K: Kernels> {
    kernels: K,
    sizes: Sizes,
    matrices: Matrices<K>,
    plan: Plan,
    network: Network,
    lists: Known<[usize; 2], Lists<K>>,
}

#[derive(Debug)]
struct Network {
    /// Pointwise, on the latents.
    enter: Conv,
    first: Conv,
    middle: Middle,
    stages: Vec<Stage>,
    head: Head,
}

/// One entry of the decoder's list.
#[derive(Debug)]
enum Stage {
    Residual(Residual),
    Upsample { time: Option<[usize; 2]>, space: [usize; 4] },
}

/// The lists of one size.
#[derive(Debug)]
struct Lists<K: Kernels> {
    constants: Vec<f32>,
    len: usize,
    input: usize,
    pads: Vec<Pad>,
    /// The first latent frame of a stream.
    first: List,
    /// One latent frame, two, and so on.
    later: Vec<List>,
    page: PageShape,
    memories: Shelf<Working<K>>,
}

/// The memory of a stream.
#[derive(Debug)]
struct Working<K: Kernels> {
    memory: K::Memory,
    pages: Vec<Arc<K::Page>>,
    latents: Vec<f32>,
    positions: Vec<f32>,
}

/// What a decoder remembers between the chunks of a shot: nothing before the first.
#[derive(Debug)]
pub struct State<K: Kernels>(Option<Stream<K>>);

/// A shot that has begun.
#[derive(Debug)]
struct Stream<K: Kernels> {
    lists: Arc<Lists<K>>,
    /// Taken when the stream ends.
    working: Option<Working<K>>,
}

impl<K: Kernels> Drop for Stream<K> {
    fn drop(&mut self) {
        self.working.take().into_iter().for_each(|working| self.lists.memories.put(working));
    }
}

impl<K: Kernels> Decoder<K> {
    /// Pack the weights of a source.
    ///
    /// # Errors
    /// When a tensor is missing or has another shape.
    pub fn new(kernels: K, sizes: Sizes, source: &dyn Source) -> Result<Self, WeightsError> {
        let names = Names::new(source);
        let (matrices, plan) = (Matrices::new(), Plan::new(kernels.precision()));
        let mut weights = Weights { kernels: &kernels, matrices, plan, time: 3 };
        let network = Network::new(&sizes, &names, &mut weights)?;
        let Weights { matrices, plan, .. } = weights;
        Ok(Self { kernels, sizes, matrices, plan, network, lists: Known::new() })
    }

    /// The lists of latent frames of `rows` and `columns`.
    fn make_lists(&self, [rows, columns]: [usize; 2]) -> Arc<Lists<K>> {
        let most = self.sizes.frames_at_once([rows, columns]);
        let size = |frames| Size { frames, rows, columns };
        let mut plan = self.plan.clone();
        let input = plan.room(size(most).positions() * self.sizes.channels);
        let mut pads = Vec::new();
        self.network.list(size(most), false, input, &mut plan.clone(), &mut pads);
        for pad in &mut pads {
            *pad = pad.at(plan.room(pad.len()));
        }
        let mut len = 0;
        let mut list = |frames, first| {
            let mut plan = plan.clone();
            let list = self.network.list(size(frames), first, input, &mut plan, &mut pads);
            len = len.max(plan.len());
            list
        };
        let first = list(1, true);
        let later = (1..=most).map(|frames| list(frames, false)).collect();
        let width = self.network.first.channels[1];
        let page = PageShape { tokens: rows * columns, layers: 1, heads: 1, width };
        let constants = plan.constants().to_vec();
        let memories = Shelf::new();
        Arc::new(Lists { constants, len, input, pads, first, later, page, memories })
    }

    /// Bytes of memory that a stream of latent frames of this size (rows, columns) takes.
    #[must_use]
    pub fn memory_bytes(&self, size: [usize; 2]) -> u64 {
        let lists = self.lists.get(size, || self.make_lists(size));
        (lists.len * size_of::<f32>()) as u64
    }

    /// The memory of a stream that begins.
    fn begin(&self, lists: &Lists<K>) -> Result<Working<K>, DeviceError> {
        let mut working = lists.memories.take(|| {
            let mut memory = self.kernels.memory(lists.len)?;
            self.kernels.upload(&mut memory, 0, &lists.constants)?;
            let page = |_| self.kernels.page(lists.page).map(Arc::new);
            let pages = lists.later.iter().map(page).collect::<Result<_, _>>()?;
            Ok(Working { memory, pages, latents: Vec::new(), positions: Vec::new() })
        })?;
        for pad in &lists.pads {
            self.kernels.clear(&mut working.memory, pad.before())?;
        }
        Ok(working)
    }

    /// Latent frames `[C, h, w]` to positions as the network wants them.
    fn enter(&self, latents: &[f32], [rows, columns]: [usize; 2], to: &mut Vec<f32>) {
        let Sizes { channels, mean, std, .. } = &self.sizes;
        to.resize(latents.len(), 0.0);
        let area = rows * columns;
        let frames = latents.chunks_exact(channels * area);
        for (frame, to) in frames.zip(to.chunks_exact_mut(channels * area)) {
            for (channel, values) in frame.chunks_exact(area).enumerate() {
                for (position, value) in values.iter().enumerate() {
                    to[position * channels + channel] = value * std[channel] + mean[channel];
                }
            }
        }
    }

    /// Run a list on latent frames; its pictures are appended to `pixels`.
    fn run(
        &self,
        lists: &Lists<K>,
        list: &List,
        latents: &[f32],
        working: &mut Working<K>,
        pixels: &mut Vec<f32>,
    ) -> Result<(), DeviceError> {
        let Working { memory, pages, positions, .. } = working;
        self.kernels.upload(memory, lists.input, latents)?;
        let sight = Sight { own: pages, ..Sight::nothing() };
        rayon::scope(|_| self.kernels.run(&list.sections, &self.matrices.packed, memory, sight))?;
        for (pad, frames) in &list.used {
            if pad.past > 0 {
                self.kernels.shift(memory, pad.last(*frames), pad.before().start)?;
            }
        }
        let Frames { start, size, channels, .. } = list.output;
        positions.resize(size.positions() * channels, 0.0);
        self.kernels.download(memory, start..start + positions.len(), positions)?;
        let side = self.sizes.patch;
        let picture = [size.rows * side, size.columns * side];
        let area = 3 * picture[0] * picture[1];
        let first = pixels.len();
        pixels.resize(first + size.frames * area, 0.0);
        let frames = positions.par_chunks_exact(size.rows * size.columns * channels);
        let pixels = pixels[first..].par_chunks_exact_mut(area);
        frames.zip(pixels).for_each(|(positions, to)| {
            picture::unfold(positions, picture, side, to);
        });
        Ok(())
    }
}

impl<K: Kernels> network::Decoder for Decoder<K> {
    type Latents = Latents;
    type State = State<K>;

    fn start(&self) -> State<K> {
        State(None)
    }

    fn decode(&self, state: &mut State<K>, latents: &Latents) -> Result<Pixels, NetworkError> {
        let found = latents.shape;
        let [frames, _, rows, columns] = found;
        let channels = self.sizes.channels;
        check("clean latents", &[frames.max(1), channels, rows, columns], &found)?;
        check("the values of latents", &[found.iter().product()], &[latents.data.len()])?;
        let area = channels * rows * columns;
        let begins = state.0.is_none();
        if begins {
            let size = [rows, columns];
            let lists = self.lists.get(size, || self.make_lists(size));
            let working = Some(self.begin(&lists)?);
            state.0 = Some(Stream { lists, working });
        }
        let Some(Stream { lists, working }) = &mut state.0 else {
            unreachable!("a state that began has a stream")
        };
        let Some(working) = working else { unreachable!("a state that began has its memory") };
        let mut entered = std::mem::take(&mut working.latents);
        self.enter(&latents.data, [rows, columns], &mut entered);
        let stride = self.sizes.stride();
        let (height, width) = (rows * stride, columns * stride);
        let time = 1 << self.sizes.halves_time.iter().filter(|&&halves| halves).count();
        let count = if begins { 1 + time * (frames - 1) } else { time * frames };
        let mut pixels = Vec::with_capacity(count * 3 * height * width);
        let mut rest = &entered[..];
        if begins {
            let (first, later) = rest.split_at(area);
            self.run(lists, &lists.first, first, working, &mut pixels)?;
            rest = later;
        }
        for latents in rest.chunks(lists.later.len() * area) {
            let list = &lists.later[latents.len() / area - 1];
            self.run(lists, list, latents, working, &mut pixels)?;
        }
        working.latents = entered;
        Ok(Pixels { shape: [count, 3, height, width], data: pixels })
    }
}

impl Network {
    fn new<K: Kernels>(
        sizes: &Sizes,
        names: &Names<'_>,
        weights: &mut Weights<'_, K>,
    ) -> Result<Self, WeightsError> {
        let Sizes { channels: latent, .. } = *sizes;
        let widths = sizes.widths(sizes.dims[1]);
        let deepest = widths[widths.len() - 1];
        let decoder = names.under("decoder");
        let enter = weights.conv(&names.under("conv2"), [latent; 2], [1, 1])?;
        let first = weights.conv(&decoder.under("conv1"), [latent, deepest], [3, 3])?;
        let middle = weights.middle(&decoder.under("middle"), deepest)?;
        let (mut stages, mut channels) = (Vec::new(), deepest);
        for (stage, &width) in widths.iter().enumerate().rev() {
            for _ in 0..=sizes.num_res_blocks {
                let names = decoder.under("upsamples").under(stages.len());
                let block = weights.residual(&names, [channels, width])?;
                stages.push(Stage::Residual(block));
                channels = width;
            }
            if stage > 0 {
                let names = decoder.under("upsamples").under(stages.len());
                let time = match sizes.halves_time[stage - 1] {
                    true => Some(weights.time_doubling(&names.under("time_conv"), width)?),
                    false => None,
                };
                let space = weights.doubling(&names.under("resample.1"), width)?;
                stages.push(Stage::Upsample { time, space });
                channels = width / 2;
            }
        }
        let head = weights.head(&decoder.under("head"), [channels, sizes.picture()])?;
        Ok(Self { enter, first, middle, stages, head })
    }

    /// The list for latent frames of this size, whether they are the first of a stream or not.
    fn list(
        &self,
        size: Size,
        first: bool,
        input: usize,
        plan: &mut Plan,
        pads: &mut Vec<Pad>,
    ) -> List {
        let mut builder = Builder::new(plan, pads);
        let Conv { time, margin, channels: [latent, _], .. } = self.first;
        let pad = builder.pad(size, latent, [time, margin]);
        let input = Frames { start: input, size, channels: latent, precision: Precision::F32 };
        let x = builder.rounded(input).grid();
        let enter = Step::projection(x, self.enter.matrix, pad.inside(), Then::Plain);
        builder.push(size.array(), enter);
        let x = builder.convolve(pad, self.first, size);
        let mut x = builder.middle(x, &self.middle);
        for stage in &self.stages {
            x = match stage {
                Stage::Residual(block) => builder.residual(x, block),
                Stage::Upsample { time, space } => {
                    if let Some(matrices) = time {
                        x = double_time(&mut builder, x, *matrices, first);
                    }
                    double_space(&mut builder, x, *space)
                }
            };
        }
        let output = builder.head(x, &self.head);
        builder.finish(output)
    }
}

/// Two frames of every frame, but of the first of a stream.
fn double_time(builder: &mut Builder<'_>, x: Frames, matrices: [usize; 2], first: bool) -> Frames {
    if first {
        builder.pass_over();
        return x;
    }
    let pad = builder.pad(x.size, x.channels, [3, 0]);
    let copy = Step::Copy { x: x.grid(), y: pad.inside(), width: x.channels };
    builder.push(x.size.array(), copy);
    builder.wait();
    let y = builder.scratch(Size { frames: 2 * x.size.frames, ..x.size }, x.channels);
    let grid = y.grid();
    let [frame, row, column] = grid.strides;
    for (parity, matrix) in matrices.into_iter().enumerate() {
        let y = Grid { strides: [2 * frame, row, column], ..grid }.shifted(parity * frame);
        builder.push(x.size.array(), Step::Product(pad.same(3, matrix, y, Then::Plain)));
    }
    builder.free(x);
    y
}

/// Twice the rows and columns, at half the channels.
fn double_space(builder: &mut Builder<'_>, x: Frames, matrices: [usize; 4]) -> Frames {
    let pad = builder.pad(x.size, x.channels, [1, 1]);
    let copy = Step::Copy { x: x.grid(), y: pad.inside(), width: x.channels };
    builder.push(x.size.array(), copy);
    builder.wait();
    let size = Size { rows: 2 * x.size.rows, columns: 2 * x.size.columns, ..x.size };
    let y = builder.scratch(size, x.channels / 2);
    for (parity, matrix) in PARITIES.into_iter().zip(matrices) {
        let product = pad.doubled(parity, matrix, y.grid());
        builder.push(x.size.array(), Step::Product(product));
    }
    builder.free(x);
    y
}
