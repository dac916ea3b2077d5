//! Videos of other makers: ordinary files, pictures shown in another order than they are coded,
//! other codecs with and without `ffmpeg`, and damage.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

use std::fs;
use std::io::Write as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use shiguredo_mp4::TrackKind;
use shiguredo_mp4::bitstream::h264::{
    H264SampleEntryConfig, LengthSize, annexb_to_length_prefixed, build_avc1_box_from_annexb,
};
use shiguredo_mp4::boxes::SampleEntry;
use shiguredo_mp4::mux::{Mp4FileMuxer, Mp4FileMuxerOptions, Sample};
use shotstream_media::decode::{Film, read_film};
use shotstream_media::encode::Encoder;
use shotstream_media::video::Video;
use shotstream_media::{FilmWriter, Frame, MediaError};

const SIZE: [usize; 2] = [128, 80];
const FRAMES: usize = 21;

/// A bright block that moves to the right over a slow background: every frame is another.
fn moving(time: usize) -> Frame {
    let [width, height] = SIZE;
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let inside = (20..60).contains(&y) && (4 * time..4 * time + 32).contains(&x);
            let slow = (60.0 + 40.0 * ((x + y) as f32 / 25.0).sin()) as u8;
            rgb.extend(if inside { [230, 210, 40] } else { [slow, 90, 140 - slow / 2] });
        }
    }
    Frame { width, height, rgb }
}

fn frames() -> Vec<Frame> {
    (0..FRAMES).map(moving).collect()
}

fn read(path: &Path) -> Result<Vec<Frame>, MediaError> {
    Video::open(path)?.frames()?.collect()
}

/// Mean absolute difference of two frames, in levels.
fn distance(a: &Frame, b: &Frame) -> f64 {
    assert_eq!([a.width, a.height], [b.width, b.height]);
    let sum: u64 = a.rgb.iter().zip(&b.rgb).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.rgb.len() as f64
}

/// Every frame is there, in order: each is nearest to the one it was made of.
fn assert_in_order(found: &[Frame]) {
    let made = frames();
    assert_eq!(found.len(), made.len());
    for (time, frame) in found.iter().enumerate() {
        let nearest = (0..FRAMES).min_by_key(|&k| (1e3 * distance(frame, &made[k])) as u64);
        assert_eq!(nearest, Some(time));
        assert!(distance(frame, &made[time]) < 6.0, "{time}: {}", distance(frame, &made[time]));
    }
}

/// The frames in an ordinary MP4, with its header before or behind the pictures.
fn ordinary(header_first: bool) -> Vec<u8> {
    let packets = Encoder::new(SIZE, 16).unwrap().encode(&frames()).unwrap();
    let reserved_moov_box_size = if header_first { 4096 } else { 0 };
    let options = Mp4FileMuxerOptions { reserved_moov_box_size, ..Default::default() };
    let mut muxer = Mp4FileMuxer::with_options(options).unwrap();
    let mut bytes = muxer.initial_boxes_bytes().to_vec();
    for (index, packet) in packets.iter().enumerate() {
        let stored = annexb_to_length_prefixed(&packet.annex_b, LengthSize::FourBytes).unwrap();
        let config = H264SampleEntryConfig { length_size: LengthSize::FourBytes };
        let entry = (index == 0).then(|| {
            SampleEntry::Avc1(build_avc1_box_from_annexb(&packet.annex_b, &config).unwrap())
        });
        let sample = Sample {
            track_kind: TrackKind::Video,
            sample_entry: entry,
            keyframe: packet.keyframe,
            timescale: NonZeroU32::new(16).unwrap(),
            duration: 1,
            composition_time_offset: None,
            data_offset: bytes.len() as u64,
            data_size: stored.len(),
        };
        bytes.extend(stored);
        muxer.append_sample(&sample).unwrap();
    }
    let done = muxer.finalize().unwrap();
    assert_eq!(done.is_faststart_enabled(), header_first);
    for (offset, part) in done.offset_and_bytes_pairs() {
        let offset = offset as usize;
        bytes.resize(bytes.len().max(offset + part.len()), 0);
        bytes[offset..offset + part.len()].copy_from_slice(part);
    }
    bytes
}

#[test]
fn an_ordinary_file_has_the_frames_of_a_film_wherever_its_header_stands() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("film.mp4");
    let mut film = FilmWriter::create(&path, SIZE, 16).unwrap();
    film.write(&frames()).unwrap();
    film.finish().unwrap();
    let expected = read_film(&path).unwrap();
    assert_in_order(&expected);
    assert_eq!(read(&path).unwrap(), expected);
    for header_first in [true, false] {
        fs::write(&path, ordinary(header_first)).unwrap();
        assert!(read(&path).unwrap() == expected, "header first: {header_first}");
    }
}

#[test]
fn damage_to_an_ordinary_file_is_an_error_and_never_a_panic() {
    let whole = ordinary(true);
    let read =
        |bytes| Film::parse(bytes).and_then(|film| film.frames()?.collect::<Result<Vec<_>, _>>());
    for length in (0..whole.len()).step_by(331) {
        assert!(read(whole[..length].to_vec()).is_err(), "{length} bytes");
    }
    for at in (0..whole.len()).step_by(53) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        let _ = read(bytes);
    }
}

/// The frames as `ffmpeg` encodes them, or nothing where it is not installed.
fn made_by_ffmpeg(home: &Path, name: &str, options: &str) -> Option<PathBuf> {
    let path = home.join(name);
    let child = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "image2pipe", "-c:v", "ppm", "-r", "16", "-i", "-"])
        .args(options.split_whitespace())
        .arg(&path)
        .stdin(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else { return None };
    let mut pipe = child.stdin.take().unwrap();
    for Frame { width, height, rgb } in frames() {
        write!(pipe, "P6\n{width} {height}\n255\n").unwrap();
        pipe.write_all(&rgb).unwrap();
    }
    drop(pipe);
    assert!(child.wait().unwrap().success(), "{options}");
    Some(path)
}

/// What a file of another kind says where `ffmpeg` is not installed.
fn assert_needs_ffmpeg(home: &Path) {
    let path = home.join("clip.mkv");
    fs::write(&path, b"\x1a\x45\xdf\xa3 a film of another kind").unwrap();
    let error = Video::open(&path).unwrap_err().to_string();
    assert!(error.starts_with("this video needs ffmpeg, which is not installed ("), "{error}");
    assert!(error.ends_with(&path.display().to_string()), "{error}");
}

#[test]
fn h264_of_other_makers_is_read_without_ffmpeg_in_the_order_it_is_shown() {
    let home = tempfile::tempdir().unwrap();
    for (name, options) in [
        ("baseline.mp4", "-c:v libx264 -profile:v baseline -pix_fmt yuv420p"),
        ("main.mp4", "-c:v libx264 -profile:v main -bf 2 -pix_fmt yuv420p -movflags +faststart"),
        ("high.mp4", "-c:v libx264 -preset slow -bf 3 -refs 4 -pix_fmt yuv420p"),
        (
            "pyramid.mp4",
            "-c:v libx264 -bf 7 -x264-params b-pyramid=normal:b-adapt=0 -pix_fmt yuv420p",
        ),
        ("short.mp4", "-c:v libx264 -bf 3 -g 5 -pix_fmt yuv420p"),
        ("no-b.mp4", "-c:v libx264 -profile:v high -bf 0 -pix_fmt yuv420p"),
        ("open.mp4", "-c:v libx264 -bf 3 -g 6 -x264-params open-gop=1 -pix_fmt yuv420p"),
    ] {
        let Some(path) = made_by_ffmpeg(home.path(), name, options) else {
            return assert_needs_ffmpeg(home.path());
        };
        let found = read_film(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_in_order(&found);
    }
}

#[test]
fn every_other_video_is_read_by_ffmpeg_where_it_is_installed() {
    let home = tempfile::tempdir().unwrap();
    for (name, options) in [
        ("hevc.mp4", "-c:v libx265 -x265-params log-level=error -pix_fmt yuv420p"),
        ("mpeg4.avi", "-c:v mpeg4 -q:v 2"),
        ("vp9.webm", "-c:v libvpx-vp9 -b:v 1M"),
        ("deep.webm", "-c:v libvpx-vp9 -b:v 1M -pix_fmt yuv420p10le"),
        ("444.mp4", "-c:v libx264 -pix_fmt yuv444p"),
        ("interlaced.mp4", "-c:v libx264 -pix_fmt yuv420p -flags +ildct+ilme"),
    ] {
        let Some(path) = made_by_ffmpeg(home.path(), name, options) else {
            return assert_needs_ffmpeg(home.path());
        };
        assert!(read_film(&path).is_err(), "{name} is not for our own decoder");
        assert_in_order(&read(&path).unwrap_or_else(|error| panic!("{name}: {error}")));
    }
}

#[test]
fn a_video_that_nobody_can_read_says_so_with_its_path() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("clip.mp4");
    fs::write(&path, &ordinary(false)[..2000]).unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(error.ends_with(&path.display().to_string()), "{error}");
    assert!(
        error.starts_with("ffmpeg cannot read this video (")
            || error.starts_with("this video needs ffmpeg"),
        "{error}"
    );
}

#[test]
fn colours_come_back_by_what_the_file_says_they_are() {
    let home = tempfile::tempdir().unwrap();
    let options = "-vf scale=out_color_matrix=bt709:out_range=tv -colorspace bt709 -color_primaries \
                   bt709 -color_trc bt709 -color_range tv -c:v libx264 -qp 1 -pix_fmt yuv420p";
    let Some(path) = made_by_ffmpeg(home.path(), "709.mp4", options) else {
        return assert_needs_ffmpeg(home.path());
    };
    let found = read_film(&path).unwrap();
    assert!(distance(&found[3], &moving(3)) < 1.5, "{}", distance(&found[3], &moving(3)));
}
