//! What every stage minimises, its gradient, and what the optimiser makes of gradients agree with
//! PyTorch's.
//!
//! | letter | means |
//! |---|---|
//! | `B` | samples |
//! | `N`, `L` | captions of a sample, tokens of a caption |
//! | `C` | latent channels |
//! | `K`, `F` | context frames, the shot's latent frames |
//! | `h`, `w` | latent height and width |
//!
//! Expected values: `tools/goldens/losses.py`, in float64.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::SafeTensors;
use shotstream_models::{
    bundle::Bundle,
    checkpoint::{Network, Weights},
    dit::Dit,
    stored::StoredModel,
};
use shotstream_plan::{
    context::select_context,
    geometry::LatentFrames,
    layout::{FrameSlot, layout_context, layout_sequence},
    timeline::Timeline,
};
use shotstream_train::{
    data::{shots::sequence, tokens::Tokens},
    loss::{
        reconstruction::ErrorWeights,
        self_forcing::{self, Scorers, critics_loss, students_loss},
    },
    optimizer::{Optimizer, OptimizerRecipe, Turn},
    params::{self, ParamSpec, Vectors},
    rollout::{Reach, Scene},
    stages::{
        ode_init,
        teacher::{self, Conditioned},
        vae::{self, VaeStage},
    },
};

/// Largest difference of a loss or a gradient, over the largest expected value of its tensor.
const TOLERANCE: f32 = 1e-4;

/// The third shot of a story.
const SHOT: usize = 2;
const FRAMES: usize = 9;
const GUIDANCE: f32 = 2.5;

fn plain() -> Device {
    Device::flex()
}

fn learning() -> Device {
    Device::flex().autodiff()
}

/// One file of goldens.
struct Golden {
    bytes: Vec<u8>,
    path: PathBuf,
}

impl Golden {
    fn read(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/losses");
        let path = folder.join(format!("{name}.safetensors"));
        Self { bytes: std::fs::read(&path).unwrap(), path }
    }

    fn data<E: burn::tensor::Element>(
        &self,
        name: &str,
        number: impl Fn(&[u8]) -> E,
        width: usize,
    ) -> TensorData {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(name).unwrap();
        let values: Vec<E> = view.data().chunks_exact(width).map(number).collect();
        TensorData::new(values, view.shape().to_vec())
    }

    fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let number = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
        Tensor::from_data(self.data(name, number, 4), device)
    }

    fn values<const D: usize>(&self, name: &str) -> Vec<f32> {
        params::host(self.tensor::<D>(name, &plain()))
    }

    fn tokens(&self, device: &Device) -> Tokens {
        let number = |b: &[u8]| i64::from_le_bytes(b.try_into().unwrap());
        let lengths = self.data("lengths", number, 8).try_into_vec::<i64>().unwrap();
        Tokens {
            ids: Tensor::<2, Int>::from_data(self.data("ids", number, 8), device),
            lengths: lengths.into_iter().map(|length| usize::try_from(length).unwrap()).collect(),
            captions: SHOT + 1,
        }
    }

    /// Weights of a network under a prefix, in the place of those of `like`.
    fn network<M: Module>(&self, like: &M, network: Network, prefix: &str) -> M {
        let weights = Weights::parse(&self.bytes, &self.path).unwrap();
        weights.load(like.clone(), network, prefix).unwrap()
    }

    /// The loss is the expected one.
    fn holds_loss(&self, loss: &Tensor<1>) {
        let (found, expected) =
            (params::host(loss.clone().inner())[0], self.values::<1>("loss")[0]);
        let error = (found - expected).abs() / expected.abs();
        assert!(error <= TOLERANCE, "loss {found}, expected {expected}: {}", self.path.display());
    }

    /// Every gradient of `found` is the expected one under the parameter's official name; `like`
    /// is the network they belong to.
    fn holds_gradients<M: Module>(
        &self,
        (specs, found): (&[ParamSpec], &[Vec<f32>]),
        like: &M,
        (network, prefix): (Network, &str),
    ) {
        let expected = self.network(like, network, &format!("gradient.{prefix}."));
        let (names, expected) = params::values(&expected);
        assert_eq!(names.len(), specs.len());
        for ((spec, found), expected) in specs.iter().zip(found).zip(&expected) {
            let error = relative_error(found, expected);
            assert!(error <= TOLERANCE, "{} is off by {error}: {}", spec.name, self.path.display());
        }
    }
}

fn relative_error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(error.is_finite());
    if error == 0.0 { 0.0 } else { error / largest }
}

fn bundle() -> Bundle {
    let golden = Golden::read("model");
    StoredModel::parse(&golden.bytes, &golden.path).unwrap().load(&plain()).unwrap()
}

/// The same network, ready to be differentiated.
fn learner<M: Module>(module: &M) -> M {
    params::with_values(module.clone(), &params::values(module).1, &learning())
}

fn gradients_of<M: Module>(module: &M, loss: &Tensor<1>) -> (Vec<ParamSpec>, Vectors) {
    let specs = params::values(module).0;
    (specs, params::gradients(module, &loss.backward(), |_| true))
}

fn conditioned(bundle: &Bundle) -> Conditioned {
    Conditioned { dit: learner(&bundle.dit), text: learner(&bundle.text) }
}

fn slots(bundle: &Bundle) -> Vec<FrameSlot> {
    let layout = sequence(bundle.recipe(), SHOT, FRAMES);
    assert_eq!(layout.captions, [0, 1, 2]);
    layout.slots
}

fn taught(golden: &Golden, bundle: &Bundle) -> teacher::Drawn {
    let device = learning();
    teacher::Drawn {
        clip: golden.tensor("clip", &device),
        context: Some(golden.tensor("context", &device)),
        tokens: golden.tokens(&device),
        slots: slots(bundle),
        levels: golden.values::<1>("levels"),
        told: golden.values::<1>("told"),
        noise: golden.tensor("noise", &device),
    }
}

#[test]
fn the_teachers_loss_and_gradients_are_pytorchs() {
    let (golden, bundle) = (Golden::read("teacher"), bundle());
    let model = conditioned(&bundle);
    let loss = teacher::loss(&model, &taught(&golden, &bundle));
    golden.holds_loss(&loss);
    let (specs, found) = gradients_of(&model, &loss);
    let split = specs.iter().position(|spec| spec.name.starts_with("text.")).unwrap();
    golden.holds_gradients((&specs[..split], &found[..split]), &bundle.dit, (Network::Dit, "dit"));
    golden.holds_gradients(
        (&specs[split..], &found[split..]),
        &bundle.text,
        (Network::Umt5, "text"),
    );
}

#[test]
fn the_causal_students_loss_and_gradients_are_pytorchs() {
    let (golden, bundle) = (Golden::read("ode_init"), bundle());
    let model = conditioned(&bundle);
    let device = learning();
    let drawn = ode_init::Drawn {
        noisy: golden.tensor("noisy", &device),
        clean: golden.tensor("clean", &device),
        context: golden.tensor("context", &device),
        tokens: golden.tokens(&device),
        slots: slots(&bundle),
        levels: golden.values::<2>("levels"),
        chunk: bundle.recipe().geometry().chunk.0,
    };
    let loss = ode_init::loss(&model, &drawn);
    golden.holds_loss(&loss);
    let (specs, found) = gradients_of(&model.dit, &loss);
    golden.holds_gradients((&specs, &found), &bundle.dit, (Network::Dit, "dit"));
}

/// The drawn shot of a golden of self-forcing.
fn filmed<'a>(golden: &Golden, bundle: &'a Bundle) -> self_forcing::Drawn<'a> {
    let (recipe, device) = (bundle.recipe(), plain());
    let past: Timeline = std::iter::repeat_n(recipe.shot_frames(), SHOT).collect();
    let layout = layout_context(recipe, SHOT, select_context(recipe.memory(), &past));
    let slots = layout_sequence(&layout, SHOT, LatentFrames(FRAMES)).slots;
    let noise: Tensor<7> = golden.tensor("rollout", &device);
    let [chunks, steps, ..] = noise.dims();
    let of_chunk = |chunk| {
        let noise = noise.clone().narrow(0, chunk, 1).squeeze_dim::<6>(0);
        (0..steps).map(|step| noise.clone().narrow(0, step, 1).squeeze_dim::<5>(0)).collect()
    };
    let embeddings = golden.tokens(&device).embed(&bundle.text);
    self_forcing::Drawn {
        free: embeddings.zeros_like(),
        scene: Scene {
            recipe,
            chunks,
            layout,
            context: golden.tensor("context", &device),
            embeddings,
        },
        slots,
        rollout: (0..chunks).map(of_chunk).collect(),
        reach: Reach::LastStep,
        levels: golden.values::<1>("levels"),
        noise: golden.tensor("noise", &device),
    }
}

#[test]
fn the_students_shot_its_direction_and_gradients_are_pytorchs() {
    let (golden, bundle) = (Golden::read("student"), bundle());
    let scores = Golden::read("scores");
    let [teacher, critic]: [Dit; 2] =
        ["teacher.", "critic."].map(|prefix| scores.network(&bundle.dit, Network::Dit, prefix));
    let scorers = Scorers { teacher: &teacher, critic: &learner(&critic), guidance: GUIDANCE };
    let drawn = filmed(&golden, &bundle);
    let student = learner(&bundle.dit);

    let clip = drawn.work(&student);
    let error = relative_error(&params::host(clip.clone()), &golden.values::<5>("clip"));
    assert!(error <= TOLERANCE, "the shot is off by {error}");
    let direction = params::host(drawn.direction(scorers, clip));
    let error = relative_error(&direction, &golden.values::<5>("direction"));
    assert!(error <= TOLERANCE, "the direction is off by {error}");

    let loss = students_loss(&student, scorers, &drawn);
    golden.holds_loss(&loss);
    let (specs, found) = gradients_of(&student, &loss);
    golden.holds_gradients((&specs, &found), &bundle.dit, (Network::Dit, "dit"));
}

#[test]
fn the_critics_loss_and_gradients_are_pytorchs() {
    let (golden, bundle) = (Golden::read("critic"), bundle());
    let critic = learner(&Golden::read("scores").network(&bundle.dit, Network::Dit, "critic."));
    let drawn = filmed(&golden, &bundle);
    let loss = critics_loss(&learner(&bundle.dit), &critic, &drawn);
    golden.holds_loss(&loss);
    let (specs, found) = gradients_of(&critic, &loss);
    golden.holds_gradients((&specs, &found), &bundle.dit, (Network::Dit, "dit"));
}

#[test]
fn the_vaes_loss_and_gradients_are_pytorchs() {
    let (golden, bundle) = (Golden::read("vae"), bundle());
    let model = learner(&bundle.vae);
    let stage = VaeStage {
        crop: [9, 16, 24],
        errors: ErrorWeights { absolute: 1.0, squared: 0.5, differences: 0.5 },
        divergence: 0.05,
        freeze_encoder: false,
        latent_noise: 0.0,
    };
    let drawn = vae::Drawn {
        clips: golden.tensor("clips", &learning()),
        noise: golden.tensor("noise", &learning()),
    };
    let (loss, metrics) = vae::loss(&model, &stage, &drawn);
    golden.holds_loss(&loss);
    let divergence = metrics.iter().find(|(name, _)| *name == "divergence").unwrap().1 as f32;
    assert!(relative_error(&[divergence], &golden.values::<1>("divergence")) <= TOLERANCE);
    let (specs, found) = gradients_of(&model, &loss);
    golden.holds_gradients((&specs, &found), &bundle.vae, (Network::Vae, "vae"));
}

#[test]
fn three_updates_of_muon_and_adamw_are_pytorchs() {
    let golden = Golden::read("optimizer");
    let names = ["wide.weight", "tall.weight", "kernel.weight", "wide.bias"];
    let names = [&names[..], &["token_embedding.weight", "norm.gamma"]].concat();
    let spec = |name: &&str| {
        let file = SafeTensors::deserialize(&golden.bytes).unwrap();
        let shape = file.tensor(&format!("start.{name}")).unwrap().shape().to_vec();
        ParamSpec { name: (*name).to_owned(), shape }
    };
    let specs: Vec<_> = names.iter().map(spec).collect();
    let group = |group: &str| -> Vectors {
        let number = |b: &[u8]| f32::from_le_bytes(b.try_into().unwrap());
        let data = |name| golden.data(&format!("{group}.{name}"), number, 4);
        names.iter().map(|name| data(name).try_into_vec().unwrap()).collect()
    };
    let recipe = OptimizerRecipe {
        adamw_lr: 0.02,
        muon_lr: 0.05,
        betas: [0.9, 0.99],
        weight_decay: 0.1,
        clip: 1.0,
        ema: 0.9,
    };
    let mut values = group("start");
    let mut optimizer = Optimizer::new(recipe, &specs, &values, |_| true);
    for (updates, scale) in (0u64..).zip([0.5, 1.0, 1.0]) {
        let turns = vec![Some(Turn { updates, rate: 1.0 }); specs.len()];
        optimizer.step(&mut values, &group(&format!("gradient{updates}")), scale, &turns);
    }
    for (found, expected) in [(&values, group("value")), (&optimizer.ema, group("average"))] {
        for ((spec, found), expected) in specs.iter().zip(found).zip(&expected) {
            let error = relative_error(found, expected);
            assert!(error <= TOLERANCE, "{} is off by {error}", spec.name);
        }
    }
}

#[test]
fn the_teachers_loss_falls_along_its_gradient_by_its_square() {
    let (golden, bundle) = (Golden::read("teacher"), bundle());
    let drawn = taught(&golden, &bundle);
    let model = conditioned(&bundle);
    let values = params::values(&model).1;
    let gradients = gradients_of(&model, &teacher::loss(&model, &drawn)).1;
    let square: f64 = gradients.iter().flatten().map(|&g| f64::from(g) * f64::from(g)).sum();
    let length = 1e-2 / square.sqrt();
    let moved = |sign: f64| {
        let step = |(value, gradient): (&Vec<f32>, &Vec<f32>)| {
            let pairs = value.iter().zip(gradient);
            pairs.map(|(&v, &g)| v + (sign * length * f64::from(g)) as f32).collect()
        };
        let values: Vectors = values.iter().zip(&gradients).map(step).collect();
        let model = params::with_values(model.clone(), &values, &learning());
        f64::from(params::host(teacher::loss(&model, &drawn).inner())[0])
    };
    let slope = (moved(1.0) - moved(-1.0)) / (2.0 * length);
    assert!((slope / square - 1.0).abs() < 1e-3, "{slope}, expected {square}");
}
