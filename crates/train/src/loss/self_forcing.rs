//! The two losses of learning from one's own films, on a drawn shot.
//!
//! | letter | means |
//! |---|---|
//! | `B` | samples |
//! | `N`, `L`, `D` | captions of a sample, tokens of a caption, width of a text embedding |
//! | `C` | latent channels |
//! | `F` | the shot's latent frames |
//! | `h`, `w` | latent height and width |
//!
//! The student makes the shot over its caches and is moved by distribution matching (Yin et al.
//! 2024, arXiv 2311.18828); the critic learns by flow matching what such shots are like. Teacher and
//! critic see the whole shot at once, behind the same context and captions as the student.

use burn::module::Module as _;
use burn::tensor::{Device, Tensor, TensorData};
use shotstream_engine::schedule::Schedule;
use shotstream_models::dit::{Dit, TextCache};
use shotstream_plan::layout::FrameSlot;

use crate::{
    guidance::guided,
    loss::{
        distribution_matching::{direction, matching_loss},
        flow_matching::{noisy, velocity_error},
    },
    rollout::{Reach, Scene, Student, WorkingStudent},
    stages::teacher::velocity,
};

/// A shot of a batch with everything that was drawn for it, all on a plain device.
#[derive(Debug)]
pub struct Drawn<'a> {
    /// What the shot is made from.
    pub scene: Scene<'a>,
    /// Context frames, then the shot's.
    pub slots: Vec<FrameSlot>,
    /// What the teacher's unguided estimate reads, `[B, N, L, D]`.
    pub free: Tensor<4>,
    /// Noise of every chunk and step, `[B, C, frames of a chunk, h, w]` each; a shot takes as many
    /// steps as there are.
    pub rollout: Vec<Vec<Tensor<5>>>,
    /// How far the gradient of the student's chunks reaches.
    pub reach: Reach,
    /// Level at which teacher and critic look at each sample.
    pub levels: Vec<f32>,
    /// Noise through which they look, `[B, C, F, h, w]`.
    pub noise: Tensor<5>,
}

/// Who says where shots are likely.
#[derive(Clone, Copy, Debug)]
pub struct Scorers<'a> {
    /// Knows the world's shots.
    pub teacher: &'a Dit,
    /// Knows the student's shots.
    pub critic: &'a Dit,
    /// Weight of the teacher's conditional estimate; 1 is no guidance.
    pub guidance: f32,
}

impl Drawn<'_> {
    /// The schedule of the drawn number of steps.
    fn schedule(&self) -> Schedule {
        Schedule::of(self.scene.recipe).first(self.rollout[0].len())
    }

    /// The shot of a student who learns, `[B, C, F, h, w]`, with a graph of each last step.
    pub fn learn(&self, student: &Dit) -> Tensor<5> {
        let schedule = self.schedule();
        let student = Student::new(student, &schedule, self.reach);
        student.roll(&self.scene, &schedule, |chunk, step| self.rollout[chunk][step].clone())
    }

    /// The same without a graph.
    pub fn work(&self, student: &Dit) -> Tensor<5> {
        let noise = |chunk: usize, step: usize| self.rollout[chunk][step].clone();
        let student = WorkingStudent::new(student).expect("a student who can work");
        student.roll(&self.scene, &self.schedule(), noise)
    }

    /// The levels, `[B, 1, 1, 1, 1]`.
    fn sigma(&self) -> Tensor<5> {
        let sigma = TensorData::new(self.levels.clone(), [self.levels.len(), 1, 1, 1, 1]);
        Tensor::from_data(sigma, &Device::flex())
    }

    fn noisy(&self, clip: Tensor<5>) -> Tensor<5> {
        noisy(clip, self.noise.clone(), self.sigma())
    }

    /// The clean estimate of a network that sees the whole noisy shot at once.
    fn estimate(&self, dit: &Dit, noisy: &Tensor<5>, text: &TextCache) -> Tensor<5> {
        let context = Some(self.scene.context.clone());
        let velocity = velocity(dit, noisy.clone(), &self.levels, &context, &self.slots, text);
        noisy.clone() - velocity * self.sigma()
    }

    /// Where the student's shot `[B, C, F, h, w]` should not go, as critic and teacher see it.
    pub fn direction(&self, scorers: Scorers<'_>, clip: Tensor<5>) -> Tensor<5> {
        let embeddings = &self.scene.embeddings;
        let noisy = self.noisy(clip.clone());
        let critic = scorers.critic.valid();
        let likely = self.estimate(&critic, &noisy, &critic.text_cache(embeddings.clone()));
        let teacher = scorers.teacher;
        let told = self.estimate(teacher, &noisy, &teacher.text_cache(embeddings.clone()));
        let wanted = guided(told, scorers.guidance, || {
            self.estimate(teacher, &noisy, &teacher.text_cache(self.free.clone()))
        });
        direction(clip, likely, wanted)
    }
}

/// Distribution matching: its derivative by the student's shot is the direction.
pub fn students_loss(student: &Dit, scorers: Scorers<'_>, drawn: &Drawn<'_>) -> Tensor<1> {
    let clip = drawn.learn(student);
    let direction = drawn.direction(scorers, clip.clone().inner());
    matching_loss(clip, direction)
}

/// Flow matching of the critic on a shot that the student makes now.
pub fn critics_loss(student: &Dit, critic: &Dit, drawn: &Drawn<'_>) -> Tensor<1> {
    let clip = drawn.work(student);
    let text = critic.text_cache(drawn.scene.embeddings.clone().autodiff());
    let context = Some(drawn.scene.context.clone().autodiff());
    let noisy = drawn.noisy(clip.clone()).autodiff();
    let velocity = velocity(critic, noisy, &drawn.levels, &context, &drawn.slots, &text);
    velocity_error(velocity, clip.autodiff(), drawn.noise.clone().autodiff())
}
