//! Stages 3 and 4: the student learns from films of its own, first behind a true past, then behind
//! its own.
//!
//! | letter | means |
//! |---|---|
//! | `B` | samples |
//! | `N`, `L`, `D` | captions, tokens of a caption, width of a text embedding |
//! | `C` | latent channels |
//! | `K`, `F` | context frames, the shot's latent frames |
//! | `h`, `w` | latent height and width |
//! | `T`, `H`, `W` | pixel frames, height and width of the picture |
//!
//! Every `period`th update is the student's: it makes a shot, stopping at a random step, and is
//! moved by distribution matching from where the critic finds such shots likely to where the teacher
//! finds shots likely. The updates between are the critic's: by flow matching on shots that the
//! student makes now, it learns what those are like. Teacher and critic see the whole shot at once,
//! behind the same context and captions as the student (ShotStream, arXiv 2603.25746, section 3.3).
//!
//! With `history = "own"` a story is filmed from its first shot on, with all steps and without a
//! gradient, until the shot that is learnt from; every update does so anew with the weights of the
//! moment, so a resumed run needs no films kept. The reference's history is whatever its random step
//! gave; a real film remembers finished shots, so ours are finished.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use shotstream_engine::schedule::Schedule;
use shotstream_media::{Frame, sheet::contact_sheet};
use shotstream_models::{bundle::Bundle, dit::Dit};
use shotstream_plan::{
    context::select_context,
    layout::{FrameSlot, layout_context},
    recipe::Recipe,
    timeline::Timeline,
};

use crate::{
    check::{ANY, Check, NOT_NEGATIVE, above_zero, count, folder, within},
    data::{
        address::{below, normals, shared_rng_of, step_rng_of, uniform},
        shots::{Script, ShotSource},
        source::ShotsRecipe,
    },
    error::TrainError,
    fingerprint,
    guidance::{free_text, negative_text},
    log::Metrics,
    loss::{
        flow_matching::shifted,
        self_forcing::{Drawn, Scorers, critics_loss, students_loss},
    },
    optimizer::Turn,
    params,
    ranks::Fact,
    recipe::StageRecipe,
    rollout::{Reach, Scene, WorkingStudent},
    stages::vae::frame_of,
    trainer::{BatchAddress, Objective, Run, train},
    watching::verdict::kept,
};

/// Levels at which teacher and critic look, as the reference clamps them.
const LEVELS: [f32; 2] = [0.02, 0.98];

/// What only this stage knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SelfForcingStage {
    /// Folder of the teacher's run, beside the run's own.
    pub teacher: String,
    /// What the student's shots follow.
    pub history: History,
    /// Every how many updates one is the student's; the others are the critic's.
    pub period: u64,
    /// The critic's learning rate over the student's.
    pub critic_rate: f32,
    /// Weight of the teacher's conditional estimate; 1 is no guidance.
    pub guidance: f32,
    /// What the teacher's unguided estimate reads; without it, zeros.
    #[serde(default)]
    pub negative: Option<String>,
    /// Shift of the levels at which teacher and critic look, towards noise.
    pub shift: f32,
    /// How far the gradient of the student's chunks reaches; their own last step if not named.
    #[serde(default)]
    pub gradient: Reach,
    /// Where stories, context and captions come from.
    pub data: ShotsRecipe,
}

impl Check for SelfForcingStage {
    fn check(&self) -> Result<(), String> {
        folder("stage.teacher", &self.teacher)?;
        count("stage.period", self.period, [2, u64::MAX])?;
        within("stage.critic_rate", self.critic_rate, NOT_NEGATIVE)?;
        within("stage.guidance", self.guidance, ANY)?;
        above_zero("stage.shift", self.shift)?;
        self.data.check()
    }
}

/// What a shot follows while the student learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum History {
    /// Drawn shots: the stage inside a shot.
    True,
    /// The student's own shots: the stage across shots.
    Own,
}

/// The networks that learn in turns.
#[derive(Module, Debug)]
pub struct Players {
    /// Makes shots.
    pub student: Dit,
    /// Knows what the student's shots are like.
    pub critic: Dit,
}

struct SelfForcingObjective<'a> {
    stage: &'a SelfForcingStage,
    source: ShotSource,
    recipe: Recipe,
    schedule: Schedule,
    /// Latent frames of a shot.
    frames: usize,
    teacher: Dit,
    /// What the teacher's unguided estimate reads, `[1, 1, L, D]`; the text encoder rests.
    negative: Option<Tensor<4>>,
    /// What the stage began with.
    bundle: Bundle,
    held_out: Option<Box<Self>>,
}

/// A shot of a batch, ready to be filmed.
struct Told<'a> {
    scene: Scene<'a>,
    /// Context frames, then the shot's.
    slots: Vec<FrameSlot>,
}

impl SelfForcingObjective<'_> {
    fn is_students(&self, step: u64) -> bool {
        step.is_multiple_of(self.stage.period)
    }

    /// Shot `shot` of the step's stories behind the past that the recipe asks for.
    fn told(&self, student: &Dit, at: BatchAddress, shot: usize) -> Told<'_> {
        if self.stage.history == History::True {
            let batch = self.source.batch(at, shot, &Device::flex());
            let context = batch.context.expect("whole shots come with context");
            return self.scene(batch.script, shot, context);
        }
        // Numbers of its own: as many are drawn as the story is long.
        let rng = &mut shared_rng_of(BatchAddress { seed: !at.seed, ..at });
        let working = at_work(student);
        let mut films: Vec<Tensor<5>> = Vec::new();
        for now in 0..shot {
            let script = self.source.script(at, (now, shot), self.frames);
            let told = self.scene(script, now, self.source.remember(&films, at));
            let clip = self.roll(&working, &told.scene, &self.schedule, rng);
            films.push(self.source.decode(clip).clamp(-1.0, 1.0));
        }
        let context = self.source.dropped(self.source.remember(&films, at), rng);
        self.scene(self.source.script(at, (shot, shot), self.frames), shot, context)
    }

    fn scene(&self, script: Script, shot: usize, context: Tensor<5>) -> Told<'_> {
        let past: Timeline = std::iter::repeat_n(self.recipe.shot_frames(), shot).collect();
        let picks = select_context(self.recipe.memory(), &past);
        let frames = script.slots.len() - self.recipe.context_frames();
        let scene = Scene {
            recipe: &self.recipe,
            chunks: frames / self.recipe.geometry().chunk.0,
            layout: layout_context(&self.recipe, shot, picks),
            context,
            embeddings: self.source.embed(&self.bundle.text, &script, &Device::flex()),
        };
        Told { scene, slots: script.slots }
    }

    /// A shot from random noise, `[B, C, F, h, w]`.
    fn roll(
        &self,
        student: &WorkingStudent,
        scene: &Scene<'_>,
        schedule: &Schedule,
        rng: &mut ChaCha8Rng,
    ) -> Tensor<5> {
        let [samples, channels, _, height, width] = scene.context.dims();
        let chunk = [samples, channels, self.recipe.geometry().chunk.0, height, width];
        student.roll(scene, schedule, |_, _| gaussian(rng, chunk))
    }

    /// The shot that an update learns from, and every number it takes.
    fn draw(&self, student: &Dit, at: BatchAddress) -> Drawn<'_> {
        // One exit for all parts and all chunks; everything else is each part's own.
        let steps = 1 + below(&mut step_rng_of(at), self.schedule.steps().len());
        let rng = &mut shared_rng_of(at);
        let shot = self.source.draw_shot(rng);
        let Told { scene, slots } = self.told(student, at, shot);
        let [samples, channels, _, height, width] = scene.context.dims();
        let chunk = [samples, channels, self.recipe.geometry().chunk.0, height, width];
        let mut of_chunk = |_| (0..steps).map(|_| gaussian(rng, chunk)).collect();
        let rollout = (0..scene.chunks).map(&mut of_chunk).collect();
        let level = |_| shifted(uniform(rng), self.stage.shift).clamp(LEVELS[0], LEVELS[1]);
        let levels = (0..samples).map(level).collect();
        let noise = gaussian(rng, [samples, channels, scene.chunks * chunk[2], height, width]);
        let free = free_text(&scene.embeddings, self.negative.clone());
        let reach = self.stage.gradient;
        Drawn { scene, slots, free, rollout, reach, levels, noise }
    }
}

/// The student as it is now.
fn at_work(student: &Dit) -> WorkingStudent {
    WorkingStudent::new(student).expect("the stage began with a student who can work")
}

/// Standard normal numbers.
fn gaussian(rng: &mut ChaCha8Rng, shape: [usize; 5]) -> Tensor<5> {
    let numbers = normals(rng, shape.iter().product());
    Tensor::from_data(TensorData::new(numbers, shape), &Device::flex())
}

impl Objective for SelfForcingObjective<'_> {
    type Model = Players;

    fn loss(&self, model: &Players, at: BatchAddress) -> (Tensor<1>, Metrics) {
        let drawn = self.draw(&model.student, at);
        let (name, loss) = if self.is_students(at.step) {
            let (teacher, guidance) = (&self.teacher, self.stage.guidance);
            let scorers = Scorers { teacher, critic: &model.critic, guidance };
            ("matching", students_loss(&model.student, scorers, &drawn))
        } else {
            ("critic", critics_loss(&model.student, &model.critic, &drawn))
        };
        let number = params::number(&loss);
        (loss, vec![(name, number)])
    }

    fn sheet(&self, model: &Players) -> Option<Frame> {
        let at = BatchAddress { seed: 4 << 40, step: 0, part: 0, batch: 4 };
        let working = at_work(&model.student);
        let mut frames = Vec::new();
        for shot in 0..self.source.num_shots() {
            let told = self.told(&model.student, at, shot);
            let clip = self.roll(&working, &told.scene, &self.schedule, &mut shared_rng_of(at));
            let videos = self.source.decode(clip);
            let last = videos.dims()[1] - 1;
            for sample in 0..at.batch {
                let video = videos.clone().narrow(0, sample, 1);
                frames.extend([0, last].map(|frame| frame_of(&video, frame)));
            }
        }
        Some(contact_sheet(&frames, 2 * at.batch, 2))
    }

    fn transformers(&self) -> &'static [&'static str] {
        &["student", "critic"]
    }

    fn bundle(&self, model: &Players) -> Option<Bundle> {
        Some(Bundle { dit: model.student.clone(), ..self.bundle.clone() })
    }

    fn held_out(&self) -> Option<&Self> {
        self.held_out.as_deref()
    }

    fn facts(&self) -> Vec<Fact> {
        let (_, teacher) = params::values(&self.teacher);
        vec![("teacher", fingerprint::of_vectors(&[&teacher]))]
    }

    /// How far teacher and critic are apart about the student's shots, which falls as the student
    /// comes to where the teacher finds shots likely, and the critic's error on these shots.
    fn validate(&self, model: &Players, at: BatchAddress) -> Metrics {
        let turns = [0, 1].map(|turn| self.stage.period * at.step + turn);
        turns.into_iter().flat_map(|step| self.loss(model, BatchAddress { step, ..at }).1).collect()
    }

    fn turn(&self, name: &str, step: u64) -> Option<Turn> {
        let students = step / self.stage.period;
        match (name.starts_with("student"), self.is_students(step)) {
            (true, true) => Some(Turn { updates: students, rate: 1.0 }),
            (false, false) => {
                Some(Turn { updates: step - students - 1, rate: self.stage.critic_rate })
            }
            _ => None,
        }
    }
}

/// Run the stage: `bundle` comes with a causal student and leaves with a better one.
///
/// # Errors
/// As [`train`], and if the teacher cannot be read, is of other sizes or words, or the data set cannot be
/// stored.
pub fn run(
    bundle: Bundle,
    recipe: &StageRecipe<SelfForcingStage>,
    run: &mut Run<'_>,
) -> Result<Bundle, TrainError> {
    let stage = &recipe.stage;
    let path = run.dir.with_file_name(&stage.teacher).join("model.safetensors");
    if stage.history == History::True {
        stage.data.require_context()?;
    }
    if !path.exists() {
        let reason = "there is no teacher in the folder that stage.teacher names".into();
        return Err(TrainError::Teacher { reason, path });
    }
    let teacher = Bundle::from_file(&path, &Device::flex())?;
    if teacher.config.dit != bundle.config.dit {
        let reason = "the teacher's transformer has other sizes than the student's".into();
        return Err(TrainError::Teacher { reason, path });
    }
    if teacher.tokenizer.to_json()? != bundle.tokenizer.to_json()? {
        let reason = "the teacher knows other words than the student".into();
        return Err(TrainError::Teacher { reason, path });
    }
    // What the runtime cannot run cannot film.
    WorkingStudent::new(&bundle.dit)?;
    let generation = bundle.recipe().clone();
    let frames = generation
        .geometry()
        .latent_from_pixel(generation.shot_frames())
        .expect("a resolved recipe's shots are whole chunks");
    let objective = |source, held_out| SelfForcingObjective {
        negative: negative_text(&source, &bundle.text, stage.negative.as_deref(), &Device::flex()),
        stage,
        source,
        schedule: Schedule::of(&generation),
        frames: frames.0,
        recipe: generation.clone(),
        teacher: teacher.dit.clone(),
        bundle: bundle.clone(),
        held_out,
    };
    let held_out = match recipe.run.watched().validate_every {
        0 => None,
        _ => Some(ShotSource::held_out(&bundle, &stage.data, run)?),
    };
    let held_out = held_out.map(|source| Box::new(objective(source, None)));
    let objective = objective(ShotSource::new(&bundle, &stage.data, run)?, held_out);
    let [student, critic] =
        [&bundle.dit, &teacher.dit].map(|dit| recipe.run.checkpointed(dit.clone()));
    let players = Players { student, critic };
    let dit = train(&objective, players, recipe, run)?.student;
    kept(Bundle { dit, ..bundle }, &recipe.run, run)
}
