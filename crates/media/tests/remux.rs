//! Stretches of a film as files of their own.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

use std::fs;
use std::process::Command;

use shotstream_media::decode::Film;
use shotstream_media::remux::{Chapter, remux};
use shotstream_media::{FilmStream, Frame};

const SIZE: [usize; 2] = [64, 48];

/// Two shots, of two chunks and of one.
fn film() -> Film {
    let mut stream = FilmStream::new(Vec::new(), SIZE, 16).unwrap();
    for (chunk, length) in [9, 12, 9].into_iter().enumerate() {
        let shade = |frame: usize| [40 * chunk as u8, 8 * frame as u8, 200];
        let frames: Vec<_> = (0..length).map(|k| Frame::filled(64, 48, shade(k))).collect();
        stream.write(&frames).unwrap();
    }
    Film::parse(stream.finish().unwrap()).unwrap()
}

fn chapters() -> [Chapter; 2] {
    let chapter = |title: &str, frames| Chapter { title: title.to_owned(), frames };
    [chapter("The fox waves", 21), chapter("Füchse & 狐", 9)]
}

fn frames(film: &Film) -> Vec<Frame> {
    film.frames().unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_whole_film_keeps_every_picture_and_its_time() {
    let film = film();
    let whole = Film::parse(remux(&film, 0..30, &chapters()).unwrap()).unwrap();
    assert_eq!((whole.size, whole.timescale, whole.complete), (SIZE, 16_000, true));
    assert_eq!(frames(&whole), frames(&film));
    let times = |film: &Film| -> Vec<_> {
        film.pictures.iter().map(|picture| (picture.start, picture.keyframe)).collect()
    };
    assert_eq!(times(&whole), times(&film));
}

#[test]
fn a_shot_is_cut_out_without_a_loss() {
    let film = film();
    let all = frames(&film);
    for stretch in [0..21, 21..30, 9..30] {
        let clip = Film::parse(remux(&film, stretch.clone(), &[]).unwrap()).unwrap();
        assert_eq!(clip.pictures[0].start, 0);
        assert_eq!(frames(&clip), all[stretch]);
    }
}

#[test]
fn a_file_can_be_divided_again() {
    let film = film();
    let whole = Film::parse(remux(&film, 0..30, &chapters()).unwrap()).unwrap();
    assert_eq!(remux(&whole, 21..30, &[]).unwrap(), remux(&film, 21..30, &[]).unwrap());
}

#[test]
fn what_cannot_be_cut_out_is_refused() {
    let film = film();
    let refused = |stretch, chapters: &[Chapter]| {
        let message = remux(&film, stretch, chapters).unwrap_err().to_string();
        message.strip_prefix("this is not a film or picture of ours: ").unwrap().to_owned()
    };
    assert_eq!(refused(21..31, &[]), "it has 30 pictures, not those of 21..31");
    assert_eq!(refused(9..9, &[]), "it has 30 pictures, not those of 9..9");
    assert_eq!(refused(10..30, &[]), "picture 10 needs those before it to be decoded");
    assert_eq!(refused(0..21, &chapters()), "its chapters have 30 pictures, not 21");
}

#[test]
fn other_programs_find_the_chapters() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("film.mp4");
    fs::write(&path, remux(&film(), 0..30, &chapters()).unwrap()).unwrap();
    let asked = Command::new("ffprobe")
        .args(["-v", "error", "-of", "csv=p=0", "-show_chapters", "-count_frames"])
        .args(["-select_streams", "v", "-show_entries", "stream=nb_read_frames,avg_frame_rate"])
        .arg(&path)
        .output();
    // A second opinion where one is installed.
    let Ok(answer) = asked else { return };
    let said = String::from_utf8_lossy(&answer.stdout);
    assert_eq!(String::from_utf8_lossy(&answer.stderr), "");
    assert!(said.contains("16/1,30"), "{said}");
    assert!(said.contains(",0,0.000000,21000,1.312500,The fox waves"), "{said}");
    assert!(said.contains(",21000,1.312500,30000,1.875000,Füchse & 狐"), "{said}");
}
