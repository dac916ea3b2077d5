//! Every loss's derivative against differences of the loss itself.
//!
//! A direction is half the gradient's and half random, so that what is compared is large and yet
//! touches every parameter. Differences over one and over two steps are combined so that errors of
//! the third order cancel (Richardson 1911).

use std::{path::Path, sync::Mutex};

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use shotstream_engine::schedule::Schedule;
use shotstream_models::{bundle::Bundle, dit::Dit};
use shotstream_plan::layout::layout_context;

use crate::{
    data::address::{normals, shared_rng_of},
    params::{self, Vectors, host},
    recipe::read_toml,
    rollout::{Reach, Scene, Student},
    stages::{fresh::fresh, ode_init, ode_pairs, self_forcing, teacher, vae},
    trainer::{BatchAddress, Objective, Run},
};

const MODEL: &str = include_str!("../tests/toy_model.toml");

/// How far along a direction of length 1.4 the losses of the transformer are asked, and the largest
/// relative difference between a slope and the gradient's. What was seen is below 2e-5.
const TRANSFORMER: (f32, f64) = (1e-2, 1e-4);

/// The same of the VAE, which bends more: its norms divide by the length of few numbers.
const VAE: (f32, f64) = (2e-3, 1e-3);

const DATA: &str = "seed = 6\nstories = 2\nshots = 2\npairs = 0.2\ncontext_dropout = 0.1\n\
    context_noise = 0.1\nanonymous = 0.5\n";

/// A toy whose every weight is moved a little, because a fresh one ends in zeros.
fn toy(dir: &Path, model: &str) -> Bundle {
    let path = dir.join("model.toml");
    std::fs::write(&path, model).unwrap();
    // Initial weights come from one generator of the whole process.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let mut bundle = {
        let _turn = ONE_AT_A_TIME.lock().unwrap();
        fresh(&path).unwrap()
    };
    bundle.dit = moved(bundle.dit);
    bundle.vae = moved(bundle.vae);
    bundle.text = moved(bundle.text);
    bundle
}

fn moved<M: Module>(module: M) -> M {
    let (_, mut values) = params::values(&module);
    let rng = &mut shared_rng_of(at(0));
    for vector in &mut values {
        let noise = normals(rng, vector.len());
        vector.iter_mut().zip(noise).for_each(|(x, noise)| *x += 0.1 * noise);
    }
    params::with_values(module, &values, &Device::flex().autodiff()).valid()
}

fn at(step: u64) -> BatchAddress {
    BatchAddress { seed: 4, step, part: 0, batch: 2 }
}

fn run_in<T>(dir: &Path, work: impl FnOnce(&mut Run<'_>) -> T) -> T {
    let mut watch = |_, _, _: &_| ();
    work(&mut Run {
        stage: "test",
        dir: dir.to_owned(),
        resume: false,
        threads: 2,
        watch: &mut watch,
    })
}

/// Hold the gradient of `loss` by the parameters that `learns` to its slopes.
fn check<M: Module>(
    model: &M,
    learns: impl Fn(&str) -> bool,
    (step, tolerance): (f32, f64),
    loss: impl Fn(&M) -> Tensor<1>,
) {
    let device = Device::flex().autodiff();
    let (specs, values) = params::values(model);
    let point = params::with_values(model.clone(), &values, &device);
    let mut gradients = params::gradients(&point, &loss(&point).backward());
    for (spec, gradient) in specs.iter().zip(&mut gradients) {
        if !learns(&spec.name) {
            gradient.fill(0.0);
        }
    }
    let norm = dot(&gradients, &gradients).sqrt();
    assert!(norm > 1e-3, "the gradient is {norm}, which shows nothing");
    for seed in 0..3 {
        let rng = &mut shared_rng_of(at(seed));
        let random: Vectors = specs
            .iter()
            .zip(&values)
            .map(|(spec, v)| match learns(&spec.name) {
                true => normals(rng, v.len()),
                false => vec![0.0; v.len()],
            })
            .collect();
        let length = dot(&random, &random).sqrt();
        let direction: Vectors = random
            .iter()
            .zip(&gradients)
            .map(|(random, gradient)| {
                let pairs = random.iter().zip(gradient);
                pairs.map(|(r, g)| (f64::from(*r) / length + f64::from(*g) / norm) as f32).collect()
            })
            .collect();
        let value = |step: f32| {
            let moved = values.iter().zip(&direction);
            let moved = moved.map(|(v, d)| v.iter().zip(d).map(|(v, d)| v + step * d).collect());
            let model = params::with_values(model.clone(), &moved.collect::<Vectors>(), &device);
            f64::from(host(loss(&model).inner())[0])
        };
        let slope = |step: f32| (value(step) - value(-step)) / (2.0 * f64::from(step));
        let slope = (4.0 * slope(step) - slope(2.0 * step)) / 3.0;
        let expected = dot(&gradients, &direction);
        let error = (slope - expected).abs() / expected.abs();
        assert!(error < tolerance, "slope {slope}, by the gradient {expected}: {error}");
    }
}

fn dot(a: &Vectors, b: &Vectors) -> f64 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// The loss of an objective, which also learns this way.
fn loss_of<O: Objective>(objective: &O, step: u64) -> impl Fn(&O::Model) -> Tensor<1> + '_ {
    move |model| objective.loss(model, at(step)).0
}

#[test]
fn the_vaes_loss_has_the_slopes_of_its_gradient() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = toy(dir.path(), MODEL);
    let stage = "crop = [5, 16, 16]\ndivergence = 1e-1\n[errors]\nabsolute = 0.0\nsquared = 1.0\n\
        differences = 0.0\n";
    let stage = toml::from_str(stage).unwrap();
    let objective = vae::objective(&bundle, &stage).unwrap();
    check(&bundle.vae, |_| true, VAE, loss_of(&objective, 0));
}

#[test]
fn the_teachers_loss_has_the_slopes_of_its_gradient() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = toy(dir.path(), MODEL);
    let stage = format!(
        "shift = 3.0\ntext_dropout = 0.1\n[data]\n{DATA}[sampler]\nsubsteps = 1\nguidance = 2.0\n"
    );
    let stage = toml::from_str(&stage).unwrap();
    let objective = run_in(&dir.path().join("teacher"), |run| {
        teacher::objective(&bundle, &stage, run).unwrap()
    });
    let model = teacher::Conditioned { dit: bundle.dit, text: bundle.text };
    check(&model, |_| true, TRANSFORMER, loss_of(&objective, 0));
}

#[test]
fn the_students_regression_has_the_slopes_of_its_gradient() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = toy(dir.path(), MODEL);
    let pairs = format!(
        "seed = 7\nshards = 1\nsamples = 2\n[sampler]\nsubsteps = 1\nguidance = 1.0\n[data]\n{DATA}"
    );
    let file = dir.path().join("pairs.toml");
    std::fs::write(&file, pairs).unwrap();
    let recipe = read_toml(&file).unwrap();
    run_in(&dir.path().join("pairs"), |run| ode_pairs::run(&bundle, &recipe, run)).unwrap();
    let stage = toml::from_str("pairs = \"pairs\"\nclean_past = 0.5\n").unwrap();
    let objective = run_in(&dir.path().join("student"), |run| {
        ode_init::objective(&bundle, &stage, run).unwrap()
    });
    let model = teacher::Conditioned { dit: bundle.dit, text: bundle.text };
    check(&model, |name| !name.starts_with("text."), TRANSFORMER, loss_of(&objective, 0));
}

#[test]
fn the_critics_loss_has_the_slopes_of_its_gradient() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = toy(dir.path(), MODEL);
    let folder = dir.path().join("teacher");
    std::fs::create_dir(&folder).unwrap();
    bundle.save(&folder.join("model.safetensors"), Default::default()).unwrap();
    let stage = format!(
        "teacher = \"teacher\"\nhistory = \"own\"\nperiod = 3\ncritic_rate = 1.0\nguidance = 1.0\n\
         shift = 3.0\n[data]\n{DATA}"
    );
    let stage = toml::from_str(&stage).unwrap();
    let objective = run_in(&dir.path().join("student"), |run| {
        self_forcing::objective(&bundle, &stage, run).unwrap()
    });
    let players = objective.players(bundle.dit);
    check(&players, |name| name.starts_with("critic"), TRANSFORMER, loss_of(&objective, 1));
}

/// A sum over a shot of two chunks, made in one step each, with random weights.
fn weighted_shot(bundle: &Bundle, dit: &Dit, reach: Reach) -> Tensor<1> {
    let recipe = bundle.recipe();
    let scene = Scene {
        recipe,
        chunks: 2,
        layout: layout_context(recipe, 0, Vec::new()),
        context: gaussian(1, [2, 16, 6, 2, 4]),
        embeddings: gaussian::<4>(2, [2, 1, 64, 16]),
    };
    let schedule = Schedule::of(recipe).first(1);
    let noise = |chunk: usize, _| gaussian(3 + chunk as u64, [2, 16, 3, 2, 4]);
    let shot = Student::learning(dit, &schedule, reach).roll(&scene, &schedule, noise);
    // The first chunk's own loss is left out: all that reaches it comes through the cache.
    let second = shot.narrow(2, 3, 3);
    let weights = gaussian(9, second.dims());
    (second * weights.autodiff()).sum().mul_scalar(0.01)
}

fn gaussian<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
    let numbers = normals(&mut shared_rng_of(at(seed)), shape.iter().product());
    Tensor::from_data(TensorData::new(numbers, shape), &Device::flex())
}

#[test]
fn a_gradient_through_the_cache_has_the_slopes_of_the_whole_rollout() {
    let dir = tempfile::tempdir().unwrap();
    let model = MODEL
        .replace("shot_frames = 9", "shot_frames = 21")
        .replace("window_latent_frames = 3", "window_latent_frames = 6");
    let bundle = toy(dir.path(), &model);
    let loss = |dit: &Dit| weighted_shot(&bundle, dit, Reach::ThroughCache);
    check(&bundle.dit, |_| true, TRANSFORMER, loss);
}
