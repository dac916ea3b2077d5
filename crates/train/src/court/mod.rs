//! A model before the court: it films stories it has never seen, and what its frames show is read
//! off and counted.
//!
//! Stories are filmed with the engine's own session, shot by shot, several at a time. Between two
//! shots a story is one value, so what a shot remembers can be replaced there, and nothing below
//! knows of it. What is found is a function of the model, the settings and the seed, on any number
//! of threads.

mod drawn;
mod film;
mod findings;
mod past;
mod quality;
mod teacher;
mod telling;
mod vae;

use std::{
    io,
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use burn::module::Module as _;
use shotstream_engine::{
    error::SessionError,
    network::{Latents, StoryDenoiser},
    story::StoryState,
};
use shotstream_media::Frame;
use shotstream_models::{
    bundle::Bundle,
    fast::{Cpu, FastDecoder, FastNetworks, HostText},
    networks::BurnNetworks,
};
use shotstream_plan::{plan::PlanError, recipe::Recipe};
use shotstream_runtime::{
    dit::{Dit, Embedding},
    vae::Encoder,
    weights::WeightsError,
};
use shotstream_world::{Judge, StoryOptions};
use thiserror::Error;

use self::telling::shoot;
pub use self::{
    drawn::{Through, drawn},
    film::{Film, sheet},
    findings::{Findings, scores},
    past::Past,
    quality::Motion,
    teacher::{Euler, Teacher},
    vae::{VaeQuality, judge_vae},
};

/// A denoiser that works on what the runtime's other networks read and write.
pub trait CourtDenoiser: StoryDenoiser<Latents = Latents, Embedding = Embedding> + Sync {}

impl<D: StoryDenoiser<Latents = Latents, Embedding = Embedding> + Sync> CourtDenoiser for D {}

/// Everything a story needs to be filmed and judged.
#[derive(Debug)]
pub struct Court<D> {
    judge: Judge,
    text: HostText,
    denoiser: D,
    decoder: FastDecoder<Cpu>,
    encoder: Encoder<Cpu>,
    recipe: Recipe,
    latent_channels: usize,
}

/// Which stories are filmed, and how they are told.
#[derive(Clone, Debug, PartialEq)]
pub struct Hearing {
    /// Seed of the first story; the others follow it.
    pub seed: u64,
    /// How many stories, at least one.
    pub stories: usize,
    /// What they are like.
    pub options: StoryOptions,
    /// Name the characters in the first shot only: who they are must then be remembered.
    pub anonymous: bool,
    /// What later shots find where their past should be.
    pub past: Past,
    /// Let remembered frames read the caption of the shot to come instead of their own: only the
    /// pictures of the past can then tell who it is about.
    pub untold: bool,
    /// Shots that are read, counted from 0; none for all.
    pub marks: Vec<usize>,
}

/// Why a story could not be filmed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CourtError {
    /// The session failed.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A shot cannot be planned.
    #[error(transparent)]
    Refused(#[from] PlanError),
    /// The networks are not such as the runtime can run.
    #[error(transparent)]
    Networks(#[from] WeightsError),
    /// The system gave no thread.
    #[error("cannot start a thread that films: {0}")]
    Thread(#[from] io::Error),
    /// A thread ended early.
    #[error("a story was not filmed to its end, this is a defect")]
    Unheard,
}

type Heard = (usize, Result<Film, CourtError>);

impl Court<Dit<Cpu>> {
    /// A court for what `bundle`'s student films by `recipe`, the bundle's own or a changed one.
    ///
    /// # Errors
    /// If the runtime cannot run its networks.
    pub fn student(bundle: &Bundle, recipe: Recipe) -> Result<Self, CourtError> {
        Self::new(bundle, recipe, |network, _| network)
    }
}

impl Court<Teacher> {
    /// A court for what `bundle`'s teacher films in many steps, every shot seen at once.
    ///
    /// # Errors
    /// As [`Court::student`].
    pub fn teacher(bundle: &Bundle, recipe: Recipe, euler: &Euler) -> Result<Self, CourtError> {
        let recipe = teacher::whole_shots(recipe);
        let shift = recipe.shift();
        Self::new(bundle, recipe, |network, text| Teacher::new(network, text, euler, shift))
    }
}

impl<D: CourtDenoiser> Court<D> {
    /// A court of a bundle's networks, as users' films are made: in the runtime.
    fn new(
        bundle: &Bundle,
        recipe: Recipe,
        denoiser: impl FnOnce(Dit<Cpu>, &HostText) -> D,
    ) -> Result<Self, CourtError> {
        let text = BurnNetworks::new(bundle).text;
        let (dit, vae) = (bundle.dit.valid(), bundle.vae.valid());
        let FastNetworks { text, denoiser: network, decoder, encoder } =
            FastNetworks::new(Cpu::new(), dit, vae, text)?;
        Ok(Self {
            judge: Judge::new(recipe.geometry().pixels),
            denoiser: denoiser(network, &text),
            text,
            decoder,
            encoder,
            latent_channels: bundle.config.vae.z_dim,
            recipe,
        })
    }

    /// Film and read the stories, as many at a time as `threads`; `watch` is told how many of how
    /// many are done. Films come in the order of their seeds.
    ///
    /// # Errors
    /// If a story cannot be filmed to its end.
    pub fn hear(
        &self,
        hearing: &Hearing,
        threads: usize,
        watch: &mut dyn FnMut(u64, u64),
    ) -> Result<Vec<Film>, CourtError> {
        let next = AtomicUsize::new(0);
        let count = hearing.stories;
        let workers = threads.clamp(1, count);
        let (sender, results) = sync_channel(workers);
        thread::scope(|scope| {
            for worker in 0..workers {
                let (sender, next) = (sender.clone(), &next);
                thread::Builder::new()
                    .name(format!("court {worker}"))
                    .spawn_scoped(scope, move || self.work(hearing, next, &sender))?;
            }
            drop(sender);
            let mut heard = vec![None; count];
            let mut done = 0;
            for (index, result) in results {
                heard[index] = Some(result?);
                done += 1;
                watch(done, count as u64);
            }
            heard.into_iter().map(|film| film.ok_or(CourtError::Unheard)).collect()
        })
    }

    /// The frames of every shot of a story that is told in these words.
    ///
    /// # Errors
    /// If it cannot be filmed to its end.
    pub fn tell(
        &self,
        global: String,
        captions: &[String],
        seed: u64,
    ) -> Result<Vec<Vec<Frame>>, CourtError> {
        let mut state = StoryState::new(global, seed);
        let settings = self.settings(false);
        captions.iter().map(|caption| shoot(self, &settings, &mut state, caption)).collect()
    }

    fn work(&self, hearing: &Hearing, next: &AtomicUsize, results: &SyncSender<Heard>) {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if hearing.stories <= index || results.send((index, self.film(hearing, index))).is_err()
            {
                return;
            }
        }
    }
}
