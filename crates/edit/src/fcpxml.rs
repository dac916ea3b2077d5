//! Final Cut Pro XML, version 1.8, which Final Cut Pro reads since 10.4 and DaVinci Resolve since
//! 15: a project of clips, each a stretch of the film.
//!
//! A cut must fall on a frame of the project, and projects have few frame rates, 16 not among them.
//! So the project has the usual rate, and a shot starts at the first of its frames at which a player
//! of the film would show it. Clips point into the whole film: what they show is what the film shows
//! at that time, nothing is missing or repeated, and subtitles stay in step however long it is.
//! Times in the film itself are exact fractions of a second.
//!
//! Source: FCPXML Reference, developer.apple.com.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::{
    EditList,
    clock::{first_tick, fraction, project_rate},
    list::Placed,
};

/// Bytes that stand for themselves in the path of a URL.
const PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The URL of a file: of an absolute path, or relative to the file that names it.
pub fn file_url(path: &str) -> String {
    let path = utf8_percent_encode(path, PATH);
    if path.clone().next().is_some_and(|start| start.starts_with('/')) {
        format!("file://{path}")
    } else {
        path.to_string()
    }
}

/// The project, with every clip taken from the film at `url`.
pub fn fcpxml(list: &EditList, url: &str) -> String {
    let (fps, [width, height]) = (list.frames_per_second(), list.size());
    let rate = project_rate(fps);
    let (title, url) = (attribute(list.title()), attribute(url));
    let length = last_tick(list.total(), fps, rate);
    let clips: String = list.shots().map(|shot| clip(&shot, list, rate)).collect();
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE fcpxml>
<fcpxml version="1.8">
  <resources>
    <format id="r1" frameDuration="1/{fps}s" width="{width}" height="{height}"/>
    <format id="r2" frameDuration="1/{rate}s" width="{width}" height="{height}"/>
    <asset id="r3" name="{title}" src="{url}" start="0s" duration="{total}" hasVideo="1" format="r1"/>
  </resources>
  <library>
    <event name="{title}">
      <project name="{title}">
        <sequence format="r2" duration="{duration}" tcStart="0s" tcFormat="NDF">
          <spine>
{clips}          </spine>
        </sequence>
      </project>
    </event>
  </library>
</fcpxml>
"#,
        total = fraction(list.total(), fps),
        duration = fraction(length, rate),
    )
}

fn clip(shot: &Placed<'_>, list: &EditList, rate: u32) -> String {
    let fps = list.frames_per_second();
    let start = first_tick(shot.start, fps, rate);
    let end = match shot.end {
        end if end == list.total() => last_tick(end, fps, rate),
        end => first_tick(end, fps, rate),
    };
    if end <= start {
        return String::new(); // shorter than a frame of the project
    }
    let (at, duration) = (fraction(start, rate), fraction(end - start, rate));
    format!(
        r#"            <asset-clip name="shot {number}" ref="r3" offset="{at}" start="{at}" duration="{duration}" format="r1" tcFormat="NDF">
              <note>{note}</note>
              <marker start="{at}" duration="1/{rate}s" value="{title}"/>
            </asset-clip>
"#,
        number = shot.number,
        note = html_escape::encode_text(shot.caption),
        title = attribute(&shot.title()),
    )
}

/// The last tick of a clock of `rate` before which there still is film.
fn last_tick(total: usize, fps: u32, rate: u32) -> usize {
    total * rate as usize / fps as usize
}

fn attribute(text: &str) -> String {
    html_escape::encode_double_quoted_attribute(text).into_owned()
}
