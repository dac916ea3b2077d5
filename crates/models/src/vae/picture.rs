//! Squares of pixels folded into channels and back.
//!
//! | letter | means |
//! |---|---|
//! | `B` | clips |
//! | `T` | frames |
//! | `C` | channels |
//! | `H`, `W` | height, width |
//! | `p` | side of the square |
//!
//! Outside this crate a clip is channel-major, inside it is frame-major; both orders change here.
//! Folded channels are ordered colour, column, row, as in Wan 2.2.

use burn::tensor::Tensor;

/// `[B, C, T, H, W]` to `[B, T, C·p², H/p, W/p]`.
pub(super) fn fold(video: Tensor<5>, side: usize) -> Tensor<5> {
    let [batch, channels, num_frames, height, width] = video.dims();
    let [rows, columns] = [height / side, width / side];
    assert!(
        rows * side == height && columns * side == width,
        "a picture of {height} x {width} does not divide into squares of {side}"
    );
    let squares: Tensor<7> =
        video.reshape([batch, channels, num_frames, rows, side, columns, side]);
    squares.permute([0, 2, 1, 6, 4, 3, 5]).reshape([
        batch,
        num_frames,
        channels * side * side,
        rows,
        columns,
    ])
}

/// `[B, T, C·p², H, W]` to `[B, C, T, H·p, W·p]`.
pub(super) fn unfold(frames: Tensor<5>, side: usize) -> Tensor<5> {
    let [batch, num_frames, folded, rows, columns] = frames.dims();
    let channels = folded / (side * side);
    let squares: Tensor<7> =
        frames.reshape([batch, num_frames, channels, side, side, rows, columns]);
    squares.permute([0, 2, 1, 5, 4, 6, 3]).reshape([
        batch,
        channels,
        num_frames,
        rows * side,
        columns * side,
    ])
}
