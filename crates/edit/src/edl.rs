//! A CMX3600 edit decision list: the one that every editing program has read since tape.
//!
//! An event says which part of the source, `AX` for "a file", goes where on the record. Timecode
//! exists for few frame rates; what `clock::timecode_rate` finds is said in a comment. The record
//! starts at one hour, as tapes do. A marker and a comment bear the caption.

use crate::{
    EditList,
    clock::{first_tick, timecode, timecode_rate},
};

/// The list, with every event taken from one `film`, a file name.
///
/// Comments may hold any Unicode text; everything else is ASCII.
pub fn edl(list: &EditList, film: &str) -> String {
    let (fps, rate) = (list.frames_per_second(), timecode_rate(list.frames_per_second()));
    let hour = 3600 * rate as usize;
    let source = |frame| timecode(first_tick(frame, fps, rate), rate);
    let record = |frame| timecode(hour + first_tick(frame, fps, rate), rate);
    let mut file = format!("TITLE: {}\nFCM: NON-DROP FRAME\n", ascii(list.title()));
    for shot in list.shots() {
        let (number, start, end) = (shot.number, shot.start, shot.end);
        let title = shot.title();
        file += &format!(
            "\n{number:03}  AX       V     C        {} {} {} {}\n\
             * FROM CLIP NAME: {film}\n\
             * LOC: {} GREEN   SHOT {number}: {title}\n\
             * COMMENT: {}\n",
            source(start),
            source(end),
            record(start),
            record(end),
            record(start),
            shot.caption,
        );
        if number == 1 {
            // Readers expect comments after an event, and none before the first.
            file += &format!("* TIMECODE COUNTS {rate} FRAMES A SECOND, THE FILM HAS {fps}\n");
        }
    }
    file
}

fn ascii(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() { c } else { '_' }).collect()
}
