//! Recipes that training refuses: one line that names the key and the file, nothing written.

use std::fs;

use crate::{
    fixture::Home,
    road::{self, recipes},
};

/// Where the legs' recipes are run from and to.
fn arguments(name: &'static str) -> Vec<&'static str> {
    let stage = match name {
        "fresh.toml" => return vec!["train", "fresh", "--recipe", name, "--dir", "new"],
        "road.toml" => return vec!["train", "all", "--recipe", name, "--dir", "new"],
        "vae.toml" => "vae",
        "teacher.toml" => "teacher",
        "pairs.toml" => "ode-pairs",
        "student.toml" => "ode-init",
        _ => "self-forcing",
    };
    vec!["train", stage, "--recipe", name, "--dir", "new", "--from", "fresh/model.safetensors"]
}

/// A home with all recipes and a fresh model.
fn home() -> Home {
    let home = road::home();
    home.done(&["train", "fresh", "--recipe", "fresh.toml", "--dir", "fresh"]);
    home
}

/// A recipe, what stands there, what is put in its place, and what is then said.
type Case = (&'static str, &'static str, &'static str, &'static str);

/// Keys and types.
const KEYS: &[Case] = &[
    ("vae.toml", "seed = 5", "sead = 5", "unknown field `sead`, expected one of `seed`"),
    ("vae.toml", "seed = 5\n", "", "missing field `seed`, line 1"),
    ("vae.toml", "steps = 8", "steps = \"8\"", "invalid type: string \"8\", expected u64, line 3"),
    ("vae.toml", "steps = 8", "steps = -8", "invalid value: integer `-8`, expected u64, line 3"),
    ("vae.toml", "[loop]", "[loop", "unclosed table, expected `]`, line 1"),
    (
        "intra.toml",
        "\"true\"",
        "\"false\"",
        "unknown variant `false`, expected `true` or `own`, line 15",
    ),
    (
        "intra.toml",
        "period = 3",
        "period = 3\ncolour = 1",
        "unknown field `colour`, expected one of `teacher`",
    ),
    (
        "fresh.toml",
        "num_heads = 2\nnum_layers",
        "num_heads = 3\nnum_layers",
        "its model cannot be: 3 heads do not divide a dit dim of 32 into even parts",
    ),
    ("fresh.toml", "shot_frames = 9", "shot_frames = 10", "10 frames"),
];

/// Of the loop.
const LOOP: &[Case] = &[
    ("vae.toml", "steps = 8", "steps = 0", "loop.steps is 0, expected at least 1"),
    ("vae.toml", "warmup = 2", "warmup = 9", "loop.warmup is 9, expected 0 to 8"),
    ("vae.toml", "decay = 0.5", "decay = 1.5", "loop.decay is 1.5, expected 0 to 1"),
    ("vae.toml", "decay = 0.5", "decay = nan", "loop.decay is NaN, expected 0 to 1"),
    (
        "vae.toml",
        "decay = 0.5",
        "decay = 0.5\nfall = \"up\"",
        "unknown variant `up`, expected `linear` or `cosine`, line 6",
    ),
    ("vae.toml", "parts = 2", "parts = 0", "loop.parts is 0, expected 1 to 1024"),
    ("vae.toml", "batch = 1", "batch = 0", "loop.batch is 0, expected at least 1"),
    ("vae.toml", "save_every = 1", "save_every = 0", "loop.save_every is 0, expected at least 1"),
    (
        "vae.toml",
        "sheet_every = 4",
        "sheet_every = 0",
        "loop.sheet_every is 0, expected at least 1",
    ),
];

/// Of the optimiser.
const OPTIMISER: &[Case] = &[
    (
        "vae.toml",
        "adamw_lr = 3e-3",
        "adamw_lr = -3e-3",
        "optimizer.adamw_lr is -0.003, expected a finite number, at least 0",
    ),
    (
        "vae.toml",
        "muon_lr = 5e-3",
        "muon_lr = inf",
        "optimizer.muon_lr is inf, expected a finite number, at least 0",
    ),
    (
        "vae.toml",
        "muon_lr = 5e-3",
        "muon_lr = 5e-3\nbetas = [0.9, 1.0]",
        "optimizer.betas is 1, expected 0 to 0.999999",
    ),
    (
        "vae.toml",
        "muon_lr = 5e-3",
        "muon_lr = 5e-3\nclip = 0.0",
        "optimizer.clip is 0, expected a finite number above 0",
    ),
    (
        "vae.toml",
        "muon_lr = 5e-3",
        "muon_lr = 5e-3\nema = 1.5",
        "optimizer.ema is 1.5, expected 0 to 1",
    ),
    (
        "vae.toml",
        "muon_lr = 5e-3",
        "muon_lr = 5e-3\nweight_decay = -1.0",
        "optimizer.weight_decay is -1, expected a finite number, at least 0",
    ),
];

/// Of the stages.
const STAGES: &[Case] = &[
    ("vae.toml", "[5, 16, 16]", "[0, 16, 16]", "stage.crop is 0, expected at least 1"),
    (
        "vae.toml",
        "divergence = 1e-3",
        "divergence = -1.0",
        "stage.divergence is -1, expected a finite number, at least 0",
    ),
    (
        "vae.toml",
        "squared = 0.5",
        "squared = nan",
        "stage.errors.squared is NaN, expected a finite number, at least 0",
    ),
    (
        "teacher.toml",
        "shift = 3.0",
        "shift = 0.0",
        "stage.shift is 0, expected a finite number above 0",
    ),
    (
        "teacher.toml",
        "text_dropout = 0.1",
        "text_dropout = 1.1",
        "stage.text_dropout is 1.1, expected 0 to 1",
    ),
    ("teacher.toml", "substeps = 1", "substeps = 0", "sampler.substeps is 0, expected at least 1"),
    ("teacher.toml", "shots = 2", "shots = 0", "data.shots is 0, expected at least 1"),
    ("teacher.toml", "pairs = 0.2", "pairs = 2.0", "data.pairs is 2, expected 0 to 1"),
    (
        "teacher.toml",
        "context_noise = 0.1",
        "context_noise = -0.1",
        "data.context_noise is -0.1, expected a finite number, at least 0",
    ),
    ("teacher.toml", "anonymous = 0.5", "anonymous = 5.0", "data.anonymous is 5, expected 0 to 1"),
    (
        "teacher.toml",
        "context_dropout = 0.1",
        "context_dropout = 0.1\nlengths = [0]",
        "expected a nonzero usize",
    ),
    ("pairs.toml", "shards = 4", "shards = 0", "shards is 0, expected 1 to 100000"),
    ("pairs.toml", "samples = 2", "samples = 0", "samples is 0, expected at least 1"),
    (
        "student.toml",
        "clean_past = 0.5",
        "clean_past = -0.5",
        "stage.clean_past is -0.5, expected 0 to 1",
    ),
    (
        "student.toml",
        "\"pairs\"",
        "\"../pairs\"",
        "stage.pairs is \"../pairs\", expected the name of a folder beside the run's own",
    ),
    ("intra.toml", "period = 3", "period = 1", "stage.period is 1, expected at least 2"),
    (
        "intra.toml",
        "critic_rate = 1.0",
        "critic_rate = -1.0",
        "stage.critic_rate is -1, expected a finite number, at least 0",
    ),
    (
        "intra.toml",
        "period = 3",
        "period = 3\ngradient = \"all\"",
        "unknown variant `all`, expected `last-step` or `through-cache`, line 17",
    ),
];

/// Of the road.
const ROAD: &[Case] = &[
    (
        "road.toml",
        "dir = \"vae\"",
        "dir = \"fresh\"",
        "leg.dir \"fresh\" stands twice, expected a folder each",
    ),
    ("road.toml", "stage = \"fresh\"", "stage = \"vae\"", "the first leg is vae, expected fresh"),
    (
        "road.toml",
        "stage = \"vae\"",
        "stage = \"autoencoder\"",
        "unknown variant `autoencoder`, expected one of `fresh`",
    ),
];

#[test]
fn a_recipe_that_cannot_be_meant_is_refused_by_its_key() {
    let home = home();
    let recipes = recipes();
    for &(name, from, to, expected) in [KEYS, LOOP, OPTIMISER, STAGES, ROAD].into_iter().flatten() {
        let text = &recipes[name];
        assert!(text.contains(from), "{name}: {from}");
        home.write(name, text.replacen(from, to, 1));
        let line = home.refused(2, &arguments(name));
        let told = line
            .strip_prefix("error: the recipe is not valid, ")
            .unwrap_or_else(|| panic!("{line}"));
        assert!(told.contains(expected) && told.ends_with(&format!(": {name}")), "{to}: {line}");
        home.write(name, text);
    }
}

#[test]
fn what_a_recipe_asks_of_a_model_that_cannot_do_it_is_refused() {
    let home = home();
    let recipes = recipes();
    let cases = [
        (
            "vae.toml",
            "[5, 16, 16]",
            "[6, 16, 16]",
            "stage.crop is [6, 16, 16], expected 1 + 4k frames and multiples of 8 and 8 pixels, at most [9, 16, 32]",
        ),
        ("vae.toml", "[5, 16, 16]", "[13, 16, 16]", "stage.crop is [13, 16, 16], expected"),
        ("vae.toml", "[5, 16, 16]", "[5, 24, 16]", "stage.crop is [5, 24, 16], expected"),
        (
            "teacher.toml",
            "context_dropout = 0.1",
            "context_dropout = 0.1\nlengths = [1, 5]",
            "data.lengths has 5, but the model's shots have 3 latent frames",
        ),
        (
            "pairs.toml",
            "stories = 2",
            "stories = 0",
            "it needs stored stories, and data.stories is 0",
        ),
        (
            "pairs.toml",
            "context_dropout = 0.1",
            "context_dropout = 1.0",
            "it needs the context, and data.context_dropout leaves it out",
        ),
        (
            "intra.toml",
            "stories = 2",
            "stories = 0",
            "it needs stored stories, and data.stories is 0",
        ),
        (
            "intra.toml",
            "\"teacher\"",
            "\"nobody\"",
            "there is no teacher in the folder that stage.teacher names: nobody/model.safetensors",
        ),
        (
            "student.toml",
            "\"pairs\"",
            "\"nothing\"",
            "the folder holds no trajectories, make them with `train ode-pairs`: nothing",
        ),
    ];
    for (name, from, to, expected) in cases {
        let text = &recipes[name];
        assert!(text.contains(from), "{name}: {from}");
        home.write(name, text.replacen(from, to, 1));
        let line = home.refused(2, &arguments(name));
        assert!(line.contains(expected), "{to}: {line}");
        home.write(name, text);
    }
    // A road is read to its end before it is begun.
    home.write("intra.toml", recipes["intra.toml"].replace("\"teacher\"", "\"nobody\""));
    let line = home.refused(2, &arguments("road.toml"));
    assert!(
        line.contains("it reads \"nobody\", which no leg before \"intra\" makes: intra.toml"),
        "{line}"
    );
    fs::remove_file(home.path("inter.toml")).unwrap();
    home.write("intra.toml", &recipes["intra.toml"]);
    assert!(home.refused(2, &arguments("road.toml")).ends_with("inter.toml"));
}
