//! Words that the director changes while a shot is made are part of its record.

use shotstream_plan::script::Rewrite;
use shotstream_story::edit::{Edit, Words};
use shotstream_story::record::Record;
use shotstream_story::replay::replay;

use crate::making::Set;

fn then(after_chunks: usize, caption: &str) -> Rewrite {
    Rewrite { after_chunks, caption: caption.to_owned() }
}

/// A take of five chunks.
fn long(caption: &str) -> Edit {
    Edit::Append(Words { frames: Some(57), ..Words::new(caption) })
}

#[test]
fn words_that_changed_make_the_film_that_was_asked_for_with_them_and_replay_to_the_same_hashes() {
    let home = tempfile::tempdir().unwrap();
    let mut live = Set::new(&home.path().join("live"));
    live.edit(long("one"));
    live.append(&["two"]);
    assert!(live.make_under(usize::MAX, Some((2, " uno "))));
    let take = live.story.take(1).unwrap();
    assert_eq!(take.rewrites, [then(2, "uno")]);
    assert_eq!(take.rewrite_asked, None);
    let mut written = Set::new(&home.path().join("written"));
    let words = Words { frames: Some(57), then: vec![then(2, "uno")], ..Words::new("one") };
    written.edit(Edit::Append(words));
    written.append(&["two"]);
    written.make();
    assert_eq!(live.film(), written.film());
    assert_eq!(written.story.take(1).unwrap().rewrites, []);
    for set in [&live, &written] {
        let replayed = replay(&set.story, set.store.blobs(), &set.teller).unwrap();
        assert_eq!((replayed.chunks, replayed.differing), (8, Vec::new()));
    }
    let mut plain = Set::new(&home.path().join("plain"));
    plain.edit(long("one"));
    plain.append(&["two"]);
    plain.make();
    let (film, other) = (live.film(), plain.film());
    assert_eq!(film[..2], other[..2]);
    assert!((2..8).all(|chunk| film[chunk] != other[chunk]), "also the shot that remembers it");
}

#[test]
fn a_take_that_is_killed_after_any_chunk_goes_on_under_the_words_it_had() {
    let home = tempfile::tempdir().unwrap();
    let mut whole = Set::new(&home.path().join("whole"));
    whole.edit(long("one"));
    whole.append(&["two"]);
    whole.make_under(usize::MAX, Some((2, "uno")));
    for killed_after in 2..8 {
        let folder = home.path().join(killed_after.to_string());
        let mut set = Set::new(&folder);
        set.edit(long("one"));
        set.append(&["two"]);
        assert!(!set.make_under(killed_after, Some((2, "uno"))));
        let mut set = set.reopened(&folder);
        assert_eq!(set.film().len(), killed_after, "nothing finished is lost");
        set.make();
        assert_eq!(set.film(), whole.film(), "killed after {killed_after} chunks");
        assert_eq!(set.story.take(1).unwrap().words(), [then(2, "uno")]);
    }
}

#[test]
fn words_that_were_asked_for_and_did_not_hold_yet_begin_with_the_first_chunk_that_is_not_made() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    set.edit(long("one"));
    assert!(!set.make_at_most(3));
    for caption in ["never read", "uno"] {
        let record = set.story.rewrite(1, caption).unwrap();
        set.store.write(&set.id, &mut set.story, &[record]).unwrap();
    }
    let mut set = set.reopened(home.path());
    assert_eq!(set.story.take(1).unwrap().words_to_make(5), [then(3, "uno")]);
    assert_eq!(set.story.take(1).unwrap().words_to_make(3), []);
    set.make();
    assert_eq!(set.story.take(1).unwrap().rewrites, [then(3, "uno")]);
    assert_eq!(replay(&set.story, set.store.blobs(), &set.teller).unwrap().differing, []);
}

#[test]
fn a_take_that_is_made_again_has_the_words_the_old_one_came_to_have() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    set.append(&["zero"]);
    set.make();
    set.edit(long("one"));
    set.make_under(usize::MAX, Some((2, "uno")));
    set.edit(Edit::Retake { shot: 0, words: None });
    set.edit(Edit::Remake);
    assert_eq!(set.story.take(4).unwrap().asked.then, [then(2, "uno")]);
    set.edit(Edit::Retake { shot: 1, words: Some(Words::new("plain")) });
    assert_eq!(set.story.take(5).unwrap().asked.then, []);
}

#[test]
fn words_asked_for_when_others_have_just_taken_hold_come_after_them() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    set.edit(long("one"));
    assert!(!set.make_at_most(2));
    for record in [
        Record::RewriteAsked { take: 1, caption: "uno".to_owned() },
        Record::Rewritten { take: 1, rewrite: then(2, "uno") },
        Record::RewriteAsked { take: 1, caption: "due".to_owned() },
    ] {
        set.store.write(&set.id, &mut set.story, &[record]).unwrap();
    }
    let mut set = set.reopened(home.path());
    set.make();
    assert_eq!(set.story.take(1).unwrap().words(), [then(2, "uno"), then(3, "due")]);
    let replayed = replay(&set.story, set.store.blobs(), &set.teller).unwrap();
    assert_eq!(replayed.differing, []);
}

#[test]
fn words_that_cannot_be_used_or_do_not_follow_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    set.append(&["one"]);
    let refused =
        |set: &Set, take, caption| set.story.rewrite(take, caption).unwrap_err().to_string();
    assert_eq!(refused(&set, 1, " "), "the caption is blank");
    assert_eq!(refused(&set, 2, "two"), "there is no take 2");
    let late = Words { then: vec![then(3, "late")], ..Words::new("two") };
    let expected = "words change between two chunks of a shot, not after 3 of 3";
    assert_eq!(set.refused(Edit::Append(late)), expected);
    assert!(!set.make_at_most(2));
    let before = Record::Rewritten { take: 1, rewrite: then(1, "uno") };
    let error = set.story.clone().apply(&before).unwrap_err().to_string();
    let count = set.story.num_records() + 1;
    assert_eq!(
        error,
        format!("words of a take changed after 1 chunks, not before 2: record {count}")
    );
    set.make();
    assert_eq!(refused(&set, 1, "uno"), "take 1 is over");
}
