//! The store, kept in a folder of its own and in a file of an older version.

use super::*;

#[test]
fn a_store_of_the_first_version_is_brought_up_to_date() {
    let home = tempfile::tempdir().unwrap();
    let premise = Premise {
        title: "first".to_owned(),
        global: String::new(),
        seed: 0,
        model: String::new(),
        recipe: String::new(),
    };
    let database = Connection::open(home.path().join("stories.sqlite")).unwrap();
    database.execute_batch(LAYOUT).unwrap();
    database.execute("INSERT INTO story VALUES ('story_a', 7)", []).unwrap();
    let began = json_of(&Record::Began(premise));
    database.execute("INSERT INTO record VALUES ('story_a', 1, ?1)", [began]).unwrap();
    database.pragma_update(None, "user_version", 1).unwrap();
    drop(database);
    let entry = Entry { title: "first".to_owned(), shots: 0, takes: 0, picture: None };
    let expected = [Listed { id: "story_a".to_owned(), made: 7, entry }];
    // The second time it is a store of this version.
    for _ in 0..2 {
        let store = Store::open(home.path()).unwrap();
        assert_eq!(store.list().unwrap(), expected);
    }
}

#[test]
fn what_is_wrong_with_a_record_is_said_in_one_line() {
    let wrong = r#"{"did":"pictured","a\nb":1}"#;
    let error = record_of(wrong, 3).unwrap_err().to_string();
    assert!(error.ends_with(": record 3"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
