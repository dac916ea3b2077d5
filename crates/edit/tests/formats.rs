//! Every format as text, and read back by what knows nothing of the writer.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

use std::collections::BTreeSet;

use expect_test::{Expect, expect};
use proptest::prelude::*;
use serde_json::Value;
use shotstream_edit::{
    EditList, Shot,
    captions::{srt, webvtt, webvtt_chapters},
    edl::edl,
    fcpxml::{fcpxml, file_url},
    otio::otio,
};

/// Captions that try to break out of every format.
const CAPTIONS: [&str; 3] = [
    "Wide shot: the red fox waves.",
    "A sign says <b>\"5 > 3\" & 'so' on</b>\n\n2\n00:00:00,000 --> 00:00:09,000\nStranger",
    "Été: ]]> 狐 {\\an8} in the snow",
];

fn list(lengths: &[usize]) -> EditList {
    let captions = CAPTIONS.into_iter().cycle();
    let shots = lengths.iter().zip(captions);
    let shots = shots.map(|(&frames, caption)| Shot { caption: caption.to_owned(), frames });
    EditList::new("Fox & fräulein", 16, [512, 320], shots.collect()).unwrap()
}

fn check(found: &str, expected: &Expect) {
    expected.assert_eq(found);
}

#[test]
fn subtitles_have_one_cue_a_shot_whatever_a_caption_says() {
    check(
        &webvtt(&list(&[33, 9, 21])),
        &expect![[r#"
        WEBVTT

        1
        00:00:00.000 --> 00:00:02.063
        Wide shot: the red fox waves.

        2
        00:00:02.063 --> 00:00:02.625
        A sign says &lt;b&gt;"5 &gt; 3" &amp; 'so' on&lt;/b&gt; 2 00:00:00,000 --&gt; 00:00:09,000 Stranger

        3
        00:00:02.625 --> 00:00:03.938
        Été: ]]&gt; 狐 {\an8} in the snow
    "#]],
    );
    check(
        &srt(&list(&[33, 9, 21])),
        &expect![[r#"
        1
        00:00:00,000 --> 00:00:02,063
        Wide shot: the red fox waves.

        2
        00:00:02,063 --> 00:00:02,625
        A sign says ‹b›"5 › 3" & 'so' on‹/b› 2 00:00:00,000 --› 00:00:09,000 Stranger

        3
        00:00:02,625 --> 00:00:03,938
        Été: ]]› 狐 { \an8} in the snow
    "#]],
    );
}

#[test]
fn chapters_bear_the_start_of_each_caption() {
    check(
        &webvtt_chapters(&list(&[33, 9])),
        &expect![[r#"
        WEBVTT

        1
        00:00:00.000 --> 00:00:02.063
        Wide shot: the red fox waves.

        2
        00:00:02.063 --> 00:00:02.625
        A sign says &lt;b&gt;"5 &gt; 3" &amp; 'so' on&lt;/b&gt; 2 00:00:00,000 --&gt; 00:00:09,000…
    "#]],
    );
}

#[test]
fn a_decision_list_counts_three_ticks_a_frame() {
    check(
        &edl(&list(&[33, 9]), "fox.mp4"),
        &expect![[r#"
        TITLE: Fox & fr_ulein
        FCM: NON-DROP FRAME

        001  AX       V     C        00:00:00:00 00:00:02:03 01:00:00:00 01:00:02:03
        * FROM CLIP NAME: fox.mp4
        * LOC: 01:00:00:00 GREEN   SHOT 1: Wide shot: the red fox waves.
        * COMMENT: Wide shot: the red fox waves.
        * TIMECODE COUNTS 48 FRAMES A SECOND, THE FILM HAS 16

        002  AX       V     C        00:00:02:03 00:00:02:30 01:00:02:03 01:00:02:30
        * FROM CLIP NAME: fox.mp4
        * LOC: 01:00:02:03 GREEN   SHOT 2: A sign says <b>"5 > 3" & 'so' on</b> 2 00:00:00,000 --> 00:00:09,000…
        * COMMENT: A sign says <b>"5 > 3" & 'so' on</b> 2 00:00:00,000 --> 00:00:09,000 Stranger
    "#]],
    );
}

#[test]
fn a_project_cuts_where_its_clock_first_shows_a_shot() {
    check(
        &fcpxml(&list(&[33, 9]), &file_url("/films/fox & co.mp4")),
        &expect![[r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <!DOCTYPE fcpxml>
        <fcpxml version="1.8">
          <resources>
            <format id="r1" frameDuration="1/16s" width="512" height="320"/>
            <format id="r2" frameDuration="1/24s" width="512" height="320"/>
            <asset id="r3" name="Fox &amp; fräulein" src="file:///films/fox%20%26%20co.mp4" start="0s" duration="42/16s" hasVideo="1" format="r1"/>
          </resources>
          <library>
            <event name="Fox &amp; fräulein">
              <project name="Fox &amp; fräulein">
                <sequence format="r2" duration="63/24s" tcStart="0s" tcFormat="NDF">
                  <spine>
                    <asset-clip name="shot 1" ref="r3" offset="0s" start="0s" duration="50/24s" format="r1" tcFormat="NDF">
                      <note>Wide shot: the red fox waves.</note>
                      <marker start="0s" duration="1/24s" value="Wide shot: the red fox waves."/>
                    </asset-clip>
                    <asset-clip name="shot 2" ref="r3" offset="50/24s" start="50/24s" duration="13/24s" format="r1" tcFormat="NDF">
                      <note>A sign says &lt;b&gt;"5 &gt; 3" &amp; 'so' on&lt;/b&gt; 2 00:00:00,000 --&gt; 00:00:09,000 Stranger</note>
                      <marker start="50/24s" duration="1/24s" value="A sign says &lt;b&gt;&quot;5 &gt; 3&quot; &amp; 'so' on&lt;/b&gt; 2 00:00:00,000 --&gt; 00:00:09,000…"/>
                    </asset-clip>
                  </spine>
                </sequence>
              </project>
            </event>
          </library>
        </fcpxml>
    "#]],
    );
}

#[test]
fn a_timeline_is_one_track_in_the_oldest_words_that_hold_it() {
    let text = otio(&list(&[33, 9]), &file_url("fox & co.mp4"));
    let timeline: Value = serde_json::from_str(&text).unwrap();
    let track = &timeline["tracks"]["children"][0];
    assert_eq!((&timeline["name"], &track["kind"]), (&"Fox & fräulein".into(), &"Video".into()));
    assert_eq!(track["children"][1]["media_reference"]["target_url"], "fox%20%26%20co.mp4");
    assert_eq!(
        track["children"][1]["markers"][0]["marked_range"],
        track["children"][1]["source_range"]
    );
    let schemas = text.lines().filter_map(|line| line.trim().strip_prefix("\"OTIO_SCHEMA\": "));
    let schemas: BTreeSet<_> = schemas.map(|schema| schema.trim_matches(['"', ','])).collect();
    let known = [
        "Clip.1",
        "ExternalReference.1",
        "Marker.2",
        "RationalTime.1",
        "Stack.1",
        "TimeRange.1",
        "Timeline.1",
        "Track.1",
    ];
    assert_eq!(schemas, known.into());
}

#[test]
fn a_path_becomes_a_url() {
    assert_eq!(file_url("/a b/ü#?.mp4"), "file:///a%20b/%C3%BC%23%3F.mp4");
    assert_eq!(file_url("fox in the snow.mp4"), "fox%20in%20the%20snow.mp4");
}

/// Start and end of every event in frames, source and record, and nothing but what an event has.
fn read_edl(text: &str) -> Vec<[usize; 4]> {
    let mut lines = text.lines();
    assert!(lines.next().unwrap().starts_with("TITLE: "));
    assert_eq!(lines.next(), Some("FCM: NON-DROP FRAME"));
    let ticks = |code: &str| {
        let parts: Vec<usize> = code.split(':').map(|part| part.parse().unwrap()).collect();
        let [hours, minutes, seconds, ticks] = parts[..] else { panic!("{code}") };
        assert!(minutes < 60 && seconds < 60 && ticks < 48, "{code}");
        ((hours * 60 + minutes) * 60 + seconds) * 48 + ticks
    };
    let mut events = Vec::new();
    for line in lines.filter(|line| !line.is_empty() && !line.starts_with("* ")) {
        let words: Vec<_> = line.split_whitespace().collect();
        let [number, "AX", "V", "C", codes @ ..] = &words[..] else { panic!("{line}") };
        assert_eq!(number.parse(), Ok(events.len() + 1));
        let codes: [usize; 4] =
            codes.iter().map(|code| ticks(code)).collect::<Vec<_>>().try_into().unwrap();
        assert!(codes.iter().all(|code| code % 3 == 0));
        events.push(codes.map(|code| code / 3));
    }
    events
}

/// A fraction of a second such as `33/16s`, in units of a 48th.
fn forty_eighths(text: &str) -> usize {
    let text = text.strip_suffix('s').unwrap();
    let (count, rate) = text.split_once('/').unwrap_or((text, "1"));
    let (count, rate): (usize, usize) = (count.parse().unwrap(), rate.parse().unwrap());
    assert_eq!(count * 48 % rate, 0, "{text}");
    count * 48 / rate
}

#[test]
fn a_shot_without_words_has_a_chapter_and_no_subtitle() {
    let shots = [" \u{3000}", "A fox."].map(|caption| Shot { caption: caption.into(), frames: 16 });
    let list = EditList::new("t", 16, [2, 2], shots.into()).unwrap();
    assert_eq!(webvtt(&list), "WEBVTT\n\n2\n00:00:01.000 --> 00:00:02.000\nA fox.\n");
    assert_eq!(srt(&list), "1\n00:00:01,000 --> 00:00:02,000\nA fox.\n");
    assert!(webvtt_chapters(&list).contains("00:00:00.000 --> 00:00:01.000\nShot 1\n"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn events_follow_each_other_and_record_what_they_take(
        lengths in prop::collection::vec(1usize..100, 1..40),
    ) {
        let list = list(&lengths);
        let events = read_edl(&edl(&list, "fox.mp4"));
        let placed: Vec<_> = list.shots().map(|shot| [shot.start, shot.end]).collect();
        prop_assert_eq!(events.len(), placed.len());
        for ([from, to, at, until], [start, end]) in events.into_iter().zip(placed) {
            prop_assert_eq!([from, to, at - 16 * 3600, until - 16 * 3600], [start, end, start, end]);
        }
    }

    #[test]
    fn a_project_has_no_gap_and_no_frame_of_a_neighbour(
        lengths in prop::collection::vec(1usize..100, 1..40),
    ) {
        let list = list(&lengths);
        let text = fcpxml(&list, "fox.mp4");
        let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
        let document = roxmltree::Document::parse_with_options(&text, options).unwrap();
        let clips: Vec<_> = document.descendants().filter(|n| n.has_tag_name("asset-clip")).collect();
        prop_assert_eq!(clips.len(), lengths.len());
        let mut end = 0;
        for (clip, shot) in clips.into_iter().zip(list.shots()) {
            let [offset, start, duration] = ["offset", "start", "duration"]
                .map(|name| forty_eighths(clip.attribute(name).unwrap()));
            prop_assert_eq!([offset, start], [end, end]);
            prop_assert!(offset % 2 == 0 && duration % 2 == 0 && 0 < duration);
            end = offset + duration;
            // The first and last 24th of a second show this shot: a frame has three 48ths.
            prop_assert_eq!([start / 3, (end - 2) / 3], [shot.start, shot.end - 1]);
            let note = clip.children().find(|n| n.has_tag_name("note")).unwrap();
            prop_assert_eq!(note.text(), Some(shot.caption));
        }
        prop_assert!(end <= list.total() * 3 && list.total() * 3 <= end + 1);
    }

    #[test]
    fn clips_of_a_timeline_are_the_shots(lengths in prop::collection::vec(1usize..100, 1..40)) {
        let list = list(&lengths);
        let timeline: Value = serde_json::from_str(&otio(&list, "fox.mp4")).unwrap();
        let clips = timeline["tracks"]["children"][0]["children"].as_array().unwrap().clone();
        prop_assert_eq!(clips.len(), lengths.len());
        for (clip, shot) in clips.iter().zip(list.shots()) {
            let range = &clip["source_range"];
            let [start, length] = ["start_time", "duration"].map(|key| {
                assert_eq!(range[key]["rate"], 16.0);
                range[key]["value"].as_f64().unwrap()
            });
            prop_assert_eq!([start, start + length], [shot.start as f64, shot.end as f64]);
            prop_assert_eq!(&clip["metadata"]["shotstream"]["caption"], shot.caption);
            prop_assert_eq!(&clip["media_reference"]["available_range"]["duration"]["value"], list.total() as f64);
        }
    }

    #[test]
    fn a_cue_a_told_shot_survives_any_caption(captions in prop::collection::vec("\\PC{1,40}", 1..6)) {
        let shots = captions.iter().map(|caption| Shot { caption: caption.clone(), frames: 9 });
        let list = EditList::new("t", 16, [2, 2], shots.collect()).unwrap();
        for (text, separator) in [(webvtt(&list), '.'), (srt(&list), ',')] {
            let cues: Vec<_> = text.split("\n\n").filter(|cue| !cue.is_empty() && cue.trim() != "WEBVTT").collect();
            let told: Vec<_> = list.shots().filter(|shot| !shot.caption.is_empty()).collect();
            prop_assert_eq!(cues.len(), told.len());
            for (at, cue) in cues.into_iter().enumerate() {
                let number = if separator == '.' { told[at].number } else { at + 1 };
                let lines: Vec<_> = cue.trim_end_matches('\n').split('\n').collect();
                let [first, times, words @ ..] = &lines[..] else { panic!("{cue}") };
                prop_assert_eq!(first.parse(), Ok(number));
                let [from, "-->", to] = times.split(' ').collect::<Vec<_>>()[..] else { panic!() };
                prop_assert!(from < to && from.contains(separator) && to.contains(separator));
                prop_assert!(words.len() == 1 && !words[0].contains("-->"));
            }
        }
    }
}
