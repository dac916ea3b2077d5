//! What learning from its own films promises: the critic learns, the student comes back to the
//! teacher, and a resumed run equals one never stopped.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

mod toys;

use std::path::Path;

use burn::{
    module::Module as _,
    tensor::{Device, Tensor, TensorData},
};
use shotstream_engine::schedule::Schedule;
use shotstream_models::{bundle::Bundle, checkpoint::StoredDtype, dit::Dit};
use shotstream_plan::layout::layout_context;
use shotstream_train::{
    data::address::{normals, shared_rng_of},
    error::TrainError,
    params,
    recipe::StageRecipe,
    rollout::{Scene, WorkingStudent},
    stages::{
        self_forcing::{self, SelfForcingStage},
        teacher,
    },
    trainer::{BatchAddress, Run},
};
use toys::{loop_of, losses, mean, toy, write};

const TEACHER_STAGE: &str = "[stage]\nshift = 3.0\ntext_dropout = 0.1\n\
    [stage.data]\nseed = 6\nstories = 2\nshots = 2\npairs = 0.2\ncontext_dropout = 0.1\ncontext_noise = 0.1\n\
    anonymous = 0.5\n[stage.sampler]\nsubsteps = 1\nguidance = 2.0\n";

fn stage(history: &str, stories: usize) -> String {
    format!(
        "[stage]\nteacher = \"teacher\"\nhistory = \"{history}\"\nperiod = 3\ncritic_rate = 1.0\n\
         guidance = 1.0\nshift = 3.0\n[stage.data]\nseed = 6\nstories = {stories}\nshots = 2\npairs = 0.2\n\
         context_dropout = 0.1\ncontext_noise = 0.0\nanonymous = 0.0\n"
    )
}

/// A toy teacher, trained a little and saved where the stage looks for it.
fn taught(dir: &Path) -> Bundle {
    let text = format!("{}{TEACHER_STAGE}", loop_of(60, 4));
    let recipe = StageRecipe::read(&write(dir, "teacher.toml", &text)).unwrap();
    let work = |run: &mut Run<'_>| teacher::run(toy(dir), &recipe, run);
    let bundle = losses(&dir.join("teacher"), false, work).0.unwrap();
    bundle.save(&dir.join("teacher/model.safetensors"), StoredDtype::F32).unwrap();
    bundle
}

fn go(
    bundle: &Bundle,
    dir: &Path,
    (name, history): (&str, &str),
    steps: u64,
    resume: bool,
) -> (Bundle, Vec<f64>) {
    let stories = if history == "true" { 2 } else { 0 };
    let text = format!("{}{}", loop_of(steps, 2), stage(history, stories));
    let recipe: StageRecipe<SelfForcingStage> =
        StageRecipe::read(&write(dir, "forcing.toml", &text)).unwrap();
    let work = |run: &mut Run<'_>| self_forcing::run(bundle.clone(), &recipe, run);
    let (result, losses) = losses(&dir.join(name), resume, work);
    (result.unwrap(), losses)
}

/// A shot from given noise, without words and past.
fn shot(bundle: &Bundle, dit: &Dit) -> Vec<f32> {
    let device = Device::flex();
    let scene = Scene {
        recipe: bundle.recipe(),
        chunks: 1,
        layout: layout_context(bundle.recipe(), 0, Vec::new()),
        context: Tensor::zeros([4, 16, 6, 2, 4], &device),
        embeddings: Tensor::zeros([4, 1, 64, 16], &device),
    };
    let at = BatchAddress { seed: 9, step: 0, part: 0, batch: 4 };
    let rng = &mut shared_rng_of(at);
    let noise = |_, _| {
        let numbers = normals(rng, 4 * 16 * 3 * 2 * 4);
        Tensor::from_data(TensorData::new(numbers, [4, 16, 3, 2, 4]), &device)
    };
    let schedule = Schedule::of(bundle.recipe());
    params::host(WorkingStudent::new(dit).unwrap().roll(&scene, &schedule, noise))
}

#[test]
fn a_student_that_was_pushed_aside_comes_back_to_the_teacher() {
    let dir = tempfile::tempdir().unwrap();
    let teacher = taught(dir.path());
    let mut pushed = teacher.clone();
    let (specs, mut vectors) = params::values(&teacher.dit);
    let index = specs.iter().position(|spec| spec.name == "head.head.bias").unwrap();
    vectors[index].iter_mut().for_each(|b| *b += 0.5);
    let device = Device::flex().autodiff();
    pushed.dit = params::with_values(teacher.dit.clone(), &vectors, &device).valid();
    let aside = |bundle: &Bundle| -> f64 {
        let [now, then] = [&bundle.dit, &teacher.dit].map(|dit| shot(&teacher, dit));
        let distances = now.iter().zip(&then).map(|(a, b)| f64::from((a - b).abs()));
        mean(&distances.collect::<Vec<_>>())
    };
    let (student, losses) = go(&pushed, dir.path(), ("true", "true"), 120, false);
    let critic: Vec<f64> =
        losses.iter().enumerate().filter(|(step, _)| step % 3 > 0).map(|(_, &loss)| loss).collect();
    assert!(mean(&critic[60..]) < mean(&critic[..20]), "{critic:?}");
    assert!(aside(&student) < 0.8 * aside(&pushed), "{} of {}", aside(&student), aside(&pushed));
}

#[test]
fn films_of_its_own_resume_to_the_same_losses() {
    let dir = tempfile::tempdir().unwrap();
    let teacher = taught(dir.path());
    let (_, whole) = go(&teacher, dir.path(), ("whole", "own"), 8, false);
    let (_, mut parts) = go(&teacher, dir.path(), ("parts", "own"), 3, false);
    parts.extend(go(&teacher, dir.path(), ("parts", "own"), 8, true).1);
    assert_eq!(whole, parts);
}

#[test]
fn a_stage_that_cannot_work_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let teacher = taught(dir.path());
    let text = format!("{}{}", loop_of(1, 1), stage("true", 0));
    let recipe = StageRecipe::read(&write(dir.path(), "forcing.toml", &text)).unwrap();
    let work = |run: &mut Run<'_>| self_forcing::run(teacher, &recipe, run);
    let error = losses(&dir.path().join("none"), false, work).0.unwrap_err();
    assert!(matches!(&error, TrainError::Stage { .. }), "{error}");
    assert!(error.to_string().contains("data.stories"), "{error}");
}
