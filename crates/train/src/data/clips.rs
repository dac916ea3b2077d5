//! The shots of a table's story as frames of the model's size.
//!
//! Frames are taken as they are stored, whatever the video's rate. Every range addresses its own
//! frames of the video: what lies in a gap between two ranges belongs to no shot. A range behind the
//! end of the video is an error, not a shorter shot.

use std::{ops::Range, path::Path};

use shotstream_media::{Frame, video::Video};

use crate::data::table::{RangeError, Refusal, Row};

/// The frames of every shot: the beginnings `cut` of the row's ranges, at `[height, width]`.
///
/// # Errors
/// If the video cannot be read or ends too early.
pub fn read_shots(
    row: &Row,
    cut: &[Range<usize>],
    picture: [usize; 2],
) -> Result<Vec<Vec<Frame>>, Refusal> {
    let refuse = |reason: String| Refusal { row: row.number, reason, path: row.video.clone() };
    let told = |error: shotstream_media::MediaError| refuse(without_place(&error, &row.video));
    let [height, width] = picture;
    let mut video = Video::open(&row.video).map_err(told)?;
    let mut shots: Vec<Vec<Frame>> =
        cut.iter().map(|range| Vec::with_capacity(range.len())).collect();
    let end = row.ranges.last().map_or(0, |range| range.end);
    let mut found = 0;
    for frame in video.frames().map_err(told)?.take(end) {
        let frame = frame.map_err(told)?;
        let at = cut.iter().position(|range| range.contains(&found));
        if let Some(shot) = at {
            shots[shot].push(frame.resized(width, height).map_err(told)?);
        }
        found += 1;
    }
    match row.ranges.iter().zip(1..).find(|(range, _)| found < range.end) {
        Some((range, number)) => {
            let error = RangeError::PastEnd { range: number, end: range.end, found };
            Err(refuse(error.to_string()))
        }
        None => Ok(shots),
    }
}

/// An error without the path at its end, which a refusal names itself.
fn without_place(error: &shotstream_media::MediaError, path: &Path) -> String {
    let text = error.to_string();
    text.strip_suffix(&format!(": {}", path.display())).unwrap_or(&text).to_owned()
}
