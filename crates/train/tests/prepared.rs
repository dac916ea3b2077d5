//! Prepared shards: what is refused and how, and that stages learn from what is not.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

mod toys;

use std::{
    fs,
    path::{Path, PathBuf},
};

use shotstream_media::FilmWriter;
use shotstream_models::{bundle::Bundle, checkpoint::StoredDtype};
use shotstream_train::{
    data::{
        prepare::{Job, Material, Summary, prepare},
        shards::read_shard,
        store::Store,
        table::Table,
        world::DrawnStories,
    },
    error::TrainError,
    recipe::{StageRecipe, read_toml},
    stages::{ode_pairs, self_forcing, teacher},
    trainer::Run,
};
use shotstream_world::{ShotPainter, Story, StoryOptions};
use toys::{loop_of, losses, mean, toy, write};

/// A video of drawn shots of these lengths, with `gap` frames of black between them.
fn video(path: &Path, lengths: &[usize], gap: usize) {
    let options = StoryOptions { shots: lengths.len()..=lengths.len(), pairs: 0.0 };
    let story = Story::sample(3, &options);
    let mut film = FilmWriter::create(path, [48, 32], 16).unwrap();
    for (shot, &frames) in lengths.iter().enumerate() {
        let painter = ShotPainter::new(&story, shot, [32, 48], frames);
        let drawn: Vec<_> = (0..frames).map(|frame| painter.frame(frame)).collect();
        film.write(&drawn).unwrap();
        let black = shotstream_media::Frame::filled(48, 32, [0; 3]);
        if gap > 0 {
            film.write(&vec![black; gap]).unwrap();
        }
    }
    film.finish().unwrap();
}

fn captions(path: &Path, shots: usize) {
    let told = (1..=shots).map(|shot| format!(", \"shot{shot}\": \"The cat waves.\""));
    let text = format!("{{\"global_caption\": \"A red cat. \"{}}}", told.collect::<String>());
    fs::write(path, text).unwrap();
}

/// Stories of two and three shots, of nine and twenty-one frames, with gaps between the ranges.
fn clips(dir: &Path) -> PathBuf {
    video(&dir.join("two.mp4"), &[9, 21], 3);
    video(&dir.join("three.mp4"), &[10, 9, 25], 0);
    captions(&dir.join("two.json"), 2);
    captions(&dir.join("three.json"), 3);
    let text = "shot_num_from_caption,json_path,video_path,frame_number\n\
        2,two.json,two.mp4,\"[[0, 9], [12, 33]]\"\n\
        3,three.json,three.mp4,\"[[0, 10], [10, 19], [19, 44]]\"\n\
        2,two.json,two.mp4,\"[(0, 9), (12, 33)]\"\n";
    write(dir, "table.csv", text)
}

fn job<'a>(bundle: &'a Bundle, material: Material, dir: &'a Path) -> Job<'a> {
    Job { material, bundle, shot_frames: 21, shard: 2, dir, strict: false, threads: 2 }
}

fn prepare_table(bundle: &Bundle, table: &Path, dir: &Path) -> Result<Summary, TrainError> {
    let material = Material::Clips(Table::read(table, None)?);
    prepare(&job(bundle, material, dir), &mut |_| ())
}

fn drawn(stories: usize) -> DrawnStories {
    DrawnStories { first_seed: 7 << 32, stories, shots: 2, pairs: 0.2, wordings: 2 }
}

#[test]
fn clips_are_cut_to_whole_chunks_and_gaps_belong_to_no_shot() {
    let home = tempfile::tempdir().unwrap();
    let bundle = toy(home.path());
    let dir = home.path().join("shards");
    let summary = prepare_table(&bundle, &clips(home.path()), &dir).unwrap();
    assert_eq!((summary.stories, summary.shards), (3, [2, 0]));
    let stories = read_shard(&dir.join("000000.tar")).unwrap();
    let lengths = |story: usize| {
        stories[story].facts.shots.iter().map(|shot| shot.frames).collect::<Vec<_>>()
    };
    assert_eq!((lengths(0), lengths(1)), (vec![9, 21], vec![9, 9, 21]));
    let facts = &stories[0].facts;
    assert_eq!(facts.source, "two.mp4");
    let expected = ["A red cat. shot0:The cat waves.", "A red cat. shot1:The cat waves."];
    assert_eq!(facts.tellings[0].named, expected);
    assert_eq!(stories[0].shots[1].clip.shape, [6, 16, 2, 4]);
    assert_eq!(stories[0].shots[0].frames.shape, [facts.shots[0].remembered.len(), 16, 2, 4]);

    // The same shots without a gap give the same latents: nothing is taken from the gap.
    video(&home.path().join("two.mp4"), &[9, 21], 0);
    let text = "json_path,video_path,frame_number\ntwo.json,two.mp4,\"[[0, 9], [9, 30]]\"\n";
    let table = write(home.path(), "close.csv", text);
    let close = home.path().join("close");
    prepare_table(&bundle, &table, &close).unwrap();
    assert_eq!(read_shard(&close.join("000000.tar")).unwrap()[0], stories[0]);
}

#[test]
fn a_row_that_cannot_be_learnt_from_is_left_out_with_its_reason_and_path() {
    let home = tempfile::tempdir().unwrap();
    let bundle = toy(home.path());
    clips(home.path());
    captions(&home.path().join("one.json"), 1);
    write(home.path(), "bad.json", "{\"global_caption\": \"A cat.\", \"shot2\": \"It waves.\"}");
    write(home.path(), "bad.mp4", "this is no video");
    let text = "json_path,video_path,frame_number\n\
        two.json,two.mp4,\"[[0, 9], [12, 33]]\"\n\
        two.json,two.mp4,\"[[0, 8], [12, 33]]\"\n\
        two.json,two.mp4,\"[[0, 9], [12, 40]]\"\n\
        one.json,two.mp4,\"[[0, 9], [12, 33]]\"\n\
        two.json,two.mp4,\"[[0, 9], [8, 33]]\"\n\
        bad.json,two.mp4,\"[[0, 9], [12, 33]]\"\n\
        none.json,two.mp4,\"[[0, 9], [12, 33]]\"\n\
        two.json,bad.mp4,\"[[0, 9], [12, 33]]\"\n\
        two.json,two.mp4\n\
        two.json,,\"[[0, 9]]\"\n";
    let table = write(home.path(), "table.csv", text);
    let dir = home.path().join("shards");
    let summary = prepare_table(&bundle, &table, &dir).unwrap();
    assert_eq!((summary.stories, summary.refused.len()), (1, 9));
    let told: Vec<_> = summary.refused.iter().map(ToString::to_string).collect();
    for (found, (start, end)) in told.iter().zip([
        ("row 2: shot 1 has 8 frames, expected at least 9: ", "two.mp4"),
        ("row 3: range 2 ends at frame 40, the video has 36 frames: ", "two.mp4"),
        ("row 4: 2 ranges but 1 captions, expected one of each for every shot: ", "one.json"),
        ("row 5: range 2 begins with frame 8, the one before it ends at 9: ", "table.csv"),
        ("row 6: ", "bad.json"),
        ("row 7: No such file or directory", "none.json"),
        ("row 8: ", "bad.mp4"),
        ("row 9: ", "table.csv"),
        ("row 10: video_path is empty: ", "table.csv"),
    ]) {
        assert!(found.starts_with(start) && found.ends_with(end), "{found}");
    }
    assert!(told[4].contains("shot1"), "{}", told[4]);
    assert!(told[6].contains("ffmpeg"), "{}", told[6]);

    // Asked again, the finished shards and what they left out are as they were.
    let again = prepare_table(&bundle, &table, &dir).unwrap();
    assert_eq!((again.shards, &again.refused), ([5, 5], &summary.refused));
    assert_eq!(Store::open(&dir, &bundle).unwrap().num_shots(), 2);

    // What was missing and is there now is taken in when its shard is made again.
    captions(&home.path().join("none.json"), 2);
    video(&home.path().join("bad.mp4"), &[9, 21], 3);
    fs::remove_file(dir.join("000003.tar")).unwrap();
    let again = prepare_table(&bundle, &table, &dir).unwrap();
    assert_eq!((again.stories, again.refused.len()), (3, 7));
    Store::open(&dir, &bundle).unwrap();

    let material = Material::Clips(Table::read(&table, None).unwrap());
    let strict_dir = home.path().join("strict");
    let strict = Job { strict: true, threads: 1, ..job(&bundle, material, &strict_dir) };
    let error = prepare(&strict, &mut |_| ()).unwrap_err();
    assert_eq!(error.to_string(), told[0]);
    assert!(!strict_dir.join("000000.tar").exists() && !strict_dir.join("000000.tmp").exists());
}

#[test]
fn a_table_without_its_columns_names_the_missing_one() {
    let home = tempfile::tempdir().unwrap();
    let table = write(home.path(), "table.csv", "json_path,frame_number\na.json,\"[[0, 9]]\"\n");
    let error = Table::read(&table, None).unwrap_err().to_string();
    assert!(error.contains("no column video_path") && error.ends_with("table.csv"), "{error}");
    write(home.path(), "table.csv", "json_path,video_path,frame_number\n");
    let error = Table::read(&table, None).unwrap_err().to_string();
    assert!(error.contains("the table has no rows"), "{error}");
}

fn bytes_of(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut files: Vec<_> = files
        .map(|path| {
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn an_interrupted_preparation_goes_on_to_the_same_bytes_on_any_number_of_threads() {
    let home = tempfile::tempdir().unwrap();
    let bundle = toy(home.path());
    let [whole, parts] = ["whole", "parts"].map(|name| home.path().join(name));
    prepare(&job(&bundle, Material::World(drawn(7)), &whole), &mut |_| ()).unwrap();
    // What a killed run leaves: some finished shards and a piece of another.
    prepare(&job(&bundle, Material::World(drawn(7)), &parts), &mut |_| ()).unwrap();
    for shard in ["000001.tar", "000003.tar"] {
        fs::remove_file(parts.join(shard)).unwrap();
    }
    fs::write(parts.join("000001.tmp"), &bytes_of(&whole)[2].1[..700]).unwrap();
    let mut seen = Vec::new();
    let single = Job { threads: 1, ..job(&bundle, Material::World(drawn(7)), &parts) };
    let summary = prepare(&single, &mut |now| seen.push(now.done)).unwrap();
    assert_eq!(summary.shards, [4, 2]);
    assert_eq!(seen, [4, 5, 6, 7]);
    assert_eq!(bytes_of(&whole), bytes_of(&parts));
    let names: Vec<_> = bytes_of(&whole).into_iter().map(|(name, _)| name).collect();
    let tars = ["000000.tar", "000001.tar", "000002.tar", "000003.tar"];
    assert_eq!(names, [&[".lock"][..], &tars, &["prepared.json"]].concat());
}

#[test]
fn a_folder_made_otherwise_is_refused_with_the_difference() {
    let home = tempfile::tempdir().unwrap();
    let bundle = toy(home.path());
    let dir = home.path().join("shards");
    let go = |bundle: &Bundle, drawn| {
        prepare(&job(bundle, Material::World(drawn), &dir), &mut |_| ()).map(|_| ())
    };
    go(&bundle, drawn(2)).unwrap();
    let before = bytes_of(&dir);
    let error = go(&bundle, drawn(3)).unwrap_err().to_string();
    assert!(error.contains("another material") && error.ends_with("prepared.json"), "{error}");
    let (mean, std) = (vec![0.5; 16], vec![1.0; 16]);
    let mut other = bundle.clone();
    other.vae = other.vae.with_latents(mean, std);
    let error = go(&other, drawn(2)).unwrap_err().to_string();
    assert!(error.contains("another encoder"), "{error}");
    let error = Store::open(&dir, &other).unwrap_err().to_string();
    assert!(error.contains("by the encoder of another model"), "{error}");
    assert_eq!(bytes_of(&dir), before);
}

#[test]
fn a_damaged_folder_is_an_error_that_names_the_file() {
    let home = tempfile::tempdir().unwrap();
    let bundle = toy(home.path());
    let dir = home.path().join("shards");
    prepare(&job(&bundle, Material::World(drawn(3)), &dir), &mut |_| ()).unwrap();
    let tar = dir.join("000000.tar");
    let whole = fs::read(&tar).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&tar, bytes).unwrap();
        let error = Store::open(&dir, &bundle).unwrap_err().to_string();
        assert!(error.ends_with("000000.tar"), "{error}");
        error
    };
    for length in [0, 100, 512, 700, 1024, 1600, whole.len() / 2, whole.len() - 2048] {
        refused(&whole[..length]);
    }
    // The first member's name, its content, and the length of the tensors' header.
    for (at, says) in
        [(3, "damaged"), (513, "00000000.json"), (whole_header(&whole), "00000000.safetensors")]
    {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        assert!(refused(&bytes).contains(says));
    }
    fs::remove_file(&tar).unwrap();
    let error = Store::open(&dir, &bundle).unwrap_err().to_string();
    assert!(error.contains("shard 0 is missing") && error.ends_with("shards"), "{error}");
}

/// Where the second member's content begins.
fn whole_header(tar: &[u8]) -> usize {
    let size = std::str::from_utf8(&tar[124..135]).unwrap();
    let size = usize::from_str_radix(size.trim(), 8).unwrap();
    512 + size.div_ceil(512) * 512 + 512
}

const REST: &str = "context_dropout = 0.1\ncontext_noise = 0.1\n";

fn teach(home: &Path, bundle: Bundle, data: &str) -> Result<(Bundle, Vec<f64>), TrainError> {
    let stage =
        "[stage]\nshift = 3.0\ntext_dropout = 0.1\n[stage.sampler]\nsubsteps = 1\nguidance = 2.0\n";
    let text = format!("{}{stage}[stage.data]\n{REST}{data}", loop_of(80, 4));
    let recipe = StageRecipe::read(&write(home, "teacher.toml", &text))?;
    let work = |run: &mut Run<'_>| teacher::run(bundle, &recipe, run);
    let (bundle, losses) = losses(&home.join("teacher"), false, work);
    Ok((bundle?, losses))
}

#[test]
fn every_stage_learns_from_clips_of_different_lengths() {
    let home = tempfile::tempdir().unwrap();
    let bundle = toy(home.path());
    prepare_table(&bundle, &clips(home.path()), &home.path().join("clips")).unwrap();
    let (bundle, taught) =
        teach(home.path(), bundle, "anonymous = 0.0\nprepared = \"clips\"\n").unwrap();
    assert!(mean(&taught[60..]) < mean(&taught[..20]), "{taught:?}");
    bundle.save(&home.path().join("teacher/model.safetensors"), StoredDtype::F32).unwrap();

    let data =
        "prepared = \"clips\"\ncontext_dropout = 0.0\ncontext_noise = 0.0\nanonymous = 0.0\n";
    let text = format!(
        "seed = 7\nshards = 3\nsamples = 1\n[sampler]\nsubsteps = 1\nguidance = 2.0\n[data]\n{data}"
    );
    let recipe = read_toml(&write(home.path(), "pairs.toml", &text)).unwrap();
    let work = |run: &mut Run<'_>| ode_pairs::run(&bundle, &recipe, run);
    losses(&home.path().join("pairs"), false, work).0.unwrap();

    for history in ["true", "own"] {
        let stage = format!(
            "[stage]\nteacher = \"teacher\"\nhistory = \"{history}\"\nperiod = 2\ncritic_rate = 1.0\n\
             guidance = 1.0\nshift = 3.0\n[stage.data]\n{data}"
        );
        let text = format!("{}{stage}", loop_of(4, 1));
        let recipe = StageRecipe::read(&write(home.path(), "forcing.toml", &text)).unwrap();
        let work = |run: &mut Run<'_>| self_forcing::run(bundle.clone(), &recipe, run);
        let (student, losses) = losses(&home.path().join(history), false, work);
        student.unwrap();
        assert_eq!(losses.len(), 4);
    }
}

#[test]
fn prepared_stories_are_told_as_they_are_stored() {
    let home = tempfile::tempdir().unwrap();
    let bundle = toy(home.path());
    let dir = home.path().join("drawn");
    prepare(&job(&bundle, Material::World(drawn(2)), &dir), &mut |_| ()).unwrap();
    let story = &read_shard(&dir.join("000000.tar")).unwrap()[0];
    assert_eq!((story.facts.seed, story.facts.tellings.len()), (Some(7 << 32), 2));
    let telling = &story.facts.tellings[0];
    let anonymous = telling.anonymous.as_ref().unwrap();
    assert_eq!(anonymous[0], telling.named[0]);
    assert_ne!(anonymous[1], telling.named[1]);
    let (_, taught) =
        teach(home.path(), bundle.clone(), "anonymous = 0.5\nprepared = \"drawn\"\n").unwrap();
    assert!(mean(&taught[60..]) < mean(&taught[..20]), "{taught:?}");

    prepare_table(&bundle, &clips(home.path()), &home.path().join("clips")).unwrap();
    fs::remove_dir_all(home.path().join("teacher")).unwrap();
    let error = teach(home.path(), bundle, "anonymous = 0.5\nprepared = \"clips\"\n").unwrap_err();
    assert!(error.to_string().contains("data.anonymous is 0.5"), "{error}");
}
