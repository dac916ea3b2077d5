//! What an ablation promises: variants that begin alike share their beginning, what is finished is
//! passed by, and a rule is put into a finished model without changing its weights.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

#[expect(dead_code, reason = "other tests ask more of the toys")]
mod toys;

use std::path::Path;

use shotstream_models::checkpoint::StoredDtype;
use shotstream_plan::{context::MemoryPolicy, recipe::ContextCaptions};
use shotstream_train::{
    ablation::{Ablation, Rule, TABLE, VariantRow, Walk, markdown},
    params,
};
use toys::{loop_of, toy, write};

const DATA: &str = "[stage.data]\nseed = 6\nstories = 2\nshots = 2\npairs = 0.2\n\
    context_dropout = 0.1\ncontext_noise = 0.1\nanonymous = 0.5\n";

const ABLATION: &str = r#"
seeds = [1, 2]
teacher = "toy.safetensors"
student = "toy.safetensors"
teaching = "teaching.toml"
scores = "scores"
[leg]
intra = "intra.toml"
[judge]
seed = 5
stories = 1
shots = 2
[rule.paper]
[rule.embedding]
shot_phase_radians = 0.0
shot_embeddings = 3
memory = "first"
[[variant]]
name = "one leg"
rule = "paper"
legs = ["intra"]
[[variant]]
name = "two legs"
rule = "paper"
legs = ["intra", "intra"]
[[variant]]
name = "embedding"
rule = "embedding"
legs = ["intra"]
[[variant]]
name = "none"
rule = "paper"
legs = []
"#;

fn walk(dir: &Path) -> (Vec<VariantRow>, Vec<String>) {
    let file = dir.join("ablation.toml");
    let runs = dir.join("runs");
    let mut begun = Vec::new();
    let mut announce = |place: &str, what: &str| {
        let name = Path::new(place).file_name().unwrap().to_string_lossy().into_owned();
        begun.push(format!("{what} {name}"));
    };
    let mut watch = |_, _, _: &Vec<(&'static str, f64)>| ();
    let (announce, watch) = (&mut announce, &mut watch);
    let rows = Ablation::read(&file).unwrap();
    let rows = rows.walk(&file, &mut Walk { dir: &runs, threads: 2, announce, watch }).unwrap();
    (rows, begun)
}

#[test]
fn variants_share_what_they_have_in_common_and_pass_by_what_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    toy(dir.path()).save(&dir.path().join("toy.safetensors"), StoredDtype::F16).unwrap();
    let teaching = format!(
        "{}[stage]\nshift = 3.0\ntext_dropout = 0.1\nlearns = \"transformer\"\n{DATA}\
         [stage.sampler]\nsubsteps = 1\nguidance = 2.0\n",
        loop_of(2, 1)
    );
    let intra = format!(
        "{}[stage]\nteacher = \"teacher\"\nhistory = \"true\"\nperiod = 2\ncritic_rate = 1.0\n\
         guidance = 1.0\nshift = 3.0\n{DATA}",
        loop_of(2, 1)
    );
    write(dir.path(), "teaching.toml", &teaching);
    write(dir.path(), "intra.toml", &intra);
    write(dir.path(), "ablation.toml", ABLATION);
    let (rows, begun) = walk(dir.path());
    assert_eq!(
        begun,
        [
            "teacher paper-1-teacher",
            "intra paper-1-intra",
            "judge paper-1-intra",
            "intra paper-1-intra-intra",
            "judge paper-1-intra-intra",
            "teacher embedding-1-teacher",
            "intra embedding-1-intra",
            "judge embedding-1-intra",
            "judge paper-1",
            "teacher paper-2-teacher",
            "intra paper-2-intra",
            "judge paper-2-intra",
            "intra paper-2-intra-intra",
            "judge paper-2-intra-intra",
            "teacher embedding-2-teacher",
            "intra embedding-2-intra",
            "judge embedding-2-intra",
        ]
    );
    assert_eq!(rows.iter().map(|row| row.seen.len()).collect::<Vec<_>>(), [2, 2, 2, 1]);
    let scores = dir.path().join("scores");
    let table = std::fs::read_to_string(scores.join(TABLE[0])).unwrap();
    assert!(table.contains("\n| two legs | "), "{table}");
    let json = std::fs::read(scores.join(TABLE[1])).unwrap();
    assert_eq!(markdown(&serde_json::from_slice::<Vec<VariantRow>>(&json).unwrap()), table);

    // Another machine has the scores, and none of the runs.
    std::fs::remove_dir_all(dir.path().join("runs")).unwrap();
    let (again, begun) = walk(dir.path());
    assert_eq!((markdown(&again), begun), (table.clone(), Vec::new()));
    std::fs::remove_file(scores.join("paper-2-intra.json")).unwrap();
    let (again, begun) = walk(dir.path());
    assert_eq!(markdown(&again), table);
    assert_eq!(begun, ["teacher paper-2-teacher", "intra paper-2-intra", "judge paper-2-intra"]);

    write(dir.path(), "intra.toml", &intra.replace("guidance = 1.0", "guidance = 2.0"));
    let ablation = Ablation::read(&dir.path().join("ablation.toml")).unwrap();
    let (announce, watch) = (&mut |_: &str, _: &str| (), &mut |_, _, _: &Vec<_>| ());
    let mut other = Walk { dir: &dir.path().join("runs"), threads: 2, announce, watch };
    let error = ablation.walk(&dir.path().join("ablation.toml"), &mut other).unwrap_err();
    assert!(error.to_string().contains("seen of other models or recipes"), "{error}");
}

#[test]
fn a_rule_keeps_every_weight_and_adds_silent_ones() {
    let dir = tempfile::tempdir().unwrap();
    let before = toy(dir.path());
    let rule = Rule {
        shot_phase_radians: Some(0.0),
        shot_embeddings: 4,
        memory: MemoryPolicy::FirstLast,
        context_captions: ContextCaptions::Target,
    };
    let after = rule.apply(before.clone()).unwrap();
    let (specs, vectors) = params::values(&before.dit);
    let (more_specs, more) = params::values(&after.dit);
    assert_eq!(
        (more_specs[..specs.len()].to_vec(), more[..specs.len()].to_vec()),
        (specs, vectors)
    );
    assert_eq!(more[more.len() - 1], vec![0.0; 4 * 32]);
    let path = dir.path().join("after.safetensors");
    after.save(&path, StoredDtype::F32).unwrap();
    let read = shotstream_models::bundle::Bundle::from_file(&path, &burn::tensor::Device::flex());
    assert_eq!(read.unwrap().config, after.config);
    assert_eq!(Rule::default().apply(before.clone()).unwrap().config, before.config);
}

#[test]
fn an_ablation_that_names_what_it_does_not_define_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    for (from, to, named) in [
        ("legs = [\"intra\", \"intra\"]", "legs = [\"outer\"]", "outer"),
        ("rule = \"embedding\"", "rule = \"other\"", "other"),
        ("seeds = [1, 2]", "seeds = []", "seeds"),
        ("[judge]", "[judge]\nspeed = 1", "speed"),
    ] {
        assert!(ABLATION.contains(from));
        let file = write(dir.path(), "ablation.toml", &ABLATION.replacen(from, to, 1));
        let error = Ablation::read(&file).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}
