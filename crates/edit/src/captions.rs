//! Captions as subtitles and chapters, one a shot: WebVTT for the web, SubRip for everything else.
//!
//! Sources: WebVTT, W3C Candidate Recommendation of 2019-04-04; SubRip has no standard.

use crate::{EditList, clock::milliseconds};

/// The captions as WebVTT subtitles; a shot without words has none.
pub fn webvtt(list: &EditList) -> String {
    vtt(list, |shot| shot.caption.to_owned())
}

/// The shots as WebVTT chapters, for `<track kind="chapters">`.
pub fn webvtt_chapters(list: &EditList) -> String {
    vtt(list, |shot| shot.title())
}

/// The captions as SubRip subtitles.
///
/// A shot without words has none. There is no way to escape in them: brackets that players would
/// take for markup become those that look like them.
pub fn srt(list: &EditList) -> String {
    let fps = list.frames_per_second();
    let told = list.shots().filter(|shot| !shot.caption.is_empty());
    let cues = (1..).zip(told).map(|(number, shot)| {
        let [start, end] = [shot.start, shot.end].map(|frame| milliseconds(frame, fps, ','));
        let text = shot.caption.replace('<', "‹").replace('>', "›").replace("{\\", "{ \\");
        format!("{number}\n{start} --> {end}\n{text}\n")
    });
    cues.collect::<Vec<_>>().join("\n")
}

fn vtt(list: &EditList, text: impl Fn(&crate::list::Placed<'_>) -> String) -> String {
    let fps = list.frames_per_second();
    let mut file = "WEBVTT\n".to_owned();
    for shot in list.shots() {
        let [start, end] = [shot.start, shot.end].map(|frame| milliseconds(frame, fps, '.'));
        let text = text(&shot);
        if text.is_empty() {
            continue;
        }
        let text = html_escape::encode_text(&text);
        file += &format!("\n{}\n{start} --> {end}\n{text}\n", shot.number);
    }
    file
}
