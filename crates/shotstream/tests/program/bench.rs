//! `bench`: speed and memory.

use serde_json::Value;

use crate::fixture::Home;

#[test]
fn a_bench_measures_a_story_of_the_asked_length() {
    let home = Home::new();
    let run = home.done(&["bench", "--shots", "2", "--size", "64x48", "--json"]);
    let bench: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!((&bench["shots"], &bench["frames"]), (&2.into(), &66.into()));
    assert_eq!(bench["size"], serde_json::json!([64, 48]));
    assert_eq!(bench["first_frame_ms"].as_array().unwrap().len(), 2);
    assert!(0.0 < bench["cut_ms"].as_f64().unwrap() && 0.0 < bench["load_ms"].as_f64().unwrap());
    assert!(0 < bench["hardware"]["cores"].as_u64().unwrap());
    assert_eq!(home.files(), Vec::<String>::new());
}

#[test]
fn a_bench_is_a_table_for_people() {
    let run = Home::new().done(&["bench", "--shots", "1", "--size", "64x48"]);
    let text = run.text();
    assert!(text.starts_with("shotstream "), "{text}");
    for row in ["denoise ", "encode ", "first frames of a shot ", "cut to the next shot "] {
        assert!(text.contains(&format!("\n{row}")), "{row} in {text}");
    }
}
