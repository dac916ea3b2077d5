//! Pictures that were brought, and a cast that captions call by name.

use std::io::Cursor;

use shotstream_media::Frame;
use shotstream_media::png::{decode_png, encode_png};
use shotstream_plan::held::Shares;
use shotstream_story::edit::{Edit, Words};
use shotstream_story::memory::{context_of, trace_of};
use shotstream_story::picture::develop;
use shotstream_story::record::{Hash, Kept, Member, Picture, PicturePin, Pin, Record};
use shotstream_story::replay::replay;
use shotstream_story::shotstory::{export, import};
use shotstream_story::store::Store;
use shotstream_story::teller::Teller as _;

use crate::fake::Fake;
use crate::making::{Set, premise};

/// Bring a picture of one colour.
fn bring(set: &mut Set, caption: &str, grey: u8) {
    let png = encode_png(&Frame::filled(40, 30, [grey; 3])).unwrap();
    let developed = develop(&png, &set.teller, set.store.blobs()).unwrap();
    let picture = Picture {
        picture: set.story.next_picture(caption).unwrap(),
        caption: caption.to_owned(),
        image: developed.image,
        small: developed.small,
        memory: developed.memory,
    };
    set.store.write(&set.id, &mut set.story, &[Record::Pictured(picture)]).unwrap();
}

fn picture(picture: u32) -> Kept {
    Kept::Picture(PicturePin { picture })
}

fn member(name: &str, caption: &str, frames: &[Kept]) -> Edit {
    let (name, caption) = (name.to_owned(), caption.to_owned());
    Edit::SetMember(Member { name, caption, frames: frames.to_vec() })
}

/// What every take of the film is shown, as text.
fn traces(set: &Set) -> String {
    let recipe = set.teller.settings().recipe.clone();
    let takes = set.story.line().iter().filter_map(|&take| set.story.take(take));
    takes.map(|take| trace_of(&set.story, take, &recipe).unwrap()).collect()
}

/// A story with pictures, a cast and shares.
fn direct(set: &mut Set) {
    bring(set, "a red fox", 40);
    bring(set, "a blue bear", 200);
    set.append(&["zero"]);
    set.make();
    set.edit(Edit::PinPicture(1));
    set.append(&["one"]);
    set.edit(member(
        "Mara",
        "a fox with a hat",
        &[picture(2), Kept::Frame(Pin { take: 1, frame: 13 })],
    ));
    set.edit(member("bo", "a bear", &[picture(2), picture(1)]));
    set.make();
    set.append(&["@mara meets @Bo, says @mara"]);
    set.edit(Edit::Share(Shares { pins: 1, cast: 1 }));
    set.append(&["@mara alone"]);
    set.make();
}

#[test]
fn pictures_and_the_cast_take_their_places_in_the_memory() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    direct(&mut set);
    let captions: Vec<_> = set.story.takes().iter().map(|take| &*take.asked.caption).collect();
    let told = "a fox with a hat meets a bear, says a fox with a hat";
    assert_eq!(captions, ["zero", "one", told, "a fox with a hat alone"]);
    assert_eq!(
        set.story.take(3).unwrap().asked.typed.as_deref(),
        Some("@mara meets @Bo, says @mara")
    );
    assert_eq!(set.story.take(2).unwrap().asked.typed, None);
    expect_test::expect![[r#"
        take 1, shot 0: of 6 context frames 0 pinned, 0 of the cast, 6 by the policy
        take 2, shot 1: of 6 context frames 1 pinned, 0 of the cast, 5 by the policy
          picture 1: a red fox
          take 1, frame 0
          take 1, frame 6
          take 1, frame 13
          take 1, frame 26
          take 1, frame 32
        take 3, shot 2: of 6 context frames 1 pinned, 2 of the cast, 3 by the policy
          picture 1: a red fox
          picture 2: a blue bear
          take 1, frame 0
          take 1, frame 13
          take 2, frame 0
          take 2, frame 32
        take 4, shot 3: of 6 context frames 1 pinned, 1 of the cast, 4 by the policy
          picture 1: a red fox
          picture 2: a blue bear
          take 1, frame 0
          take 2, frame 0
          take 3, frame 0
          take 3, frame 32
    "#]]
    .assert_eq(&traces(&set));
    assert_eq!(replay(&set.story, set.store.blobs(), &set.teller).unwrap().differing, []);
}

#[test]
fn a_picture_changes_the_film_of_the_first_shot_and_unpinned_it_does_not() {
    let home = tempfile::tempdir().unwrap();
    let film = |name: &str, prepare: &dyn Fn(&mut Set)| {
        let mut set = Set::new(&home.path().join(name));
        prepare(&mut set);
        set.append(&["one", "two"]);
        set.make();
        set.film()
    };
    let plain = film("plain", &|_| {});
    assert_eq!(
        film("brought", &|set| bring(set, "a fox", 40)),
        plain,
        "a picture alone does nothing"
    );
    let pinned = film("pinned", &|set| {
        bring(set, "a fox", 40);
        set.edit(Edit::PinPicture(1));
    });
    assert!(pinned.iter().zip(&plain).all(|(pinned, plain)| pinned != plain));
    let other_words = film("words", &|set| {
        bring(set, "a wolf", 40);
        set.edit(Edit::PinPicture(1));
    });
    assert_ne!(other_words, pinned, "its caption is read with it");
    let undone = film("undone", &|set| {
        bring(set, "a fox", 40);
        set.edit(Edit::PinPicture(1));
        set.edit(Edit::Undo);
    });
    assert_eq!(undone, plain);
}

#[test]
fn pictures_and_cast_survive_a_restart_and_a_journey_and_make_the_same_film() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("here");
    let mut set = Set::new(&folder);
    direct(&mut set);
    let mut set = set.reopened(&folder);
    let file = export(&set.store, &set.id, Vec::new()).unwrap();
    let store = Store::open(&home.path().join("there")).unwrap();
    let id = import(&store, Cursor::new(&file), 7).unwrap();
    let story = store.load(&id).unwrap();
    assert_eq!(story, set.story);
    let mut there = Set { store, id, story, teller: Fake::new(0.0) };
    let image = there.story.picture(2).unwrap().image;
    let image = decode_png(&there.store.blobs().get(image).unwrap()).unwrap();
    assert_eq!(image, Frame::filled(256, 16, [200; 3]), "of the model's size");
    for set in [&mut there, &mut set] {
        set.append(&["@bo waves"]);
        set.make();
    }
    assert_eq!(there.film(), set.film());
    let mut store = set.store;
    assert_eq!(store.collect_garbage().unwrap().removed, 0, "pictures are named");
}

#[test]
fn a_cast_is_named_renamed_removed_and_undone() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    set.edit(member("@Mara", " a fox ", &[]));
    let names = |set: &Set| -> Vec<_> {
        set.story.holding().cast.iter().map(|member| member.name.clone()).collect()
    };
    assert_eq!(
        (names(&set), &*set.story.holding().cast[0].caption),
        (vec!["mara".into()], "a fox")
    );
    set.edit(member("bo", "a bear", &[]));
    set.edit(Edit::RenameMember { name: "mara".into(), to: "Zoë-2".into() });
    assert_eq!(names(&set), ["bo", "zoë-2"]);
    set.append(&["@ZOË-2, @bo-, a@bo.org and @ nobody"]);
    let typed = "a fox, a bear-, a@bo.org and @ nobody";
    assert_eq!(set.story.take(1).unwrap().asked.caption, typed);
    let nobody = Edit::Append(Words::new("@mara waves"));
    assert_eq!(set.refused(nobody), "nobody in the cast is called @mara");
    set.edit(Edit::RemoveMember { name: "bo".into() });
    assert_eq!(set.refused(Edit::Append(Words::new("@bo"))), "nobody in the cast is called @bo");
    set.edit(Edit::Undo);
    assert_eq!(names(&set), ["bo", "zoë-2"]);
}

#[test]
fn what_cannot_be_held_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    assert_eq!(set.refused(Edit::PinPicture(1)), "there is no picture 1");
    (0..6).for_each(|grey| bring(&mut set, "a fox", grey));
    (1..=5).for_each(|picture| set.edit(Edit::PinPicture(picture)));
    assert_eq!(set.refused(Edit::PinPicture(5)), "this picture is pinned already");
    let full = "5 of 6 context frames are pinned, no more can be";
    assert_eq!(set.refused(Edit::PinPicture(6)), full);
    set.edit(Edit::UnpinPicture(5));
    assert_eq!(set.refused(Edit::UnpinPicture(5)), "this picture is not pinned");
    assert_eq!(set.refused(member("mara", " ", &[])), "the caption is blank");
    assert_eq!(set.refused(member("mara", "a fox", &[picture(9)])), "there is no picture 9");
    let many = "a member brings at most 5 frames, found 6";
    assert_eq!(set.refused(member("mara", "a fox", &[1, 2, 3, 4, 5, 6].map(picture))), many);
    let name = set.refused(member("two words", "a fox", &[]));
    assert!(name.starts_with("a name has 1 to 32 letters"), "{name}");
    let long = set.refused(member("mara", &"x".repeat(501), &[]));
    assert_eq!(long, "these words have 501 characters, at most 500 are kept");
    let share = set.refused(Edit::Share(Shares { pins: 6, cast: 0 }));
    assert_eq!(share, "pins and cast may each have up to 5 context frames, found 6 and 0");
    for number in 0..16 {
        set.edit(member(&format!("m{number}"), "a fox", &[]));
    }
    assert_eq!(set.refused(member("one-more", "a fox", &[])), "a cast has at most 16 members");
    let not_one = develop(b"GIF89a", &set.teller, set.store.blobs()).unwrap_err();
    assert!(not_one.is_refusal());
    let expected = "this is not a film or picture of ours: a PNG or JPEG picture was expected";
    assert_eq!(not_one.to_string(), expected);
    let large = develop(&vec![0; (16 << 20) + 1], &set.teller, set.store.blobs()).unwrap_err();
    assert_eq!(large.to_string(), "a picture has at most 16777216 bytes, found 16777217");
}

/// A journal in a story file with these blobs, taken in.
fn take_in(journal: &str, blobs: &[&[u8]]) -> String {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let mut put = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes).unwrap();
    };
    let began = serde_json::to_string(&Record::Began(premise(&Fake::new(0.0)))).unwrap();
    put("story.jsonl", format!("{began}\n{journal}\n").as_bytes());
    blobs.iter().for_each(|bytes| put(&format!("blobs/{}", Hash::of(bytes)), bytes));
    let file = archive.into_inner().unwrap();
    import(&store, Cursor::new(file), 0).map_or_else(|error| error.to_string(), |_| "taken".into())
}

#[test]
fn of_a_story_file_nothing_that_is_held_is_believed() {
    let png = encode_png(&Frame::filled(4, 4, [1; 3])).unwrap();
    let pictured = |number: u32, caption: &str, image: &[u8], memory: &[u8]| {
        let (image, memory) = (Hash::of(image), Hash::of(memory));
        format!(
            r#"{{"did":"pictured","picture":{number},"caption":"{caption}","image":"{image}","small":"{image}","memory":"{memory}"}}"#
        )
    };
    let text: &[u8] = b"no picture";
    let refused = take_in(&pictured(1, "a fox", text, &png), &[text, &png]);
    assert!(refused.contains(": it is no picture ("), "{refused}");
    let refused = take_in(&pictured(1, "a fox", &png, text), &[&png, text]);
    assert!(refused.contains(&Hash::of(text).to_string()), "{refused}");
    assert_eq!(take_in(&pictured(1, " ", &png, &png), &[&png]), "the caption is blank: record 2");
    let second = take_in(&pictured(2, "a fox", &png, &png), &[&png]);
    assert_eq!(second, "picture 1 was expected, 2 came: record 2");
    let cast =
        r#"{"did":"edited","edit":"x","line":[],"pins":[],"cast":[{"name":"A b","caption":"c"}]}"#;
    assert!(take_in(cast, &[]).starts_with("a name has 1 to 32 letters"));
    let unknown = r#"{"did":"edited","edit":"x","line":[],"pins":[],"pictures":[7]}"#;
    assert_eq!(take_in(unknown, &[]), "there is no picture 7: record 2");
    let known =
        r#"{"did":"edited","edit":"x","line":[],"pins":[],"cast":[{"name":"a","caption":"c"}]}"#;
    assert_eq!(take_in(known, &[]), "taken");
}

#[test]
fn a_take_that_follows_other_takes_is_not_shown_frames_that_do_not_lie_before_it() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    set.append(&["one", "two"]);
    set.make();
    set.edit(member("mara", "a fox", &[Kept::Frame(Pin { take: 1, frame: 13 })]));
    set.edit(Edit::Retake { shot: 0, words: Some(Words::new("other one")) });
    set.append(&["@mara"]);
    set.edit(Edit::Retake { shot: 1, words: Some(Words::new("@mara")) });
    let recipe = set.teller.settings().recipe.clone();
    let places =
        |take| context_of(&set.story, set.story.take(take).unwrap(), &recipe).unwrap().places;
    assert_eq!(places(4).cast, 1, "it follows the take that has the frame");
    assert_eq!(places(5).cast, 0);
}
