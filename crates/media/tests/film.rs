//! Films as a viewer finds them: whole, cut short, refused, or read back.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::Command;

use shotstream_media::decode::{Film, read_film};
use shotstream_media::{FilmStream, FilmWriter, Frame};

const SIZE: [usize; 2] = [128, 80];
const FPS: u32 = 16;

/// A picture without edges: three slow waves that drift with time.
fn smooth(time: usize) -> Frame {
    let [width, height] = SIZE;
    let wave = |place: f32, speed: f32| {
        let angle = place + speed * time as f32;
        (127.5 + 110.0 * angle.sin()) as u8
    };
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            let (x, y) = (x as f32 / 20.0, y as f32 / 20.0);
            rgb.extend([wave(x, 0.10), wave(y, 0.07), wave(x + y, 0.05)]);
        }
    }
    Frame { width, height, rgb }
}

/// The frames of `count` chunks of a shot: nine, then twelve each.
fn chunks(count: usize) -> Vec<Vec<Frame>> {
    let lengths = (0..count).map(|chunk| if chunk == 0 { 9 } else { 12 });
    let mut time = 0;
    lengths
        .map(|length| {
            time += length;
            (time - length..time).map(smooth).collect()
        })
        .collect()
}

fn film_bytes(chunks: &[Vec<Frame>]) -> Vec<u8> {
    let mut stream = FilmStream::new(Vec::new(), SIZE, FPS).unwrap();
    chunks.iter().for_each(|frames| stream.write(frames).unwrap());
    stream.finish().unwrap()
}

/// Peak signal to noise ratio in dB over all frames.
fn psnr(expected: &[Frame], found: &[Frame]) -> f64 {
    assert_eq!(expected.len(), found.len());
    let pairs = expected.iter().zip(found);
    let (mut sum, mut count) = (0.0, 0.0);
    for (a, b) in pairs.flat_map(|(a, b)| a.rgb.iter().zip(&b.rgb)) {
        sum += f64::from(a.abs_diff(*b)).powi(2);
        count += 1.0;
    }
    10.0 * (255.0f64.powi(2) * count / sum).log10()
}

fn decoded(bytes: Vec<u8>) -> Vec<Frame> {
    let film = Film::parse(bytes).unwrap();
    film.frames().unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_smooth_picture_comes_back_almost_as_it_was() {
    let chunks = chunks(3);
    let ratio = psnr(&chunks.concat(), &decoded(film_bytes(&chunks)));
    assert!(38.0 < ratio, "{ratio} dB");
}

#[test]
fn every_frame_is_there_and_lasts_a_sixteenth_of_a_second() {
    let film = Film::parse(film_bytes(&chunks(3))).unwrap();
    assert_eq!((film.timescale, film.size, film.complete), (16_000, SIZE, true));
    let starts: Vec<_> = film.pictures.iter().map(|picture| picture.start).collect();
    assert_eq!(starts, (0..33).map(|k| k * 1000).collect::<Vec<_>>());
    assert!(film.pictures.iter().all(|picture| picture.ticks == 1000));
    assert_eq!(film.seconds(), 33.0 / 16.0);
    let keys: Vec<_> = (0..33).filter(|&k| film.pictures[k].keyframe).collect();
    assert_eq!(keys, [0, 9, 21]);
}

#[test]
fn a_film_cut_short_plays_up_to_its_last_whole_fragment() {
    let bytes = film_bytes(&chunks(3));
    let whole = decoded(bytes.clone());
    let mut seen = Vec::new();
    for length in (0..bytes.len()).step_by(97) {
        let Ok(film) = Film::parse(bytes[..length].to_vec()) else { continue };
        let frames: Vec<_> = film.frames().unwrap().collect::<Result<_, _>>().unwrap();
        assert_eq!(frames, whole[..frames.len()]);
        seen.push(frames.len());
    }
    assert!(seen.is_sorted());
    seen.dedup();
    assert_eq!(seen, [0, 9, 21, 33]);
}

#[test]
fn a_film_takes_its_name_when_it_is_finished() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("film.mp4");
    let partial = home.path().join("film.mp4.partial");
    let chunks = chunks(2);
    let mut film = FilmWriter::create(&path, SIZE, FPS).unwrap();
    assert_eq!(film.partial(), partial);
    for frames in &chunks {
        film.write(frames).unwrap();
        assert!(!path.exists());
    }
    assert_eq!(read_film(&partial).unwrap().len(), 21, "what is written already plays");
    film.finish().unwrap();
    assert!(!partial.exists());
    assert!(38.0 < psnr(&chunks.concat(), &read_film(&path).unwrap()));
}

#[test]
fn a_new_film_replaces_an_older_one_only_when_it_is_finished() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("film.mp4");
    fs::write(&path, "an older film").unwrap();
    let mut film = FilmWriter::create(&path, SIZE, FPS).unwrap();
    film.write(&chunks(1)[0]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"an older film");
    film.finish().unwrap();
    assert_eq!(read_film(&path).unwrap().len(), 9);
}

#[test]
fn a_film_that_was_left_can_be_started_again() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("film.mp4");
    let mut left = FilmWriter::create(&path, SIZE, FPS).unwrap();
    left.write(&chunks(2).concat()).unwrap();
    let error = FilmWriter::create(&path, SIZE, FPS).unwrap_err().to_string();
    assert!(error.starts_with("cannot write a film that another program is writing: "), "{error}");
    drop(left);
    let mut film = FilmWriter::create(&path, SIZE, FPS).unwrap();
    film.write(&chunks(1)[0]).unwrap();
    film.finish().unwrap();
    assert_eq!(read_film(&path).unwrap().len(), 9);
}

#[test]
fn a_place_that_cannot_be_written_is_refused_before_the_first_frame() {
    let home = tempfile::tempdir().unwrap();
    let message = |path: &Path| FilmWriter::create(path, SIZE, FPS).unwrap_err().to_string();
    let missing = home.path().join("missing/film.mp4");
    assert_eq!(
        message(&missing),
        format!(
            "cannot write a film here: No such file or directory (os error 2): {}",
            missing.display()
        )
    );
    assert_eq!(
        message(home.path()),
        format!("cannot write a film here: is a directory: {}", home.path().display())
    );
}

#[test]
fn a_film_without_frames_leaves_nothing_behind() {
    let home = tempfile::tempdir().unwrap();
    let film = FilmWriter::create(&home.path().join("film.mp4"), SIZE, FPS).unwrap();
    let error = film.finish().unwrap_err().to_string();
    assert_eq!(error, "no frame was made, so there is nothing to keep");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
}

/// A disk with room for a few bytes.
struct SmallDisk(usize);

impl Write for SmallDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.0.min(bytes.len());
        self.0 -= room;
        match room {
            0 => Err(io::Error::from(io::ErrorKind::StorageFull)),
            _ => Ok(room),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_one_clear_sentence() {
    let mut stream = FilmStream::new(SmallDisk(1000), SIZE, FPS).unwrap();
    let error = chunks(9).iter().find_map(|frames| stream.write(frames).err()).unwrap();
    assert_eq!(error.to_string(), "cannot send the film on: no storage space");
    assert!(!error.reader_left());
}

#[test]
fn bytes_that_are_no_film_are_refused() {
    let error = Film::parse(b"once upon a time".to_vec()).unwrap_err().to_string();
    assert_eq!(error, "this is not a film or picture of ours: there is no header");
}

#[test]
fn other_programs_count_the_same_frames() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("film.mp4");
    fs::write(&path, film_bytes(&chunks(3))).unwrap();
    let asked = Command::new("ffprobe")
        .args(["-v", "error", "-count_frames", "-of", "default=nw=1", "-show_entries"])
        .arg("stream=profile,width,height,color_space,r_frame_rate,avg_frame_rate,nb_read_frames:format=duration")
        .arg(&path)
        .output();
    // A second opinion where one is installed.
    let Ok(answer) = asked else { return };
    let expected = "profile=Constrained Baseline\nwidth=128\nheight=80\ncolor_space=smpte170m\n\
                    r_frame_rate=16/1\navg_frame_rate=16/1\nnb_read_frames=33\n\
                    duration=2.062500\n";
    assert_eq!(String::from_utf8_lossy(&answer.stdout), expected);
    assert_eq!(String::from_utf8_lossy(&answer.stderr), "");
}
