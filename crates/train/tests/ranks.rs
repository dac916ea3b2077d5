//! What several ranks promise: the numbers of one process, one who writes, errors that reach all.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

mod threads;
mod toys;

use std::{collections::BTreeMap, path::Path};

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use safetensors::SafeTensors;
use shotstream_media::Frame;
use shotstream_train::{
    data::{
        address::{normals, shared_rng_of},
        pairs,
    },
    error::TrainError,
    log::Metrics,
    optimizer::OptimizerRecipe,
    ranks::{Alone, Ranks},
    recipe::{Fall, LoopRecipe, StageRecipe, read_toml},
    stages::{
        Stage, ode_init,
        ode_pairs::{self, OdePairsRecipe},
    },
    trainer::{BatchAddress, Objective, Run, train},
};
use threads::together;
use toys::{loop_of, losses, losses_of, mean, toy, write};

const NUMBERS: usize = 37;

/// Numbers that are pulled to where every part of every step wants them.
#[derive(Module, Debug)]
struct Pulled {
    numbers: Param<Tensor<1>>,
}

/// Pulls; what one part of one step wants may be no number.
#[derive(Clone, Copy, Default)]
struct Pull {
    spoilt: Option<(u64, usize)>,
}

impl Objective for Pull {
    type Model = Pulled;

    fn loss(&self, model: &Pulled, at: BatchAddress) -> (Tensor<1>, Metrics) {
        let mut wanted = normals(&mut shared_rng_of(at), NUMBERS);
        if self.spoilt == Some((at.step, at.part)) {
            wanted[5] = f32::NAN;
        }
        let first = f64::from(wanted[0]);
        let wanted = TensorData::new(wanted, [NUMBERS]);
        let wanted = Tensor::<1>::from_data(wanted, &Device::flex().autodiff());
        ((model.numbers.val() - wanted).square().mean(), vec![("first", first)])
    }

    fn sheet(&self, _model: &Pulled) -> Option<Frame> {
        None
    }
}

/// What a run leaves in its folder, without the times.
#[derive(Debug, PartialEq)]
struct Left {
    losses: Vec<f64>,
    log: Vec<String>,
    checkpoint: BTreeMap<String, Vec<u8>>,
}

fn left(dir: &Path, losses: Vec<f64>) -> Left {
    let log = std::fs::read_to_string(dir.join("log.jsonl")).unwrap();
    let untimed = |line: &str| {
        let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
        for time in ["secs", "samples_per_sec"] {
            line.as_object_mut().unwrap().remove(time).unwrap();
        }
        line.to_string()
    };
    let bytes = std::fs::read(dir.join("resume.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors().into_iter();
    Left {
        losses,
        log: log.lines().map(untimed).collect(),
        checkpoint: tensors.map(|(name, view)| (name, view.data().to_vec())).collect(),
    }
}

/// Pull numbers that begin at `start` for `steps` updates of `parts` parts.
fn pull(
    ranks: &dyn Ranks,
    dir: &Path,
    (objective, start): (Pull, f32),
    (steps, parts): (u64, usize),
) -> Result<Vec<f64>, TrainError> {
    let run = LoopRecipe {
        seed: 3,
        steps,
        warmup: 1,
        decay: 0.0,
        parts,
        batch: 1,
        save_every: 3,
        sheet_every: 1000,
        watch: None,
        fall: Fall::Linear,
        checkpoint_blocks: false,
    };
    let optimizer = OptimizerRecipe {
        adamw_lr: 0.05,
        muon_lr: 0.0,
        betas: [0.9, 0.99],
        weight_decay: 0.0,
        clip: 1.0,
        ema: 0.9,
    };
    let numbers = TensorData::new(vec![start; NUMBERS], [NUMBERS]);
    let recipe = StageRecipe { run, optimizer, lora: None, stage: () };
    let model = Pulled { numbers: Param::from_data(numbers, &Device::flex()) };
    let (result, losses) =
        losses_of(ranks, dir, true, |run| train(&objective, model, &recipe, run).map(|_| ()));
    result.map(|()| losses)
}

/// The one error that all ranks have.
fn error_of<T: std::fmt::Debug>(results: Vec<Result<T, TrainError>>) -> String {
    let errors: Vec<_> =
        results.into_iter().map(|result| result.unwrap_err().to_string()).collect();
    assert!(errors.iter().all(|error| *error == errors[0]), "{errors:?}");
    errors[0].clone()
}

#[test]
fn any_number_of_ranks_gives_the_numbers_of_one_process_bit_for_bit() {
    let home = tempfile::tempdir().unwrap();
    let go = |size: usize| {
        let dir = home.path().join(size.to_string());
        let work = |ranks: &dyn Ranks| pull(ranks, &dir, (Pull::default(), 4.0), (20, 6));
        let mut losses: Vec<_> = together(size, work).into_iter().map(Result::unwrap).collect();
        assert!(losses.iter().all(|theirs| *theirs == losses[0]));
        left(&dir, losses.remove(0))
    };
    let dir = home.path().join("alone");
    let alone = pull(&Alone, &dir, (Pull::default(), 4.0), (20, 6)).unwrap();
    assert!(mean(&alone[15..]) < 0.9 * mean(&alone[..5]), "{alone:?}");
    let alone = left(&dir, alone);
    for size in [2, 3, 6] {
        assert_eq!(go(size), alone, "{size} ranks");
    }
}

#[test]
fn a_run_may_go_on_with_another_number_of_ranks() {
    let home = tempfile::tempdir().unwrap();
    let whole = pull(&Alone, &home.path().join("whole"), (Pull::default(), 4.0), (12, 4)).unwrap();
    let dir = home.path().join("parts");
    let mut parts = Vec::new();
    for (size, steps) in [(2, 4), (4, 8), (1, 12)] {
        let work = |ranks: &dyn Ranks| pull(ranks, &dir, (Pull::default(), 4.0), (steps, 4));
        parts.extend(together(size, work).remove(0).unwrap());
    }
    assert_eq!(parts, whole);
}

#[test]
fn a_loss_that_is_not_finite_ends_the_run_on_all_ranks_and_is_laid_to_one() {
    let home = tempfile::tempdir().unwrap();
    let [whole, dir] = ["whole", "spoilt"].map(|name| home.path().join(name));
    let whole = pull(&Alone, &whole, (Pull::default(), 4.0), (9, 2)).unwrap();
    let go = |spoilt| {
        let work = |ranks: &dyn Ranks| pull(ranks, &dir, (Pull { spoilt }, 4.0), (9, 2));
        together(2, work)
    };
    assert_eq!(
        error_of(go(Some((4, 1)))),
        "rank 1 of 2: the loss is NaN in step 4, the run stops here and the last checkpoint is intact"
    );
    assert_eq!(go(None).remove(0).unwrap(), whole[3..]);
}

#[test]
fn a_first_rank_that_cannot_write_tells_the_others() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("log.jsonl")).unwrap();
    let work = |ranks: &dyn Ranks| pull(ranks, home.path(), (Pull::default(), 4.0), (9, 2));
    let error = error_of(together(2, work));
    assert!(error.starts_with("rank 0 of 2: cannot write "), "{error}");
}

#[test]
fn parts_that_ranks_cannot_share_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let work = |ranks: &dyn Ranks| pull(ranks, home.path(), (Pull::default(), 4.0), (9, 3));
    assert_eq!(
        error_of(together(2, work)),
        "2 ranks cannot share loop.parts evenly, expected a multiple of 2, found 3"
    );
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nothing is begun");
}

#[test]
fn a_rank_with_other_weights_is_named() {
    let home = tempfile::tempdir().unwrap();
    let work = |ranks: &dyn Ranks| {
        let start = if ranks.rank() == 2 { 4.5 } else { 4.0 };
        pull(ranks, home.path(), (Pull::default(), start), (9, 3))
    };
    let error = error_of(together(3, work));
    assert!(error.starts_with("rank 2 of 3 has another set of weights than rank 0: "), "{error}");
}

#[test]
fn a_rank_with_another_recipe_is_named_with_the_line() {
    let home = tempfile::tempdir().unwrap();
    toy(home.path());
    let fresh = |ranks: &dyn Ranks| {
        let text = std::fs::read_to_string(home.path().join("model.toml")).unwrap();
        let text = text.replace("seed = 1\n", &format!("seed = {}\n", ranks.rank()));
        let path = write(home.path(), &format!("model-{}.toml", ranks.rank()), &text);
        losses_of(ranks, home.path(), false, |run| Stage::Fresh.run(None, &path, run)).0
    };
    assert_eq!(
        error_of(together(2, fresh)),
        "rank 1 of 2 has another recipe than rank 0: expected `seed = 0`, found `seed = 1`"
    );
}

#[test]
fn ranks_share_the_trajectories_and_all_must_read_the_same() {
    let home = tempfile::tempdir().unwrap();
    let bundle = toy(home.path());
    let text = "seed = 7\nshards = 3\nsamples = 1\n[sampler]\nsubsteps = 1\nguidance = 2.0\n\
        [data]\nseed = 6\nstories = 1\nshots = 2\npairs = 0.2\ncontext_dropout = 0.0\ncontext_noise = 0.0\n\
        anonymous = 0.0\n";
    let recipe: OdePairsRecipe = read_toml(&write(home.path(), "pairs.toml", text)).unwrap();
    let [alone, shared] = ["alone/pairs", "shared/pairs"].map(|name| home.path().join(name));
    losses(&alone, false, |run| ode_pairs::run(&bundle, &recipe, run)).0.unwrap();
    let made = |ranks: &dyn Ranks| {
        losses_of(ranks, &shared, false, |run| ode_pairs::run(&bundle, &recipe, run)).0
    };
    together(2, made).into_iter().for_each(Result::unwrap);
    let held = |dir: &Path| format!("{:?}", pairs::load_all(dir, bundle.recipe()).unwrap());
    assert!(held(&alone) == held(&shared));

    std::fs::remove_file(shared.join("pairs-00002.safetensors")).unwrap();
    let stage = "[stage]\npairs = \"pairs\"\nclean_past = 0.5\n";
    let path = write(home.path(), "student.toml", &format!("{}{stage}", loop_of(1, 1)));
    let recipe = StageRecipe::read(&path).unwrap();
    let student = |ranks: &dyn Ranks| {
        let dir = if ranks.is_first() { &alone } else { &shared }.with_file_name("student");
        let work = |run: &mut Run<'_>| ode_init::run(bundle.clone(), &recipe, run).map(|_| ());
        losses_of(ranks, &dir, false, work).0
    };
    assert_eq!(
        error_of(together(2, student)),
        "rank 1 of 2 has another set of trajectories than rank 0: \
         expected `shards of shots [0, 1, 0]`, found `shards of shots [0, 1]`"
    );
}
