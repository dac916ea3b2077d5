//! Weights of the VAE's parts, on their way into a device.

use crate::{
    kernels::{DeviceError, Kernels, Meets},
    memory::Plan,
    weights::{Linear, Matrices, Names, WeightsError},
};

/// Weights on their way into a device.
pub(super) struct Weights<'a, K: Kernels> {
    pub(super) kernels: &'a K,
    pub(super) matrices: Matrices<K>,
    pub(super) plan: Plan,
    /// Taps in time that there is something behind: three in a stream, one in a single frame.
    pub(super) time: usize,
}

/// A convolution: the index of its matrix, and taps in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conv {
    pub(super) matrix: usize,
    pub(super) time: usize,
    pub(super) channels: [usize; 2],
    /// Positions on each side.
    pub(super) margin: usize,
}

/// A tensor `[O, C, time, rows, columns]` as `[O, taps, C]` from the `first` tap in time on.
fn by_taps(weight: &[f32], shape: [usize; 5], first: usize) -> Vec<f32> {
    let [outputs, channels, time, rows, columns] = shape;
    let area = rows * columns;
    let mut taps = Vec::with_capacity(outputs * channels * (time - first) * area);
    for output in 0..outputs {
        for tap in first * area..time * area {
            let of = |channel: usize| weight[(output * channels + channel) * time * area + tap];
            taps.extend((0..channels).map(of));
        }
    }
    taps
}

impl<K: Kernels> Weights<'_, K> {
    fn add(
        &mut self,
        weight: Vec<f32>,
        offset: Vec<f32>,
        meets: Meets,
    ) -> Result<usize, DeviceError> {
        self.matrices.add_taps(self.kernels, &Linear { weight, offset }, meets)
    }

    /// A causal convolution of `[time, side]` taps.
    pub(super) fn conv(
        &mut self,
        names: &Names<'_>,
        channels: [usize; 2],
        [time, side]: [usize; 2],
    ) -> Result<Conv, WeightsError> {
        let [from, to] = channels;
        let shape = [to, from, time, side, side];
        let weight = names.tensor("weight", &shape)?;
        let offset = names.tensor("bias", &[to])?;
        let seen = time.min(self.time);
        let meets = if side == 3 { Meets::Squares(from) } else { Meets::Positions(from) };
        let matrix = self.add(by_taps(&weight, shape, time - seen), offset, meets)?;
        Ok(Conv { matrix, time: seen, channels, margin: side / 2 })
    }

    /// A projection of every position, stored as a convolution of one frame.
    fn pointwise(
        &mut self,
        names: &Names<'_>,
        [from, to]: [usize; 2],
    ) -> Result<usize, WeightsError> {
        let weight = names.tensor("weight", &[to, from, 1, 1])?;
        let offset = names.tensor("bias", &[to])?;
        Ok(self.add(weight, offset, Meets::Positions(from))?)
    }

    /// A convolution of 3 x 3 that halves the picture.
    pub(super) fn halving(
        &mut self,
        names: &Names<'_>,
        channels: usize,
    ) -> Result<usize, WeightsError> {
        let weight = names.tensor("weight", &[channels, channels, 3, 3])?;
        let offset = names.tensor("bias", &[channels])?;
        let taps = by_taps(&weight, [channels, channels, 1, 3, 3], 0);
        Ok(self.add(taps, offset, Meets::Positions(channels))?)
    }

    /// A convolution of 3 x 3 over a doubled picture: one of 2 x 2 for every parity, whose weights
    /// are sums of those that meet the same position.
    pub(super) fn doubling(
        &mut self,
        names: &Names<'_>,
        channels: usize,
    ) -> Result<[usize; 4], WeightsError> {
        let half = channels / 2;
        let weight = names.tensor("weight", &[half, channels, 3, 3])?;
        let offset = names.tensor("bias", &[half])?;
        let meet = |parity: usize, near: usize| match (parity, near) {
            (0, 0) => 0..1,
            (0, _) => 1..3,
            (_, 0) => 0..2,
            _ => 2..3,
        };
        let mut parity = |[odd_row, odd_column]: [usize; 2]| {
            let mut sums = Vec::with_capacity(half * channels * 4);
            for kernel in weight.chunks_exact(channels * 9) {
                for near in [[0, 0], [0, 1], [1, 0], [1, 1]] {
                    for kernel in kernel.chunks_exact(9) {
                        let rows = meet(odd_row, near[0]);
                        let sum: f32 = rows
                            .flat_map(|row| {
                                meet(odd_column, near[1]).map(move |column| [row, column])
                            })
                            .map(|[row, column]| kernel[3 * row + column])
                            .sum();
                        sums.push(sum);
                    }
                }
            }
            self.add(sums, offset.clone(), Meets::Positions(channels))
        };
        let [a, b, c, d] = PARITIES.map(&mut parity);
        Ok([a?, b?, c?, d?])
    }

    /// Two frames of one: three taps in time, once for each of the two.
    pub(super) fn time_doubling(
        &mut self,
        names: &Names<'_>,
        channels: usize,
    ) -> Result<[usize; 2], WeightsError> {
        let shape = [2 * channels, channels, 3, 1, 1];
        let weight = by_taps(&names.tensor("weight", &shape)?, shape, 0);
        let offset = names.tensor("bias", &[2 * channels])?;
        let (first, second) = weight.split_at(weight.len() / 2);
        let (before, after) = offset.split_at(channels);
        let [first, second] = [(first, before), (second, after)].map(|(weight, offset)| {
            self.add(weight.to_vec(), offset.to_vec(), Meets::Positions(channels))
        });
        Ok([first?, second?])
    }

    /// The gains of a norm, stored with `ones` axes of one behind the channels.
    fn gain(
        &mut self,
        names: &Names<'_>,
        channels: usize,
        ones: usize,
    ) -> Result<usize, WeightsError> {
        let mut shape = vec![channels];
        shape.resize(1 + ones, 1);
        Ok(self.plan.constant(&names.tensor("gamma", &shape)?))
    }

    pub(super) fn residual(
        &mut self,
        names: &Names<'_>,
        channels: [usize; 2],
    ) -> Result<Residual, WeightsError> {
        let [from, to] = channels;
        let inner = names.under("residual");
        Ok(Residual {
            norms: [self.gain(&inner.under(0), from, 3)?, self.gain(&inner.under(3), to, 3)?],
            convs: [
                self.conv(&inner.under(2), channels, [3, 3])?,
                self.conv(&inner.under(6), [to, to], [3, 3])?,
            ],
            shortcut: match from == to {
                true => None,
                false => Some(self.conv(&names.under("shortcut"), channels, [1, 1])?.matrix),
            },
        })
    }

    pub(super) fn middle(
        &mut self,
        names: &Names<'_>,
        channels: usize,
    ) -> Result<Middle, WeightsError> {
        self.kernels.check_head(channels)?;
        let look = names.under(1);
        Ok(Middle {
            first: self.residual(&names.under(0), [channels; 2])?,
            norm: self.gain(&look.under("norm"), channels, 2)?,
            query_key_value: self.pointwise(&look.under("to_qkv"), [channels, 3 * channels])?,
            project: self.pointwise(&look.under("proj"), [channels; 2])?,
            last: self.residual(&names.under(2), [channels; 2])?,
        })
    }

    pub(super) fn head(
        &mut self,
        names: &Names<'_>,
        channels: [usize; 2],
    ) -> Result<Head, WeightsError> {
        Ok(Head {
            norm: self.gain(&names.under(0), channels[0], 3)?,
            conv: self.conv(&names.under(2), channels, [3, 3])?,
        })
    }
}

/// Parities of rows and columns.
pub(super) const PARITIES: [[usize; 2]; 4] = [[0, 0], [0, 1], [1, 0], [1, 1]];

/// Two normalised, activated convolutions around a shortcut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Residual {
    pub(super) norms: [usize; 2],
    pub(super) convs: [Conv; 2],
    pub(super) shortcut: Option<usize>,
}

/// Two residual blocks around an attention inside each frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Middle {
    pub(super) first: Residual,
    pub(super) norm: usize,
    pub(super) query_key_value: usize,
    pub(super) project: usize,
    pub(super) last: Residual,
}

/// A normalised, activated convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) norm: usize,
    pub(super) conv: Conv,
}
