//! `Frame`: one RGB picture, eight bits a channel.

/// One picture of a film: rows from the top, pixels from the left, three bytes (R, G, B) each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `height * width * 3` bytes.
    pub rgb: Vec<u8>,
}
