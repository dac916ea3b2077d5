//! Three-axis rotary positions with the shot phase.
//!
//! A head is a row of complex numbers, its even and odd entries the real and imaginary parts. Time,
//! height and width own a share of them each, with a ladder of frequencies that starts anew at 1.
//! A shot turns all numbers of the time share by the same further angle, its phase times θ, so
//! frames at equal positions of different shots stay apart. Only differences of positions and
//! phases reach the attention scores.
//!
//! | letter | means | Wan2.1-1.3B at 480p |
//! |---|---|---|
//! | `B` | clips | 1 |
//! | `F` | latent frames | 3 |
//! | `L` | tokens | 4 680 |
//! | `N` | heads | 12 |
//! | `H` | width of one head | 128 |
//!
//! Method: Wan2.1 (arXiv 2503.20314); shot phase: ShotStream (arXiv 2603.25746), section 4.2.
//! Angles are f64; the phase `k·θ` is rounded to f32 first, as in the reference.

use burn::tensor::{Device, Tensor, TensorData};
use shotstream_plan::layout::FrameSlot;

use super::DitConfig;
use super::embedding::frequency;

/// Cosines and sines for every token of a pass, `[L, H]` each: those of a pair stand side by side,
/// the cosine twice, the sine negated and plain.
#[derive(Clone, Debug)]
pub(super) struct Rope {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Rope {
    /// The rotation of frames at `slots`, each a `grid` of rows and columns of tokens.
    pub(super) fn new(
        config: &DitConfig,
        slots: &[FrameSlot],
        grid: [usize; 2],
        device: &Device,
    ) -> Self {
        let angles = token_angles(config, slots, grid);
        let shape = [angles.len() * 2 / config.head_dim(), config.head_dim()];
        let cos = angles.iter().flat_map(|angle| [angle.cos() as f32; 2]);
        let sin = angles.iter().flat_map(|angle| [-angle.sin() as f32, angle.sin() as f32]);
        let [cos, sin] = [cos.collect::<Vec<_>>(), sin.collect()]
            .map(|values| Tensor::from_data(TensorData::new(values, shape), device));
        Self { cos, sin }
    }

    /// The same outside any graph.
    pub(super) fn constant(&self) -> Self {
        Self { cos: self.cos.clone().inner(), sin: self.sin.clone().inner() }
    }

    /// Cosines and sines, `[L, H]` each.
    pub(super) fn table(&self) -> [Tensor<2>; 2] {
        [self.cos.clone(), self.sin.clone()]
    }
}

/// Angle of every complex number of every token, frame by frame, row by row.
fn token_angles(config: &DitConfig, slots: &[FrameSlot], [rows, columns]: [usize; 2]) -> Vec<f64> {
    let pairs = config.head_dim() / 2;
    let space = pairs / 3;
    let time = pairs - 2 * space;
    let axis = |position: usize, phase: f64, count: usize| {
        (0..count).map(move |m| position as f64 * frequency(m, count) + phase)
    };
    let mut angles = Vec::with_capacity(slots.len() * rows * columns * pairs);
    for slot in slots {
        let phase = f64::from(slot.phase as f32 * config.shot_phase);
        for row in 0..rows {
            for column in 0..columns {
                angles.extend(axis(slot.position as usize, phase, time));
                angles.extend(axis(row, 0.0, space));
                angles.extend(axis(column, 0.0, space));
            }
        }
    }
    angles
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of the reference implementation.
    #[test]
    fn a_unit_head_turns_by_position_row_column_and_phase() {
        let config = DitConfig::wan_1_3b();
        let device = Device::flex();
        let slot = FrameSlot { position: 7, phase: 2, caption: 0 };
        let rope = Rope::new(&config, &[slot], [2, 2], &device);
        let [cos, sin] = rope
            .table()
            .map(|table| table.narrow(0, 3, 1).into_data().try_into_vec::<f32>().unwrap());
        for (entry, expected) in [
            (0, [0.497_442_632, 0.867_496_875]),
            (2, [0.224_545_826, -0.974_463_53]),
            (42, [0.944_608_293, 0.328_199_896]),
            (44, [0.540_302_306, 0.841_470_985]),
            (46, [0.799_131_823, 0.601_155_827]),
            (86, [0.540_302_306, 0.841_470_985]),
            (126, [0.999_999_988, 0.000_155_052]),
        ] {
            for (got, expected) in [cos[entry], sin[entry + 1]].iter().zip(expected) {
                assert!((f64::from(*got) - expected).abs() < 1e-7, "entry {entry}: {got}");
            }
        }
    }
}
