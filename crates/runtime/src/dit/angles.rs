//! Angles of positions and timesteps.
//!
//! Method: Wan2.1 (arXiv 2503.20314); shot phase: ShotStream (arXiv 2603.25746), section 4.2.
//! Angles are f64; the phase `k·θ` is rounded to f32 first, as in the reference.

use shotstream_plan::layout::FrameSlot;

use super::Sizes;

/// Cosines, then sines, of falling frequencies.
pub(super) fn sinusoid(timestep: f32, width: usize) -> Vec<f32> {
    let half = width / 2;
    let angles = (0..half).map(|index| f64::from(timestep) * frequency(index, half));
    let (cos, sin) = (angles.clone().map(f64::cos), angles.map(f64::sin));
    cos.chain(sin).map(|value| value as f32).collect()
}

/// The `index`-th of `count` frequencies that fall geometrically from 1 towards 1/10000.
fn frequency(index: usize, count: usize) -> f64 {
    10_000f64.powf(-(index as f64) / count as f64)
}

/// Cosines and then sines of the pairs of a head, for every token of frames at `slots`: written to
/// `table`, `[L, H]`.
pub(super) fn rotation(
    sizes: &Sizes,
    slots: &[FrameSlot],
    [rows, columns]: [usize; 2],
    table: &mut [f32],
) {
    let width = sizes.heads().width;
    let pairs = width / 2;
    let space = pairs / 3;
    let time = pairs - 2 * space;
    let (first, rest) = table.split_at_mut((rows * columns * width).min(table.len()));
    let frames = std::iter::once(&mut *first).chain(rest.chunks_exact_mut(rows * columns * width));
    for (slot, frame) in slots.iter().zip(frames) {
        let phase = f64::from(slot.phase as f32 * sizes.shot_phase);
        let position = f64::from(slot.position);
        for token in frame.chunks_exact_mut(width) {
            let (cos, sin) = token.split_at_mut(pairs);
            for index in 0..time {
                let angle = position * frequency(index, time) + phase;
                (cos[index], sin[index]) = (angle.cos() as f32, angle.sin() as f32);
            }
        }
    }
    // Where a token is in its frame turns it alike in every frame.
    for (at, token) in first.chunks_exact_mut(width).enumerate() {
        let (cos, sin) = token.split_at_mut(pairs);
        for (axis, position) in [at / columns, at % columns].into_iter().enumerate() {
            for index in 0..space {
                let angle = position as f64 * frequency(index, space);
                let at = time + axis * space + index;
                (cos[at], sin[at]) = (angle.cos() as f32, angle.sin() as f32);
            }
        }
    }
    for frame in rest.chunks_exact_mut(rows * columns * width) {
        for (token, like) in frame.chunks_exact_mut(width).zip(first.chunks_exact(width)) {
            token[time..pairs].copy_from_slice(&like[time..pairs]);
            token[pairs + time..].copy_from_slice(&like[pairs + time..]);
        }
    }
}

/// Rows of a projection to heads of `width`, in the order that puts the two numbers of a pair half
/// a head apart.
pub(super) fn paired(heads: usize, width: usize) -> Vec<usize> {
    let head = |head: usize| {
        let even = (0..width / 2).map(move |pair| head * width + 2 * pair);
        even.clone().chain(even.map(|row| row + 1))
    };
    (0..heads).flat_map(head).collect()
}
