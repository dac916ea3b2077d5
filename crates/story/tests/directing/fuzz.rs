//! Story files with random damage: taken in or refused in one sentence, and nothing is left behind.

use shotstream_damage::{Dice, damaged, inputs};
use shotstream_story::edit::Edit;
use shotstream_story::record::Pin;
use shotstream_story::shotstory::{export, import};

use crate::making::Set;

#[test]
fn fuzz_story_files() {
    let home = tempfile::tempdir().unwrap();
    let mut set = Set::new(home.path());
    set.append(&["one"]);
    set.make();
    set.edit(Edit::Pin(Pin { take: 1, frame: 13 }));
    let whole = export(&set.store, &set.id, Vec::new()).unwrap();
    // The journal and its header; behind them the blobs say little that is not a hash.
    let end = whole.windows(6).position(|it| it == b"blobs/").unwrap();
    let mut taken = 0_u64;
    for input in 0..inputs() {
        let mut dice = Dice::of(input);
        let end = if dice.below(8) == 0 { whole.len() } else { end };
        let file = damaged(&whole, end, &mut dice);
        match import(&set.store, &file[..], 0) {
            Ok(id) => {
                taken += 1;
                set.store.remove(&id).unwrap();
            }
            Err(error) => {
                let text = error.to_string();
                assert!(error.is_refusal() || text.contains("blob"), "{error:?}");
                assert_eq!(text.lines().count(), 1, "{text}");
            }
        }
    }
    // Some damage changes a word, which is no damage to the form.
    assert!(0 < taken && taken < inputs(), "{taken}");
    assert_eq!(set.store.list().unwrap().len(), 1);
}
