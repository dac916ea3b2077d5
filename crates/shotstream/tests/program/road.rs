//! A road through all stages that takes seconds: toy sizes, a handful of steps each.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::fixture::Home;

const MODEL: &str = include_str!("../../../train/tests/toy_model.toml");

/// Where stories come from.
pub(crate) const DATA: &str = "[stage.data]\nseed = 6\nstories = 2\nshots = 2\npairs = 0.2\n\
    context_dropout = 0.1\ncontext_noise = 0.1\nanonymous = 0.5\n";

pub(crate) const VAE: &str = "[stage]\ncrop = [5, 16, 16]\ndivergence = 1e-3\n\
    [stage.errors]\nabsolute = 1.0\nsquared = 0.5\ndifferences = 0.5\n";

/// `[loop]` and `[optimizer]` of `steps` steps, saved after every `save_every`.
pub(crate) fn loop_of(steps: u64, save_every: u64) -> String {
    format!(
        "[loop]\nseed = 5\nsteps = {steps}\nwarmup = 2\ndecay = 0.5\nparts = 2\nbatch = 1\n\
         save_every = {save_every}\nsheet_every = 4\n\
         [optimizer]\nadamw_lr = 3e-3\nmuon_lr = 5e-3\n"
    )
}

fn forcing(history: &str) -> String {
    format!(
        "[stage]\nteacher = \"teacher\"\nhistory = \"{history}\"\nperiod = 3\ncritic_rate = 1.0\n\
         guidance = 2.0\nshift = 3.0\n{DATA}"
    )
}

/// Every recipe of the road, by file name.
pub(crate) fn recipes() -> BTreeMap<&'static str, String> {
    let teacher = format!(
        "[stage]\nshift = 3.0\ntext_dropout = 0.1\n{DATA}[stage.sampler]\nsubsteps = 1\nguidance = 2.0\n"
    );
    let pairs = format!(
        "seed = 7\nshards = 4\nsamples = 2\n[sampler]\nsubsteps = 1\nguidance = 2.0\n{}",
        DATA.replace("stage.", "")
    );
    let student = "[stage]\npairs = \"pairs\"\nclean_past = 0.5\n";
    let legs = [
        ("fresh", "fresh"),
        ("vae", "vae"),
        ("teacher", "teacher"),
        ("ode-pairs", "pairs"),
        ("ode-init", "student"),
        ("self-forcing", "intra"),
        ("self-forcing", "inter"),
    ];
    let road = legs.map(|(stage, dir)| {
        format!("[[leg]]\nstage = \"{stage}\"\nrecipe = \"{dir}.toml\"\ndir = \"{dir}\"\n")
    });
    BTreeMap::from([
        ("fresh.toml", MODEL.to_owned()),
        ("vae.toml", loop_of(8, 1) + VAE),
        ("teacher.toml", loop_of(10, 1) + &teacher),
        ("pairs.toml", pairs),
        ("student.toml", loop_of(8, 3) + student),
        ("intra.toml", loop_of(9, 1) + &forcing("true")),
        ("inter.toml", loop_of(7, 2) + &forcing("own")),
        ("road.toml", road.concat()),
    ])
}

/// A home with all recipes.
pub(crate) fn home() -> Home {
    let home = Home::new();
    for (name, text) in recipes() {
        home.write(name, text);
    }
    home
}

/// Lines of a log without the time each took.
pub(crate) fn log(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("log.jsonl")).unwrap_or_default();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        for time in ["secs", "samples_per_sec"] {
            line.as_object_mut().unwrap().remove(time).unwrap();
        }
        line
    };
    text.lines().map(line).collect()
}

/// What tells times, and nothing else that is not told elsewhere.
const TIMED: [&str; 4] = ["run.json", "report.html", "tfevents", ".lock"];

/// Every file below a folder with its content, by its path: a log without its times, a header
/// without its order.
pub(crate) fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.file_name().unwrap().to_str().unwrap();
            if TIMED.iter().any(|timed| name.contains(timed)) {
                continue;
            }
            let bytes = || fs::read(&path).unwrap();
            let content = match path.extension().and_then(|kind| kind.to_str()) {
                Some("jsonl") => format!("{:?}", log(&folder)).into_bytes(),
                Some("safetensors") => sorted(&bytes()).unwrap_or_else(bytes),
                _ => bytes(),
            };
            found.insert(path.strip_prefix(dir).unwrap().to_owned(), content);
        }
    }
    found
}

/// A safetensors file with the keys of its header in order; none if it is damaged.
fn sorted(file: &[u8]) -> Option<Vec<u8>> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    let (header, data) = rest.split_at_checked(u64::from_le_bytes(*length) as usize)?;
    let header: Value = serde_json::from_slice(header).ok()?;
    Some([header.to_string().as_bytes(), data].concat())
}
