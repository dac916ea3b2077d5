//! Between pictures, channel by channel, and positions with all channels beside each other.

/// A picture `[3, H, W]` to positions `[H/p, W/p, 3·p²]`.
pub(super) fn fold(picture: &[f32], [height, width]: [usize; 2], side: usize, to: &mut [f32]) {
    let (columns, channels) = (width / side, 3 * side * side);
    for (line, values) in picture.chunks_exact(width).enumerate() {
        let [first, inside] = place(line, height, side, columns * channels);
        let positions = to[first..].chunks_exact_mut(channels);
        for (pixels, position) in values.chunks_exact(side).zip(positions) {
            for (column, &pixel) in pixels.iter().enumerate() {
                position[inside + column * side] = pixel;
            }
        }
    }
}

/// Positions `[H/p, W/p, 3·p²]` to a picture `[3, H, W]`, kept within −1 and 1.
pub(super) fn unfold(positions: &[f32], [height, width]: [usize; 2], side: usize, to: &mut [f32]) {
    let (columns, channels) = (width / side, 3 * side * side);
    for (line, values) in to.chunks_exact_mut(width).enumerate() {
        let [first, inside] = place(line, height, side, columns * channels);
        let positions = positions[first..].chunks_exact(channels);
        for (pixels, position) in values.chunks_exact_mut(side).zip(positions) {
            for (column, pixel) in pixels.iter_mut().enumerate() {
                *pixel = position[inside + column * side].clamp(-1.0, 1.0);
            }
        }
    }
}

/// Of a line of a picture: where the row of positions begins that holds it, and where in each of
/// these its first pixel is; the next one of a position is `side` further on.
fn place(line: usize, height: usize, side: usize, values_of_row: usize) -> [usize; 2] {
    let (channel, row) = (line / height, line % height);
    [row / side * values_of_row, channel * side * side + row % side]
}
