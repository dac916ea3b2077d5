//! An OpenTimelineIO timeline: one video track of clips, each a stretch of the film.
//!
//! Times are counts of frames at the film's own rate, so nothing is rounded. The schema versions
//! are the oldest that hold what is said here; newer readers bring them up to date by themselves.
//!
//! Source: the serialised schema of OpenTimelineIO, Apache-2.0, ASWF.

use serde_json::{Value, json};

use crate::{EditList, list::Placed};

/// The timeline, with every clip taken from the film at `url`; a relative one starts at the file's
/// own folder.
pub fn otio(list: &EditList, url: &str) -> String {
    let fps = list.frames_per_second();
    let film = json!({
        "OTIO_SCHEMA": "ExternalReference.1",
        "name": "",
        "metadata": {},
        "available_range": range(0, list.total(), fps),
        "target_url": url,
    });
    let clips: Vec<_> = list.shots().map(|shot| clip(&shot, &film, fps)).collect();
    let track = json!({
        "OTIO_SCHEMA": "Track.1",
        "name": "film",
        "kind": "Video",
        "metadata": {},
        "source_range": null,
        "effects": [],
        "markers": [],
        "children": clips,
    });
    let timeline = json!({
        "OTIO_SCHEMA": "Timeline.1",
        "name": list.title(),
        "metadata": {},
        "global_start_time": time(0, fps),
        "tracks": {
            "OTIO_SCHEMA": "Stack.1",
            "name": "tracks",
            "metadata": {},
            "source_range": null,
            "effects": [],
            "markers": [],
            "children": [track],
        },
    });
    format!("{timeline:#}\n")
}

fn clip(shot: &Placed<'_>, film: &Value, fps: u32) -> Value {
    let length = shot.end - shot.start;
    json!({
        "OTIO_SCHEMA": "Clip.1",
        "name": format!("shot {}", shot.number),
        "metadata": { "shotstream": { "caption": shot.caption } },
        "source_range": range(shot.start, length, fps),
        "effects": [],
        "markers": [{
            "OTIO_SCHEMA": "Marker.2",
            "name": shot.title(),
            "metadata": { "shotstream": { "caption": shot.caption } },
            "color": "GREEN",
            "marked_range": range(shot.start, length, fps),
        }],
        "media_reference": film,
    })
}

fn range(start: usize, length: usize, fps: u32) -> Value {
    json!({
        "OTIO_SCHEMA": "TimeRange.1",
        "start_time": time(start, fps),
        "duration": time(length, fps),
    })
}

fn time(frames: usize, fps: u32) -> Value {
    json!({ "OTIO_SCHEMA": "RationalTime.1", "value": frames as f64, "rate": f64::from(fps) })
}
