//! Between pictures, channel by channel, and positions with all channels beside each other.

/// A picture `[3, H, W]` to positions `[H/p, W/p, 3·p²]`.
pub(super) fn fold(picture: &[f32], [height, width]: [usize; 2], side: usize, to: &mut [f32]) {
    let (columns, channels) = (width / side, 3 * side * side);
    for (at, &value) in picture.iter().enumerate() {
        let (channel, row, column) = (at / (height * width), at / width % height, at % width);
        let position = row / side * columns + column / side;
        let inside = (channel * side + column % side) * side + row % side;
        to[position * channels + inside] = value;
    }
}

/// Positions `[H/p, W/p, 3·p²]` to a picture `[3, H, W]`, kept within −1 and 1.
pub(super) fn unfold(positions: &[f32], [height, width]: [usize; 2], side: usize, to: &mut [f32]) {
    let (columns, channels) = (width / side, 3 * side * side);
    for (line, values) in to.chunks_exact_mut(width).enumerate() {
        let (channel, row) = (line / height, line % height);
        let first = row / side * columns;
        for (column, value) in values.iter_mut().enumerate() {
            let inside = (channel * side + column % side) * side + row % side;
            let position = first + column / side;
            *value = positions[position * channels + inside].clamp(-1.0, 1.0);
        }
    }
}
