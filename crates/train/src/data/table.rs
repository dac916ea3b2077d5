//! The reference's layout of a data set: a CSV that names, for every story, a JSON with its
//! captions, a video, and the frames of the video that are its shots.
//!
//! ```text
//! json_path,video_path,frame_number
//! a.json,a.mp4,"[[0,81],[81,162]]"
//! ```
//!
//! `frame_number` lists half-open ranges, one a shot. Other columns are not read. A row that makes
//! no sense is kept as a [`Refusal`], so that the others keep their numbers.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use shotstream_plan::{
    geometry::{Geometry, LatentFrames},
    recipe::Recipe,
    script::{Format, Script},
};
use thiserror::Error;

use crate::{error::TrainError, fingerprint::hex};

/// Columns that are read.
const COLUMNS: [&str; 3] = ["json_path", "video_path", "frame_number"];

/// A data set as its owner wrote it down.
#[derive(Clone, Debug)]
pub struct Table {
    /// Hash of its content.
    pub sha256: String,
    /// Its rows, in order.
    pub rows: Vec<Result<Row, Refusal>>,
}

/// A story of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Number of the row, from 1, without the header.
    pub number: usize,
    /// The video as the table names it.
    pub source: String,
    /// Where the video is.
    pub video: PathBuf,
    /// Where the captions are.
    pub captions: PathBuf,
    /// Frames of the video, one range a shot.
    pub ranges: Vec<Range<usize>>,
}

/// A story that cannot be learnt from.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("row {row}: {reason}: {}", path.display())]
pub struct Refusal {
    /// Number of the row, from 1, without the header.
    pub row: usize,
    /// What was expected and what came.
    pub reason: String,
    /// The file at fault.
    pub path: PathBuf,
}

/// Ranges of frames that do not say what the shots are.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RangeError {
    /// Not a list of pairs.
    #[error("frame_number is {found:?}, expected ranges such as [[0, 81], [81, 162]]")]
    Unreadable {
        /// What stands there.
        found: String,
    },
    /// A range without a frame.
    #[error("range {range}, [{start}, {end}), is empty")]
    Empty {
        /// Number of the range, from 1.
        range: usize,
        /// Its first frame.
        start: usize,
        /// The frame behind its last.
        end: usize,
    },
    /// A frame of two shots.
    #[error("range {range} begins with frame {start}, the one before it ends at {end}")]
    Overlap {
        /// Number of the range, from 1.
        range: usize,
        /// Its first frame.
        start: usize,
        /// Where the one before it ends.
        end: usize,
    },
    /// Fewer frames than the model can learn from.
    #[error("shot {shot} has {found} frames, expected at least {least}")]
    Short {
        /// Number of the shot, from 1.
        shot: usize,
        /// Frames of its range.
        found: usize,
        /// Frames of one chunk.
        least: usize,
    },
    /// As many ranges as captions are needed.
    #[error("{ranges} ranges but {captions} captions, expected one of each for every shot")]
    Counts {
        /// Ranges in the table.
        ranges: usize,
        /// Captions in the JSON.
        captions: usize,
    },
    /// A range behind the end of the video.
    #[error("range {range} ends at frame {end}, the video has {found} frames")]
    PastEnd {
        /// Number of the range, from 1.
        range: usize,
        /// The frame behind its last.
        end: usize,
        /// Frames of the video.
        found: usize,
    },
}

impl Table {
    /// Read a table whose paths start at `root`, or at its own folder.
    ///
    /// # Errors
    /// If the file cannot be read, or lacks a column or every row.
    pub fn read(path: &Path, root: Option<&Path>) -> Result<Self, TrainError> {
        let bytes =
            std::fs::read(path).map_err(|source| TrainError::Read { source, path: path.into() })?;
        let refuse = |reason: String| TrainError::Stored { reason, path: path.to_owned() };
        let root = root.or(path.parent()).unwrap_or(Path::new(""));
        let mut reader = csv::Reader::from_reader(bytes.as_slice());
        let header = reader.headers().map_err(|error| refuse(error.to_string()))?.clone();
        let mut places = [0; COLUMNS.len()];
        for (place, column) in places.iter_mut().zip(COLUMNS) {
            *place = header.iter().position(|name| name.trim() == column).ok_or_else(|| {
                refuse(format!("the table has no column {column}, expected {COLUMNS:?}"))
            })?;
        }
        let rows = reader.records().zip(1..).map(|(record, number)| {
            let refuse = |reason: String| Refusal { row: number, reason, path: path.to_owned() };
            let record = record.map_err(|error| refuse(error.to_string()))?;
            let [captions, video, ranges] = places.map(|place| record[place].trim());
            for (value, column) in [(captions, COLUMNS[0]), (video, COLUMNS[1])] {
                if value.is_empty() {
                    return Err(refuse(format!("{column} is empty")));
                }
            }
            Ok(Row {
                number,
                source: video.to_owned(),
                video: root.join(video),
                captions: root.join(captions),
                ranges: parse_ranges(ranges).map_err(|error| refuse(error.to_string()))?,
            })
        });
        let rows: Vec<_> = rows.collect();
        if rows.is_empty() {
            return Err(refuse("the table has no rows".into()));
        }
        Ok(Self { sha256: hex(Sha256::new_with_prefix(&bytes)), rows })
    }
}

impl Row {
    /// What the row's shots are told, and which frames are learnt from, for a model of this recipe
    /// and shots of at most `longest` frames.
    ///
    /// # Errors
    /// If the captions cannot be read, are not as many as the ranges, or a shot is too short.
    pub fn resolve(
        &self,
        recipe: &Recipe,
        longest: usize,
    ) -> Result<(Script, Vec<Range<usize>>), Refusal> {
        let refuse = |reason: String, path: &Path| Refusal {
            row: self.number,
            reason,
            path: path.to_owned(),
        };
        let text = std::fs::read_to_string(&self.captions)
            .map_err(|error| refuse(error.to_string(), &self.captions))?;
        let script = Script::parse(&text, Format::of(&self.captions, &text), recipe)
            .map_err(|error| refuse(error.to_string(), &self.captions))?;
        let (ranges, captions) = (self.ranges.len(), script.shots.len());
        if ranges != captions {
            let reason = RangeError::Counts { ranges, captions }.to_string();
            return Err(refuse(reason, &self.captions));
        }
        let cut = cut_ranges(&self.ranges, recipe.geometry(), longest)
            .map_err(|error| refuse(error.to_string(), &self.video))?;
        Ok((script, cut))
    }
}

/// Half-open ranges as Python writes them, in order and without overlaps; gaps belong to no shot.
///
/// # Errors
/// If they are not that.
pub fn parse_ranges(text: &str) -> Result<Vec<Range<usize>>, RangeError> {
    let list = text.replace('(', "[").replace(')', "]");
    let unreadable = || RangeError::Unreadable { found: text.to_owned() };
    let pairs: Vec<[usize; 2]> = serde_json::from_str(&list).map_err(|_| unreadable())?;
    if pairs.is_empty() {
        return Err(unreadable());
    }
    let mut last = 0;
    for (&[start, end], range) in pairs.iter().zip(1..) {
        if end <= start {
            return Err(RangeError::Empty { range, start, end });
        }
        if start < last {
            return Err(RangeError::Overlap { range, start, end: last });
        }
        last = end;
    }
    Ok(pairs.into_iter().map(|[start, end]| start..end).collect())
}

/// The beginning of every range: as many whole chunks as it and `longest` have room for.
///
/// # Errors
/// If a range has no room for one.
pub fn cut_ranges(
    ranges: &[Range<usize>],
    geometry: &Geometry,
    longest: usize,
) -> Result<Vec<Range<usize>>, RangeError> {
    let cut = |(range, shot): (&Range<usize>, usize)| {
        let found = range.len();
        let latents = LatentFrames(1 + (found.min(longest) - 1) / geometry.vae_stride[0]);
        match latents.0 / geometry.chunk.0 {
            0 => {
                let least = geometry.shot_from_chunks(1).0;
                Err(RangeError::Short { shot, found, least })
            }
            chunks => Ok(range.start..range.start + geometry.shot_from_chunks(chunks).0),
        }
    };
    ranges.iter().zip(1..).map(cut).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use shotstream_plan::geometry::PixelFrames;

    use super::*;

    #[test]
    fn ranges_are_read_as_python_writes_them() {
        let expected = [0..81, 81..162];
        assert_eq!(parse_ranges("[[0, 81], [81, 162]]").unwrap(), expected);
        assert_eq!(parse_ranges("[(0,81),(81,162)]").unwrap(), expected);
    }

    #[test]
    fn ranges_that_say_nothing_name_what_is_wrong() {
        let message = |text| parse_ranges(text).unwrap_err().to_string();
        let unreadable = "frame_number is \"[]\", expected ranges such as [[0, 81], [81, 162]]";
        assert_eq!(message("[]"), unreadable);
        assert!(message("[[0, -3]]").starts_with("frame_number is"));
        assert!(message("[[0, 81, 3]]").starts_with("frame_number is"));
        assert_eq!(message("[[0, 81], [90, 90]]"), "range 2, [90, 90), is empty");
        let overlap = "range 2 begins with frame 80, the one before it ends at 81";
        assert_eq!(message("[[0, 81], [80, 162]]"), overlap);
    }

    #[test]
    fn a_range_without_room_for_a_chunk_is_named() {
        let cut = |ranges: &[Range<usize>]| cut_ranges(ranges, &Geometry::tiny(), 33);
        assert_eq!(cut(&[0..9, 20..100, 100..120]).unwrap(), [0..9, 20..53, 100..109]);
        let error = cut(&[0..9, 20..28]).unwrap_err().to_string();
        assert_eq!(error, "shot 2 has 8 frames, expected at least 9");
    }

    /// Gaps and lengths of ranges.
    fn ranges() -> impl Strategy<Value = Vec<Range<usize>>> {
        prop::collection::vec((0usize..40, 9usize..200), 1..8).prop_map(|list| {
            let mut at = 0;
            let place = |(gap, length)| {
                let start = at + gap;
                at = start + length;
                start..at
            };
            list.into_iter().map(place).collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ranges in ranges()) {
            let pairs: Vec<_> = ranges.iter().map(|range| [range.start, range.end]).collect();
            prop_assert_eq!(parse_ranges(&format!("{pairs:?}")).unwrap(), ranges);
        }

        #[test]
        fn a_cut_keeps_the_beginning_in_whole_chunks(ranges in ranges(), chunks in 1usize..8) {
            let geometry = Geometry::wan_480p();
            let longest = geometry.shot_from_chunks(chunks).0;
            let cut = cut_ranges(&ranges, &geometry, longest).unwrap();
            prop_assert_eq!(cut.len(), ranges.len());
            for (cut, range) in cut.iter().zip(&ranges) {
                prop_assert_eq!(cut.start, range.start);
                prop_assert!(cut.end <= range.end && cut.len() <= longest);
                prop_assert!(geometry.chunks_from_shot(PixelFrames(cut.len())).is_ok());
                let next = geometry.shot_from_chunks(1 + geometry.chunks_from_shot(PixelFrames(cut.len())).unwrap());
                prop_assert!(longest < next.0 || range.len() < next.0);
            }
        }

        #[test]
        fn no_text_of_numbers_and_brackets_panics(text in "[\\[\\]0-9, ()-]{0,40}") {
            if let Ok(ranges) = parse_ranges(&text) {
                prop_assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
                prop_assert!(ranges.iter().all(|range| !range.is_empty()));
            }
        }
    }
}
