//! Twenty steps of every stage, held to the losses of `testdata/curves.txt`.
//!
//! `UPDATE_EXPECT=1 cargo test -p shotstream-train --test curves` writes the file anew; do so only
//! where a change is meant to change what is learnt, and say in the same commit why.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

mod toys;

use std::{fmt::Write as _, fs, path::Path};

use burn::{module::Module, tensor::Device};
use shotstream_models::{bundle::Bundle, checkpoint::StoredDtype};
use shotstream_train::{
    data::address::{normals, shared_rng_of},
    params,
    recipe::{StageRecipe, read},
    stages::{ode_init, ode_pairs, self_forcing, teacher, vae},
    trainer::{BatchAddress, Run},
};
use toys::{loop_of, losses, mean, toy, write};

const STEPS: usize = 20;

/// Largest relative difference of a loss: `docs/NUMERICS.md` says where it comes from.
const TOLERANCE: f64 = 1e-3;

const STAGES: [&str; 5] = ["vae", "teacher", "ode-init", "intra-shot", "inter-shot"];

const DATA: &str = "seed = 6\nstories = 2\nshots = 2\npairs = 0.2\ncontext_dropout = 0.1\n\
    context_noise = 0.1\nanonymous = 0.5\n";

/// A toy with every weight moved by a tenth of a standard normal: a fresh one ends in zeros, whose
/// first gradients are so small that the optimiser sees nothing but how they were rounded.
fn awake(dir: &Path) -> Bundle {
    let mut bundle = toy(dir);
    bundle.vae = moved(bundle.vae, 1);
    bundle.dit = moved(bundle.dit, 1);
    bundle.text = moved(bundle.text, 1);
    bundle
}

fn moved<M: Module>(module: M, seed: u64) -> M {
    let (_, mut values) = params::values(&module);
    let at = BatchAddress { seed, step: 0, part: 0, batch: 1 };
    let rng = &mut shared_rng_of(at);
    for vector in &mut values {
        let noise = normals(rng, vector.len());
        vector.iter_mut().zip(noise).for_each(|(x, noise)| *x += 0.1 * noise);
    }
    params::with_values(module, &values, &Device::flex().autodiff()).valid()
}

/// The losses of every stage. All begin with the same model, so that what rounding changes in one
/// does not reach the next.
fn curves(dir: &Path) -> Vec<Vec<f64>> {
    let recipe = |name: &str, stage: &str| {
        write(dir, name, &format!("{}[stage]\n{stage}", loop_of(STEPS as u64, 2)))
    };
    let data = format!("[stage.data]\n{DATA}");
    let folder = |name: &str| dir.join(name);
    let start = awake(dir);
    let teacher = Bundle { dit: moved(start.dit.clone(), 2), ..start.clone() };
    let known = dir.join("teacher/model.safetensors");

    let stage = "crop = [5, 16, 16]\ndivergence = 1e-3\n\
        [stage.errors]\nabsolute = 1.0\nsquared = 0.5\ndifferences = 0.5\n";
    let vae = StageRecipe::read(&recipe("vae.toml", stage)).unwrap();
    let work = |run: &mut Run<'_>| vae::run(start.clone(), &vae, run).unwrap();
    let (_, vae) = losses(&folder("vae"), false, work);

    let stage = format!(
        "shift = 3.0\ntext_dropout = 0.1\n{data}[stage.sampler]\nsubsteps = 1\nguidance = 2.0\n"
    );
    let lessons = StageRecipe::read(&recipe("teacher.toml", &stage)).unwrap();
    let work = |run: &mut Run<'_>| teacher::run(start.clone(), &lessons, run).unwrap();
    let (_, taught) = losses(&folder("teacher"), false, work);
    teacher.save(&known, StoredDtype::F32).unwrap();

    let pairs = format!(
        "seed = 7\nshards = 2\nsamples = 2\n[sampler]\nsubsteps = 1\nguidance = 2.0\n[data]\n{DATA}"
    );
    let pairs = read(&write(dir, "pairs.toml", &pairs)).unwrap();
    let work = |run: &mut Run<'_>| ode_pairs::run(&teacher, &pairs, run).unwrap();
    losses(&folder("pairs"), false, work);

    let student = recipe("student.toml", "pairs = \"pairs\"\nclean_past = 0.5\n");
    let student = StageRecipe::read(&student).unwrap();
    let work = |run: &mut Run<'_>| ode_init::run(start.clone(), &student, run).unwrap();
    let (_, student) = losses(&folder("student"), false, work);

    let mut all = vec![vae, taught, student];
    for history in ["true", "own"] {
        let stage = format!(
            "teacher = \"teacher\"\nhistory = \"{history}\"\nperiod = 3\ncritic_rate = 1.0\n\
             guidance = 2.0\nshift = 3.0\n{data}"
        );
        let forcing = StageRecipe::read(&recipe("forcing.toml", &stage)).unwrap();
        let work = |run: &mut Run<'_>| self_forcing::run(start.clone(), &forcing, run).unwrap();
        let (_, forcing) = losses(&folder(history), false, work);
        all.push(forcing);
    }
    all
}

/// A row a step, a column a stage.
fn table(curves: &[Vec<f64>]) -> String {
    let mut text = format!("step {}\n", STAGES.map(|name| format!("{name:>12}")).join(" "));
    for step in 0..STEPS {
        let row = curves.iter().map(|curve| format!("{:12.6e}", curve[step]));
        writeln!(text, "{step:4} {}", row.collect::<Vec<_>>().join(" ")).unwrap();
    }
    text
}

#[test]
fn twenty_steps_of_every_stage_have_the_losses_they_had() {
    let dir = tempfile::tempdir().unwrap();
    let curves = curves(dir.path());
    for (stage, curve) in STAGES.iter().zip(&curves).take(3) {
        assert!(mean(&curve[15..]) < mean(&curve[..5]), "{stage} learns nothing: {curve:?}");
    }
    let found = table(&curves);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/curves.txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    let numbers = |text: &str| -> Vec<f64> {
        text.lines().skip(1).flat_map(str::split_whitespace).map(|x| x.parse().unwrap()).collect()
    };
    let pairs = numbers(&found).into_iter().zip(numbers(&expected));
    let errors = pairs.map(|(found, expected)| (found - expected).abs() / expected.abs().max(1e-9));
    let worst = errors.fold(0.0, f64::max);
    assert_eq!(numbers(&found).len(), numbers(&expected).len());
    assert!(worst <= TOLERANCE, "off by {worst:.1e}, expected\n{expected}found\n{found}");
}
