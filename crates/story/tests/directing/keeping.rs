//! Stories that survive: a crash, another program, a journey in a file, and being made again.

use std::io::{Cursor, Read as _};

use shotstream_story::edit::{Edit, Words};
use shotstream_story::record::{Chunk, Hash, Pin, Record};
use shotstream_story::replay::replay;
use shotstream_story::shotstory::{export, import};
use shotstream_story::store::{Payer, Store};
use shotstream_story::teller::Teller as _;

use crate::fake::Fake;
use crate::making::{Set, premise};

/// A story with a retake, a branch, a pin and an uneven length.
fn direct(set: &mut Set) {
    set.append(&["one", "two"]);
    set.make();
    set.edit(Edit::Pin(Pin { take: 1, frame: 13 }));
    set.edit(Edit::Retake { shot: 1, words: None });
    set.edit(Edit::Append(Words { frames: Some(45), ..Words::new("three") }));
    set.make();
    set.edit(Edit::Trim { shots: 1 });
    set.append(&["elsewhere"]);
    set.make();
    set.edit(Edit::Undo);
    set.edit(Edit::Undo);
}

#[test]
fn a_story_killed_after_any_chunk_goes_on_to_the_same_film() {
    let home = tempfile::tempdir().unwrap();
    let mut whole = Set::new(&home.path().join("whole"));
    whole.append(&["one", "two", "three"]);
    whole.make();
    for killed_after in 0..9 {
        let folder = home.path().join(killed_after.to_string());
        let mut set = Set::new(&folder);
        set.append(&["one", "two", "three"]);
        assert!(!set.make_at_most(killed_after));
        let mut set = set.reopened(&folder);
        assert_eq!(set.film().len(), killed_after, "nothing finished is lost");
        set.make();
        assert_eq!(set.film(), whole.film());
        assert_eq!(set.story, whole.story);
    }
}

#[test]
fn the_list_says_of_a_story_what_the_story_says_and_keeps_saying_it() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    direct(&mut set);
    let mut story = set.story.clone();
    set.store.write(&set.id, &mut story, &[Record::Titled { title: "new".to_owned() }]).unwrap();
    let listed = set.store.list().unwrap();
    let entry = &listed[0].entry;
    assert_eq!((&*entry.title, entry.shots, entry.takes), ("new", 3, 5));
    let first = story.take(story.line()[0]).unwrap();
    assert_eq!(entry.picture, Some(first.chunks[0].picture));
    assert_eq!(set.reopened(home.path()).store.list().unwrap(), listed);
}

#[test]
fn frames_are_counted_for_who_has_the_key_on_the_day_they_are_made_and_stay_counted() {
    let home = tempfile::tempdir().unwrap();
    let set = Set::new(home.path());
    let payer = |name: &str, day| Payer { key: Hash::of(name.as_bytes()), day };
    let asked = set.story.edit(&Edit::Append(Words::new("one")), &set.teller.settings().recipe);
    let (one, mut story) = (payer("one", 7), set.story.clone());
    set.store.write_for(Some(one), &set.id, &mut story, &asked.unwrap()).unwrap();
    let nothing = Hash::of(b"");
    let made = |frames| {
        let chunk = Chunk { frames, rgb: nothing, media: nothing, picture: nothing };
        [Record::Made { take: 1, chunk }]
    };
    for (payer, frames) in
        [(Some(one), 9), (Some(one), 12), (Some(payer("one", 8)), 12), (None, 12)]
    {
        set.store.write_for(payer, &set.id, &mut story, &made(frames)).unwrap();
    }
    let set = set.reopened(home.path());
    let spent = |name, day| set.store.spent(payer(name, day)).unwrap();
    assert_eq!((spent("one", 7), spent("one", 8), spent("two", 7)), (21, 12, 0));
    assert_eq!(set.store.asker(&set.id, 1).unwrap(), Some(one.key));
    set.store.remove(&set.id).unwrap();
    assert_eq!(set.store.asker(&set.id, 1).unwrap(), None);
    assert_eq!(set.store.spent(one).unwrap(), 21, "what is removed was made");
}

#[test]
fn a_directed_story_replays_to_the_same_hashes_and_another_model_is_found_out() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    direct(&mut set);
    let replayed = replay(&set.story, set.store.blobs(), &set.teller).unwrap();
    assert_eq!((replayed.takes, replayed.chunks), (5, 16));
    assert_eq!(replayed.differing, []);
    let replayed = replay(&set.story, set.store.blobs(), &Fake::new(0.1)).unwrap();
    assert_eq!(replayed.differing.len(), 16);
}

#[test]
fn a_story_goes_on_elsewhere_from_its_file() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(&home.path().join("here"));
    direct(&mut set);
    let file = export(&set.store, &set.id, Vec::new()).unwrap();
    let store = Store::open(&home.path().join("there")).unwrap();
    let id = import(&store, Cursor::new(&file), 7).unwrap();
    let story = store.load(&id).unwrap();
    assert_eq!(story, set.story);
    assert_eq!(export(&store, &id, Vec::new()).unwrap(), file, "byte by byte");
    let mut there = Set { store, id, story, teller: Fake::new(0.0) };
    there.append(&["four"]);
    set.append(&["four"]);
    there.make();
    set.make();
    assert_eq!(there.film(), set.film());
}

#[test]
fn a_damaged_story_file_is_an_error_and_never_a_panic() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(&home.path().join("here"));
    set.append(&["one"]);
    set.make();
    let file = export(&set.store, &set.id, Vec::new()).unwrap();
    let store = Store::open(&home.path().join("there")).unwrap();
    // The last kilobytes are tar's padding.
    for length in (0..file.len() - 2048).step_by(file.len() / 20) {
        assert!(import(&store, Cursor::new(&file[..length]), 0).is_err(), "cut at {length}");
    }
    for place in (0..file.len() - 2048).step_by(file.len() / 60) {
        let mut damaged = file.clone();
        damaged[place] ^= 0x55;
        if let Ok(id) = import(&store, Cursor::new(&damaged), 0) {
            // Padding, or a header's field that means nothing here.
            assert_eq!(store.load(&id).unwrap().takes(), set.story.takes(), "changed at {place}");
        }
    }
}

#[test]
fn a_story_file_cannot_name_what_is_not_its_own() {
    let home = tempfile::tempdir().unwrap();
    let store = Store::open(home.path()).unwrap();
    let refused = |name: &str, bytes: &[u8]| {
        let mut archive = tar::Builder::new(Vec::new());
        let premise = Record::Began(premise(&Fake::new(0.0)));
        let journal = serde_json::to_vec(&premise).unwrap();
        for (name, bytes) in [("story.jsonl", &journal[..]), (name, bytes)] {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            archive.append(&header, bytes).unwrap();
        }
        let file = archive.into_inner().unwrap();
        import(&store, Cursor::new(file), 0).unwrap_err().to_string()
    };
    let strange = r#"this is not a story file: it holds "../../etc/passwd""#;
    assert_eq!(refused("../../etc/passwd", b"x"), strange);
    let extra = format!("blobs/{}", "0".repeat(64));
    assert!(refused(&extra, b"x").contains("it holds a blob nothing names: 0000"));
    // An entry that is a link, or one with a name longer than ours, is none of ours.
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    archive.append_link(&mut header, "story.jsonl", "/etc/passwd").unwrap();
    let linked = import(&store, Cursor::new(archive.into_inner().unwrap()), 0);
    assert!(linked.unwrap_err().to_string().contains("something that is no file"));
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(0);
    archive.append_data(&mut header, "x".repeat(100_000), &b""[..]).unwrap();
    let long = import(&store, Cursor::new(archive.into_inner().unwrap()), 0);
    assert!(long.unwrap_err().to_string().len() < 200);
    assert_eq!(store.list().unwrap(), []);
}

/// A file whose journal says what no server of ours would have written.
#[test]
fn a_story_file_is_believed_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    set.append(&["one"]);
    set.make();
    let whole = export(&set.store, &set.id, Vec::new()).unwrap();
    let refused = |change: &dyn Fn(&mut Record)| {
        let mut archive = tar::Archive::new(&whole[..]);
        let mut changed = tar::Builder::new(Vec::new());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            if name == "story.jsonl" {
                let lines = String::from_utf8(bytes).unwrap();
                let mut text = String::new();
                for line in lines.lines() {
                    let mut record = serde_json::from_str(line).unwrap();
                    change(&mut record);
                    text += &(serde_json::to_string(&record).unwrap() + "\n");
                }
                bytes = text.into_bytes();
            }
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            changed.append_data(&mut header, name, &bytes[..]).unwrap();
        }
        let error = import(&set.store, &changed.into_inner().unwrap()[..], 0).unwrap_err();
        assert!(error.is_refusal(), "{error:?}");
        error.to_string()
    };
    let title = refused(&|record| {
        if let Record::Began(premise) = record {
            premise.title = "x".repeat(30_000);
        }
    });
    assert!(title.contains("these words have at most"), "{title}");
    let endless = refused(&|record| {
        if let Record::Made { chunk, .. } = record {
            chunk.frames = usize::MAX;
        }
    });
    assert!(endless.contains("no chunk has 18446744073709551615 frames"), "{endless}");
    let long = refused(&|record| {
        if let Record::Made { chunk, .. } = record {
            chunk.frames += 1;
        }
    });
    assert!(long.contains("chunk 0 of take 1 has 9 frames, not 10"), "{long}");
    let no_film = refused(&|record| {
        if let Record::Made { chunk, .. } = record {
            chunk.media = chunk.picture;
        }
    });
    assert!(no_film.contains("is not a story file"), "{no_film}");
    let no_picture = refused(&|record| {
        if let Record::Made { chunk, .. } = record {
            chunk.picture = chunk.media;
        }
    });
    assert!(no_picture.contains("is not a story file"), "{no_picture}");
    let recipe = refused(&|record| {
        if let Record::Began(premise) = record {
            premise.recipe.clear();
        }
    });
    assert!(recipe.contains("its recipe is none of ours"), "{recipe}");
}

#[test]
fn a_store_is_held_by_one_program_and_forgets_what_is_removed() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    set.append(&["one"]);
    set.make();
    let error = Store::open(home.path()).unwrap_err().to_string();
    assert!(error.starts_with("cannot open the stories, does another program use"), "{error}");
    let Set { mut store, id, .. } = set;
    let kept = store.collect_garbage().unwrap();
    assert_eq!(kept.removed, 0);
    store.remove(&id).unwrap();
    assert_eq!(store.load(&id).unwrap_err().to_string(), format!("there is no story {id}"));
    assert_eq!(store.collect_garbage().unwrap().removed, kept.kept);
}
