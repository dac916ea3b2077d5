//! A student's rollout: the shot is the same whether it learns or works, and a gradient that reaches
//! through the caches agrees with differences of the whole rollout.
//!
//! A direction is half the gradient's and half random, so that what is compared is large and yet
//! touches every parameter. Differences over one and over two steps are combined so that errors of
//! the third order cancel (Richardson 1911).

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

use burn::{
    module::Module as _,
    tensor::{Device, Tensor, TensorData},
};
use shotstream_engine::schedule::Schedule;
use shotstream_models::{bundle::Bundle, dit::Dit};
use shotstream_plan::{context::select_context, layout::layout_context, timeline::Timeline};
use shotstream_train::{
    data::address::{normals, shared_rng_of},
    params::{self, Vectors},
    rollout::{Reach, Scene, Student, WorkingStudent},
    stages::fresh::fresh,
    trainer::BatchAddress,
};

/// How far along a direction of length 1.4 the loss is asked.
const STEP: f32 = 1e-2;

/// Largest relative difference between a slope and the gradient's; what was seen is below 2e-5.
const TOLERANCE: f64 = 1e-4;

fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let at = BatchAddress { seed: 4, step: seed, part: 0, batch: 2 };
    normals(&mut shared_rng_of(at), count)
}

fn gaussian<const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<D> {
    Tensor::from_data(
        TensorData::new(numbers(seed, shape.iter().product()), shape),
        &Device::flex(),
    )
}

/// A toy of two chunks a shot whose every weight is moved a little, because a fresh one ends in
/// zeros.
fn toy() -> Bundle {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("model.toml");
    let model = include_str!("toy_model.toml")
        .replace("shot_frames = 9", "shot_frames = 21")
        .replace("window_latent_frames = 3", "window_latent_frames = 6");
    std::fs::write(&path, model).unwrap();
    let mut bundle = fresh(&path).unwrap();
    let (_, mut values) = params::values(&bundle.dit);
    for (index, vector) in values.iter_mut().enumerate() {
        let noise = numbers(100 + index as u64, vector.len());
        vector.iter_mut().zip(noise).for_each(|(x, noise)| *x += 0.1 * noise);
    }
    bundle.dit = params::with_values(bundle.dit, &values, &Device::flex().autodiff()).valid();
    bundle
}

/// A sum over the second chunk of a shot made in one step each, with random weights: all that
/// reaches the first chunk comes through the cache.
fn loss(bundle: &Bundle, dit: &Dit, reach: Reach) -> Tensor<1> {
    let recipe = bundle.recipe();
    let scene = Scene {
        recipe,
        chunks: 2,
        layout: layout_context(recipe, 0, Vec::new()),
        context: gaussian(1, [2, 16, 6, 2, 4]),
        embeddings: gaussian(2, [2, 1, 64, 16]),
    };
    let schedule = Schedule::of(recipe).first(1);
    let noise = |chunk: usize, _| gaussian(3 + chunk as u64, [2, 16, 3, 2, 4]);
    let shot = Student::new(dit, &schedule, reach).roll(&scene, &schedule, noise);
    let second = shot.narrow(2, 3, 3);
    let weights = gaussian(9, second.dims());
    (second * weights.autodiff()).sum().mul_scalar(0.01)
}

fn dot(a: &Vectors, b: &Vectors) -> f64 {
    let pairs = a.iter().flatten().zip(b.iter().flatten());
    pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// The gradient, scaled to length 1, and random numbers likewise, added.
fn direction(seed: u64, gradient: &Vectors) -> Vectors {
    let random: Vectors = (1000 * (seed + 1)..)
        .zip(gradient)
        .map(|(seed, vector)| numbers(seed, vector.len()))
        .collect();
    let [length, norm] = [&random, gradient].map(|vectors| dot(vectors, vectors).sqrt());
    let add = |(r, g): (&f32, &f32)| (f64::from(*r) / length + f64::from(*g) / norm) as f32;
    random.iter().zip(gradient).map(|(r, g)| r.iter().zip(g).map(add).collect()).collect()
}

/// The slope of the loss along a direction.
fn slope(bundle: &Bundle, values: &Vectors, direction: &Vectors) -> f64 {
    let device = Device::flex().autodiff();
    let value = |step: f32| {
        let moved = values.iter().zip(direction);
        let moved = moved.map(|(v, d)| v.iter().zip(d).map(|(v, d)| v + step * d).collect());
        let dit = params::with_values(bundle.dit.clone(), &moved.collect::<Vectors>(), &device);
        params::number(&loss(bundle, &dit, Reach::ThroughCache))
    };
    let slope = |step: f32| (value(step) - value(-step)) / (2.0 * f64::from(step));
    (4.0 * slope(STEP) - slope(2.0 * STEP)) / 3.0
}

/// The second shot of two stories, each chunk in all its steps.
#[test]
fn a_student_at_work_makes_the_shot_of_one_who_learns() {
    let bundle = toy();
    let recipe = bundle.recipe();
    let past: Timeline = std::iter::once(recipe.shot_frames()).collect();
    let scene = Scene {
        recipe,
        chunks: 2,
        layout: layout_context(recipe, 1, select_context(recipe.memory(), &past)),
        context: gaussian(1, [2, 16, 6, 2, 4]),
        embeddings: gaussian(2, [2, 2, 64, 16]),
    };
    let schedule = Schedule::of(recipe);
    let noise =
        |chunk: usize, step: usize| gaussian(3 + (10 * chunk + step) as u64, [2, 16, 3, 2, 4]);
    let (_, values) = params::values(&bundle.dit);
    let learning = params::with_values(bundle.dit.clone(), &values, &Device::flex().autodiff());
    let learnt = Student::new(&learning, &schedule, Reach::LastStep).roll(&scene, &schedule, noise);
    let worked =
        params::host(WorkingStudent::new(&bundle.dit).unwrap().roll(&scene, &schedule, noise));
    let learnt = params::host(learnt.inner());
    let largest = learnt.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    for (worked, learnt) in worked.iter().zip(&learnt) {
        assert!((worked - learnt).abs() < 1e-4 * largest, "{worked} {learnt} of {largest}");
    }
    assert_eq!(worked.len(), learnt.len());
}

#[test]
fn a_gradient_through_the_cache_has_the_slopes_of_the_whole_rollout() {
    let bundle = toy();
    let (_, values) = params::values(&bundle.dit);
    let gradient = |reach| {
        let device = Device::flex().autodiff();
        let dit = params::with_values(bundle.dit.clone(), &values, &device);
        params::gradients(&dit, &loss(&bundle, &dit, reach).backward(), |_| true)
    };
    let [through, last] = [Reach::ThroughCache, Reach::LastStep].map(gradient);
    for seed in 0..3 {
        let direction = direction(seed, &through);
        let slope = slope(&bundle, &values, &direction);
        let error = |gradient| ((slope - dot(gradient, &direction)) / slope).abs();
        assert!(error(&through) < TOLERANCE, "slope {slope}: {}", error(&through));
        // What reaches only the last step is another derivative.
        assert!(error(&last) > 10.0 * TOLERANCE, "slope {slope}: {}", error(&last));
    }
}
