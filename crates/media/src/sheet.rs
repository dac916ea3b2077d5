//! Many frames on one picture, for people who want to see a film at a glance.

use crate::frame::Frame;

/// The colour between the frames of a contact sheet.
const GAP_COLOUR: [u8; 3] = [24, 24, 28];

/// Lay frames out row by row, `columns` to a row, with `gap` pixels between and around them.
///
/// Cells are as large as the largest frame; smaller ones stand at the top left of theirs. No
/// frames give an empty picture.
pub fn contact_sheet(frames: &[Frame], columns: usize, gap: usize) -> Frame {
    let columns = columns.clamp(1, frames.len().max(1));
    let rows = frames.len().div_ceil(columns);
    if rows == 0 {
        return Frame { width: 0, height: 0, rgb: Vec::new() };
    }
    let cell_width = frames.iter().map(|frame| frame.width).max().unwrap_or(0);
    let cell_height = frames.iter().map(|frame| frame.height).max().unwrap_or(0);
    let width = gap + columns * (cell_width + gap);
    let height = gap + rows * (cell_height + gap);
    let mut sheet = Frame::filled(width, height, GAP_COLOUR);
    for (index, frame) in frames.iter().enumerate() {
        let left = gap + index % columns * (cell_width + gap);
        let top = gap + index / columns * (cell_height + gap);
        paste(&mut sheet, frame, left, top);
    }
    sheet
}

/// Copy `frame` onto `sheet` with its top left corner at (`left`, `top`).
pub(crate) fn paste(sheet: &mut Frame, frame: &Frame, left: usize, top: usize) {
    let row_bytes = frame.width * 3;
    if row_bytes == 0 {
        return;
    }
    for (row, bytes) in frame.rgb.chunks_exact(row_bytes).enumerate() {
        let start = ((top + row) * sheet.width + left) * 3;
        sheet.rgb[start..start + row_bytes].copy_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_of_a_contact_sheet_stands_in_its_own_cell() {
        let frames: Vec<_> = (1..=5).map(|k| Frame::filled(4, 2, [k * 40; 3])).collect();
        let sheet = contact_sheet(&frames, 3, 1);
        assert_eq!([sheet.width, sheet.height], [1 + 3 * 5, 1 + 2 * 3]);
        sheet.check().unwrap();
        for (index, frame) in frames.iter().enumerate() {
            let (left, top) = (1 + index % 3 * 5, 1 + index / 3 * 3);
            assert_eq!(sheet.pixel(left, top), frame.pixel(0, 0));
            assert_eq!(sheet.pixel(left + 3, top + 1), frame.pixel(3, 1));
        }
        assert_eq!(sheet.pixel(0, 0), GAP_COLOUR);
        assert_eq!(sheet.pixel(15, 6), GAP_COLOUR);
    }

    #[test]
    fn no_frames_make_an_empty_sheet() {
        assert_eq!(contact_sheet(&[], 4, 2).rgb.len(), 0);
    }
}
