//! What the pictures promise: the same everywhere, and different wherever a story is.

use expect_test::expect;
use proptest::prelude::*;
use shotstream_media::Frame;
use shotstream_world::{
    Accessory, Action, CameraSize, Character, Colour, Pan, Place, Shot, ShotPainter, Species,
    Story, StoryOptions, Time,
};

const SIZE: [usize; 2] = [80, 128];
const FRAMES: usize = 33;

fn draw(story: &Story, shot: usize, frame: usize) -> Frame {
    ShotPainter::new(story, shot, SIZE, FRAMES).frame(frame)
}

fn any_story() -> impl Strategy<Value = Story> {
    any::<u64>().prop_map(|seed| Story::sample(seed, &StoryOptions { shots: 2..=3, pairs: 0.3 }))
}

/// The 64-bit FNV-1a hash of a frame's bytes.
fn hash(frame: &Frame) -> u64 {
    frame.rgb.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[test]
fn pictures_do_not_change_by_accident() {
    let mut hashes = String::new();
    for seed in 0..6 {
        let story = Story::sample(seed, &StoryOptions { pairs: 0.5, ..StoryOptions::default() });
        for frame in [0, 20] {
            hashes += &format!("{seed} {frame:>2} {:016x}\n", hash(&draw(&story, 1, frame)));
        }
    }
    expect![[r#"
        0  0 8167a7abf1b8f23d
        0 20 eb4d0674a0717f35
        1  0 52edcd9a229f5406
        1 20 12f8b6b64550f861
        2  0 5365018a36513aa4
        2 20 4cc7699219d7f240
        3  0 789ab02ede724660
        3 20 527ae11fcd44f2e9
        4  0 9820d4ceda75aa03
        4 20 f1967fc623d9baae
        5  0 730181f673d5512b
        5 20 b3ca686916ff36ef
    "#]]
    .assert_eq(&hashes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_frame_depends_on_its_story_and_number_alone(story in any_story(), frame in 0..FRAMES) {
        let painter = ShotPainter::new(&story, 0, SIZE, FRAMES);
        painter.frame((frame + 7) % FRAMES);
        prop_assert_eq!(painter.frame(frame), draw(&story, 0, frame));
    }

    #[test]
    fn pictures_have_the_size_they_are_asked_for(
        story in any_story(),
        height in 1_usize..200,
        width in 1_usize..300,
        frame in 0_usize..200,
    ) {
        let picture = ShotPainter::new(&story, 1, [height, width], FRAMES).frame(frame);
        prop_assert_eq!((picture.height, picture.width), (height, width));
        prop_assert_eq!(picture.rgb.len(), 3 * height * width);
    }
}

/// The share of pixels that differ clearly somewhere in the shot, at most over some frames.
fn difference(a: &Story, b: &Story) -> f64 {
    let most = [0, 6, 13, 32].map(|frame| {
        let (a, b) = (draw(a, 0, frame), draw(b, 0, frame));
        let pixels = a.rgb.chunks_exact(3).zip(b.rgb.chunks_exact(3));
        pixels.filter(|(a, b)| a.iter().zip(*b).any(|(&a, &b)| a.abs_diff(b) > 40)).count()
    });
    most.into_iter().fold(0, usize::max) as f64 / (SIZE[0] * SIZE[1]) as f64
}

/// A story of one shot and everything it becomes when one attribute is exchanged.
fn variants(size: CameraSize) -> (Story, Vec<(String, Story)>) {
    let character =
        Character { species: Species::Fox, colour: Colour::Red, accessory: Accessory::Scarf };
    let shot = Shot {
        place: Place::Meadow,
        time: Time::Day,
        size,
        pan: Pan::None,
        cast: vec![0],
        actions: vec![Action::Stands],
    };
    let story = Story { cast: vec![character], shots: vec![shot] };
    let mut variants = Vec::new();
    let mut add = |name: &str, change: &dyn Fn(&mut Story)| {
        let mut other = story.clone();
        change(&mut other);
        if other != story {
            variants.push((name.to_owned(), other));
        }
    };
    for x in Species::ALL {
        add(x.name(), &|s| s.cast[0].species = x);
    }
    for x in Colour::ALL {
        add(x.name(), &|s| s.cast[0].colour = x);
    }
    for x in Accessory::ALL {
        add(x.name(), &|s| s.cast[0].accessory = x);
    }
    for x in Place::ALL {
        add(x.name(), &|s| s.shots[0].place = x);
    }
    for x in Time::ALL {
        add(x.name(), &|s| s.shots[0].time = x);
    }
    for x in CameraSize::ALL {
        add(x.name(), &|s| s.shots[0].size = x);
    }
    for x in Pan::ALL {
        add(x.name(), &|s| s.shots[0].pan = x);
    }
    for x in Action::ALL {
        add(x.name(), &|s| s.shots[0].actions[0] = x);
    }
    (story, variants)
}

#[test]
fn every_attribute_shows_at_every_camera_size() {
    for size in CameraSize::ALL {
        let (story, variants) = variants(size);
        for (i, (name, variant)) in variants.iter().enumerate() {
            let from_story = difference(&story, variant);
            assert!(from_story > 0.01, "{name} at {size}: {from_story}");
            for (other_name, other) in &variants[..i] {
                let difference = difference(variant, other);
                assert!(difference > 0.01, "{name} and {other_name} at {size}: {difference}");
            }
        }
    }
}

#[test]
fn a_still_camera_keeps_the_background_still() {
    let (story, _) = variants(CameraSize::Wide);
    let painter = ShotPainter::new(&story, 0, SIZE, FRAMES);
    let corner = |frame: usize| painter.frame(frame).rgb[..3 * SIZE[1] * 16].to_vec();
    assert!((1..FRAMES).all(|frame| corner(frame) == corner(0)));
}

#[test]
fn a_wide_character_is_about_half_as_high_as_the_picture() {
    for species in Species::ALL {
        let (mut story, _) = variants(CameraSize::Wide);
        story.cast[0] = Character { species, colour: Colour::Blue, accessory: Accessory::None };
        let mut without = story.clone();
        without.cast[0].colour = Colour::Red;
        let (a, b) = (draw(&story, 0, 0), draw(&without, 0, 0));
        let row = 3 * SIZE[1];
        let coat = |y: &usize| a.rgb[y * row..][..row] != b.rgb[y * row..][..row];
        let rows: Vec<usize> = (0..SIZE[0]).filter(coat).collect();
        let height = (rows[rows.len() - 1] - rows[0]) as f64 / SIZE[0] as f64;
        let low = if species == Species::Snail { 0.34 } else { 0.44 };
        assert!((low..0.62).contains(&height), "{species}: {height}");
    }
}
