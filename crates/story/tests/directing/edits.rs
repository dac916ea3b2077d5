//! What a director's changes do to the film.

use shotstream_story::edit::{Edit, Words};
use shotstream_story::memory::context_of;
use shotstream_story::record::Pin;
use shotstream_story::teller::Teller as _;

use crate::making::Set;

fn staleness(set: &Set) -> Vec<bool> {
    (0..set.story.line().len()).map(|shot| set.story.is_stale(shot)).collect()
}

#[test]
fn after_a_retake_later_shots_keep_their_words_and_rest_on_an_older_take() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    set.append(&["one", "two", "three"]);
    set.make();
    let before = set.film();
    set.edit(Edit::Retake { shot: 1, words: Some(Words::new("other two")) });
    assert_eq!(set.story.line(), [1, 4, 3]);
    assert_eq!(staleness(&set), [false, false, true]);
    set.make();
    let after = set.film();
    assert_eq!((&after[..3], &after[6..]), (&before[..3], &before[6..]));
    assert_ne!(after[3..6], before[3..6]);
    set.edit(Edit::Remake);
    assert_eq!(set.story.line(), [1, 4, 5]);
    assert_eq!(set.story.take(5).unwrap().asked, set.story.take(3).unwrap().asked);
    assert_eq!(staleness(&set), [false; 3]);
    set.make();
    assert_ne!(set.film()[6..], before[6..], "it remembers the new take");
    assert_eq!(set.refused(Edit::Remake), "no shot rests on an older take");
}

#[test]
fn a_retake_with_the_same_words_is_another_film_and_one_with_the_same_seed_the_same() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    set.append(&["one"]);
    set.make();
    let first = set.film();
    set.edit(Edit::Retake { shot: 0, words: None });
    set.make();
    assert_ne!(set.film(), first);
    let words = Words { seed: Some(5), ..Words::new("one") };
    set.edit(Edit::Retake { shot: 0, words: Some(words) });
    set.make();
    assert_eq!(set.film(), first);
}

#[test]
fn undo_and_redo_walk_through_the_films_and_a_new_change_opens_another_way() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    assert_eq!(set.refused(Edit::Undo), "there is no change to undo");
    set.append(&["one", "two"]);
    set.edit(Edit::Undo);
    assert_eq!(set.story.line(), [1]);
    set.edit(Edit::Redo);
    assert_eq!(set.story.line(), [1, 2]);
    assert_eq!(set.refused(Edit::Redo), "there is no change to do again");
    set.edit(Edit::Undo);
    set.append(&["other two"]);
    assert_eq!(set.story.line(), [1, 3]);
    set.edit(Edit::Undo);
    set.edit(Edit::Redo);
    assert_eq!(set.story.line(), [1, 3], "the newest change is done again");
}

#[test]
fn a_branch_leaves_what_it_branched_from_in_the_tree() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    set.append(&["one", "two"]);
    set.make();
    let first = set.film();
    set.edit(Edit::Trim { shots: 1 });
    set.append(&["elsewhere"]);
    set.make();
    assert_eq!(set.story.line(), [1, 3]);
    assert_eq!(set.story.take(3).unwrap().parent, Some(1));
    set.edit(Edit::GoTo { take: 2 });
    assert_eq!(set.film(), first);
    set.edit(Edit::Choose { take: 3 });
    assert_eq!(set.story.line(), [1, 3]);
    assert_eq!(set.refused(Edit::GoTo { take: 9 }), "there is no take 9");
    assert_eq!(set.refused(Edit::Trim { shots: 2 }), "the film has 2 shots, not more than 2");
}

#[test]
fn a_pinned_frame_conditions_the_shots_asked_for_after_it() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    set.append(&["one", "two", "three"]);
    set.make();
    let pin = Pin { take: 1, frame: 8 };
    let frames = "[0, 6, 13, 16, 19, 26, 32]";
    let refused = format!("take 1 remembers the frames {frames}, frame 8 is none of them");
    assert_eq!(set.refused(Edit::Pin(pin)), refused);
    let pin = Pin { take: 1, frame: 13 };
    set.edit(Edit::Pin(pin));
    set.append(&["four"]);
    set.make();
    let pinned = set.film();
    let recipe = set.teller.settings().recipe.clone();
    let context = context_of(&set.story, set.story.take(4).unwrap(), &recipe).unwrap();
    let expected = [(1, 0), (1, 13), (2, 0), (2, 32), (3, 0), (3, 32)];
    assert_eq!((context.frames, context.pictures), (expected.to_vec(), Vec::new()));
    assert_eq!(
        context.places.to_string(),
        "of 6 context frames 1 pinned, 0 of the cast, 5 by the policy"
    );
    set.edit(Edit::Undo);
    set.edit(Edit::Unpin(pin));
    set.append(&["four"]);
    set.make();
    assert_ne!(set.film()[9..], pinned[9..], "the pin was seen");
    let many = [0, 6, 13, 16, 19].map(|frame| Edit::Pin(Pin { take: 1, frame }));
    many.into_iter().for_each(|pin| set.edit(pin));
    let sixth = Edit::Pin(Pin { take: 1, frame: 26 });
    assert_eq!(set.refused(sixth), "5 of 6 context frames are pinned, no more can be");
}

#[test]
fn words_that_cannot_be_used_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let set = Set::new(home.path());
    assert_eq!(set.refused(Edit::Append(Words::new(" "))), "the caption is blank");
    let ragged = Words { frames: Some(40), ..Words::new("one") };
    let refused = set.refused(Edit::Append(ragged));
    assert!(refused.ends_with("the nearest have 33 and 45"), "{refused}");
    let refused = set.refused(Edit::Retake { shot: 3, words: None });
    assert_eq!(refused, "the film has 0 shots, not shot 3");
}
