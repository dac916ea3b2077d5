//! What adapters promise while they learn: the loss falls, the base stays, a resumed run equals one
//! never stopped, and what is saved is what was learnt.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

mod toys;

use std::path::Path;

use burn::{
    module::Module as _,
    tensor::{Device, Tensor, TensorData},
};
use shotstream_models::{bundle::Bundle, checkpoint::StoredDtype, dit::Dit, lora::Lora};
use shotstream_plan::layout::FrameSlot;
use shotstream_train::{
    adapter::{LoraRecipe, Space},
    data::address::{normals, rng_of},
    error::TrainError,
    params::{self, Vectors},
    recipe::StageRecipe,
    stages::{
        self_forcing::{self, SelfForcingStage},
        teacher::{self, Conditioned, TeacherStage},
        vae::{self, VaeStage},
    },
    trainer::{BatchAddress, Run},
};
use toys::{loop_of, losses, mean, toy, write};

const LORA: &str = "[lora]\nrank = 4\nalpha = 8.0\n\
    targets = [\"self_attn.q\", \"self_attn.k\", \"self_attn.v\", \"self_attn.o\", \"ffn.0\", \"ffn.2\"]\n";

const TEACHER_STAGE: &str = "[stage]\nshift = 3.0\ntext_dropout = 0.1\n\
    [stage.data]\nseed = 6\nstories = 2\nshots = 2\npairs = 0.2\ncontext_dropout = 0.1\ncontext_noise = 0.1\n\
    anonymous = 0.5\n[stage.sampler]\nsubsteps = 1\nguidance = 2.0\n";

const VAE_STAGE: &str = "[stage]\ncrop = [5, 16, 16]\ndivergence = 1e-3\n\
    [stage.errors]\nabsolute = 1.0\nsquared = 0.5\ndifferences = 0.5\n";

const SELF_FORCING_STAGE: &str = "[stage]\nteacher = \"teacher\"\nhistory = \"own\"\nperiod = 3\n\
    critic_rate = 1.0\nguidance = 1.0\nshift = 3.0\n[stage.data]\nseed = 6\nstories = 0\nshots = 2\n\
    pairs = 0.2\ncontext_dropout = 0.1\ncontext_noise = 0.0\nanonymous = 0.0\n";

/// A toy model whose last layer is not silent, as a fresh one's is.
fn awake(dir: &Path) -> Bundle {
    let mut bundle = toy(dir);
    bundle.dit = shaken(bundle.dit, 3);
    bundle
}

fn shaken(dit: Dit, seed: u64) -> Dit {
    let (_, mut vectors) = params::values(&dit);
    for (index, vector) in vectors.iter_mut().enumerate() {
        let noise = normals(&mut rng_of(address(seed), index), vector.len());
        vector.iter_mut().zip(noise).for_each(|(x, n)| *x += 0.05 * n);
    }
    params::with_values(dit, &vectors, &Device::flex().autodiff()).valid()
}

fn address(seed: u64) -> BatchAddress {
    BatchAddress { seed, step: 0, part: 0, batch: 1 }
}

fn teach(
    bundle: &Bundle,
    dir: &Path,
    (name, lora): (&str, &str),
    steps: u64,
    resume: bool,
) -> (Result<Bundle, TrainError>, Vec<f64>) {
    let text = format!("{}{lora}{TEACHER_STAGE}", loop_of(steps, 4));
    let recipe: StageRecipe<TeacherStage> =
        StageRecipe::read(&write(dir, "teacher.toml", &text)).unwrap();
    losses(&dir.join(name), resume, |run| teacher::run(bundle.clone(), &recipe, run))
}

/// The network is the base with the adapter of a folder merged into it, to the bit.
fn check_adapter(folder: &Path, base: &Dit, learnt: &Dit) {
    let lora = Lora::read(folder, base).unwrap();
    let merged = lora.merge(base.clone(), 1.0).unwrap();
    let [merged, learnt] = [&merged, learnt].map(|dit| params::values(dit).1);
    assert_ne!(merged, params::values(base).1);
    assert_eq!(merged, learnt);
}

#[test]
fn an_adapter_learns_beside_a_base_that_stays() {
    let dir = tempfile::tempdir().unwrap();
    let base = awake(dir.path());
    let lora = LORA.replace("\"ffn.2\"", "\"ffn.2\", \"head.head\"");
    let (learnt, losses) = teach(&base, dir.path(), ("lora", &lora), 60, false);
    let learnt = learnt.unwrap();
    assert!(mean(&losses[45..]) < 0.99 * mean(&losses[..10]), "{losses:?}");
    check_adapter(&dir.path().join("lora/adapter"), &base.dit, &learnt.dit);
    assert_eq!(params::values(&learnt.text).1, params::values(&base.text).1);
}

#[test]
fn an_adapter_resumes_to_the_same_losses_and_on_its_own_base_alone() {
    let dir = tempfile::tempdir().unwrap();
    let base = awake(dir.path());
    let whole = teach(&base, dir.path(), ("whole", LORA), 8, false).1;
    let mut parts = teach(&base, dir.path(), ("parts", LORA), 3, false).1;
    let other = Bundle { dit: shaken(base.dit.clone(), 4), ..base.clone() };
    let louder = LORA.replace("8.0", "9.0");
    for (base, lora, reason) in [
        (&other, LORA, "began with the weights of another model"),
        (&base, &louder, "lora.alpha was 8.0, now it is 9.0"),
    ] {
        let error = teach(base, dir.path(), ("parts", lora), 8, true).0.unwrap_err();
        assert!(error.to_string().contains(reason), "{error}");
    }
    let error = teach(&base, dir.path(), ("parts", ""), 8, true).0.unwrap_err();
    assert!(matches!(error, TrainError::Resume { .. }), "{error}");
    parts.extend(teach(&base, dir.path(), ("parts", LORA), 8, true).1);
    assert_eq!(whole, parts);
}

#[test]
fn student_and_critic_learn_adapters_from_films_of_their_own() {
    let dir = tempfile::tempdir().unwrap();
    let base = awake(dir.path());
    std::fs::create_dir(dir.path().join("teacher")).unwrap();
    base.save(&dir.path().join("teacher/model.safetensors"), StoredDtype::F32).unwrap();
    let go = |name: &str, steps, resume| {
        let text = format!("{}{LORA}{SELF_FORCING_STAGE}", loop_of(steps, 2));
        let recipe: StageRecipe<SelfForcingStage> =
            StageRecipe::read(&write(dir.path(), "forcing.toml", &text)).unwrap();
        let work = |run: &mut Run<'_>| self_forcing::run(base.clone(), &recipe, run).unwrap();
        losses(&dir.path().join(name), resume, work)
    };
    let (student, whole) = go("whole", 8, false);
    check_adapter(&dir.path().join("whole/adapter"), &base.dit, &student.dit);
    let critic = Lora::read(&dir.path().join("whole/adapter-critic"), &base.dit).unwrap();
    assert!(critic.factors.values().all(|factors| factors.b.iter().any(|&b| b != 0.0)));
    let mut parts = go("parts", 3, false).1;
    parts.extend(go("parts", 8, true).1);
    assert_eq!(whole, parts);
}

#[test]
fn an_adapter_that_cannot_be_meant_is_refused_with_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let read = |lora: &str| {
        let text = format!("{}{lora}{TEACHER_STAGE}", loop_of(1, 1));
        let path = write(dir.path(), "teacher.toml", &text);
        StageRecipe::<TeacherStage>::read(&path).unwrap_err().to_string()
    };
    let recipe = |rank: &str, alpha: &str, targets: &str| {
        format!("[lora]\nrank = {rank}\nalpha = {alpha}\ntargets = [{targets}]\n")
    };
    assert!(read(&recipe("0", "1.0", "\"q\"")).contains("lora.rank is 0, expected at least 1"));
    assert!(
        read(&recipe("1", "nan", "\"q\""))
            .contains("lora.alpha is NaN, expected a finite number above 0")
    );
    assert!(read(&recipe("1", "1.0", "")).contains("lora.targets is empty"));
    assert!(read("[lora]\nranks = 1\n").contains("ranks"));

    let lora = recipe("1", "1.0", "\"self_attn.q\", \"attn.q\"");
    let error = teach(&awake(dir.path()), dir.path(), ("none", &lora), 1, false).0.unwrap_err();
    assert!(error.to_string().contains("lora.targets has attn.q"), "{error}");

    let stage = TEACHER_STAGE.replace("[stage]\n", "[stage]\nlearns = \"self-attention\"\n");
    let path = write(dir.path(), "teacher.toml", &format!("{}{LORA}{stage}", loop_of(1, 1)));
    let recipe: StageRecipe<TeacherStage> = StageRecipe::read(&path).unwrap();
    let work = |run: &mut Run<'_>| teacher::run(awake(dir.path()), &recipe, run);
    let error = losses(&dir.path().join("frozen"), false, work).0.unwrap_err();
    assert!(error.to_string().contains("frozen: dit.blocks.0.ffn.0.lora_A"), "{error}");

    let text = format!("{}{LORA}{VAE_STAGE}", loop_of(1, 1));
    let recipe: StageRecipe<VaeStage> =
        StageRecipe::read(&write(dir.path(), "vae.toml", &text)).unwrap();
    let work = |run: &mut Run<'_>| vae::run(toy(dir.path()), &recipe, run);
    let error = losses(&dir.path().join("vae"), false, work).0.unwrap_err();
    assert!(error.to_string().contains("it trains no transformer"), "{error}");
}

/// Mean square of the velocity of one clip of three frames, with gradients if asked for.
fn loss_of(model: &Conditioned, vectors: &Vectors) -> (f64, Vectors) {
    let device = Device::flex().autodiff();
    let model = params::with_values(model.clone(), vectors, &device);
    let tensor = |index, shape: [usize; 5]| {
        let numbers = normals(&mut rng_of(address(9), index), shape.iter().product());
        Tensor::<5>::from_data(TensorData::new(numbers, shape), &device)
    };
    let slots: Vec<_> =
        (0..3).map(|position| FrameSlot { position, phase: 1, caption: 0 }).collect();
    let text = tensor(1, [1, 1, 1, 64, 16]).reshape([1, 1, 64, 16]);
    let text = model.dit.text_cache(text);
    let timesteps = Tensor::full([1, 3], 500.0, &device);
    let velocity = model.dit.parallel(tensor(0, [1, 16, 3, 2, 4]), timesteps, &slots, &text, None);
    let loss = velocity.square().mean();
    let value = f64::from(params::host(loss.clone().inner())[0]);
    (value, params::gradients(&model, &loss.backward(), |_| true))
}

#[test]
fn gradients_through_a_network_are_slopes_of_its_loss() {
    let dir = tempfile::tempdir().unwrap();
    let Bundle { dit, text, .. } = awake(dir.path());
    let model = Conditioned { dit: shaken(shaken(dit, 5), 6), text };
    let targets = ["self_attn.q", "cross_attn.v", "ffn.2"].map(str::to_owned).to_vec();
    let recipe = LoraRecipe { rank: 4, alpha: 8.0, targets };
    let (space, specs, mut values) =
        Space::open(&model, Some(&recipe), &["dit"], |_| true, 1).unwrap();
    for (index, vector) in values.iter_mut().enumerate() {
        let noise = normals(&mut rng_of(address(7), index), vector.len());
        vector.iter_mut().zip(noise).for_each(|(x, n)| *x += 0.1 * n);
    }
    let gradients = space.gradients(&values, loss_of(&model, &space.weights(&values)).1);
    for factor in ["lora_A", "lora_B"] {
        // Along the gradient of all factors of a kind the slope is its length.
        let chosen = |index: usize| specs[index].name.ends_with(factor);
        let squares = gradients.iter().enumerate().filter(|(index, _)| chosen(*index));
        let square: f64 = squares.flat_map(|(_, g)| g).map(|&g| f64::from(g * g)).sum();
        let step = 0.02 / square.sqrt() as f32;
        let moved = |by: f32| {
            let mut values = values.clone();
            for (index, vector) in values.iter_mut().enumerate().filter(|(i, _)| chosen(*i)) {
                vector.iter_mut().zip(&gradients[index]).for_each(|(x, g)| *x += by * g);
            }
            loss_of(&model, &space.weights(&values)).0
        };
        let slope = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
        assert!((slope / square - 1.0).abs() < 5e-3, "{factor}: {slope} of {square}");
    }
}
