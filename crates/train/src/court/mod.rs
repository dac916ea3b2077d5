//! A model before the court: it films stories it has never seen, and what its frames show is read
//! off and counted.
//!
//! Stories are filmed with the engine's own session, shot by shot, several at a time. What is found
//! is a function of the model, the settings and the seed, on any number of threads.

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

use shotstream_engine::{error::SessionError, noise::Noise, session::Settings, story::StoryState};
use shotstream_media::{Frame, sheet::contact_sheet};
use shotstream_models::{bundle::Bundle, networks::BurnNetworks};
use shotstream_plan::plan::PlanError;
use shotstream_world::{Judge, Reading, Scores, Story, StoryOptions, Wording, captions};
use thiserror::Error;

pub use self::vae::vae_psnr;

/// Stories and shots of each that fit on a sheet.
const SHEET: [usize; 2] = [10, 4];

/// Pixels between the frames of a sheet.
const GAP: usize = 2;

/// Everything a story needs to be filmed and judged.
#[derive(Debug)]
pub struct Court {
    judge: Judge,
    networks: BurnNetworks,
    settings: Settings,
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
}

/// A story that was filmed.
#[derive(Clone, Debug)]
pub struct Film {
    /// What it should show.
    pub story: Story,
    /// What each of its shots shows.
    pub readings: Vec<Reading>,
    /// Two frames of each of its shots, of the films that fit on a sheet.
    pub glimpses: Vec<[Frame; 2]>,
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
    /// The system gave no thread.
    #[error("cannot start a thread that films: {0}")]
    Thread(#[from] io::Error),
    /// A thread ended early.
    #[error("a story was not filmed to its end, this is a defect")]
    Unheard,
}

type Heard = (usize, Result<Film, CourtError>);

impl Court {
    /// A court for the films of `bundle`.
    #[must_use]
    pub fn new(bundle: &Bundle) -> Self {
        let recipe = bundle.recipe();
        Self {
            judge: Judge::new(recipe.geometry().pixels),
            networks: BurnNetworks::new(bundle),
            settings: Settings {
                recipe: recipe.clone(),
                latent_channels: bundle.config.vae.z_dim,
                noise: Noise::Seeded,
                capture_latents: false,
            },
        }
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
        captions: Vec<String>,
        seed: u64,
    ) -> Result<Vec<Vec<Frame>>, CourtError> {
        let mut state = StoryState::new(global, seed);
        let shoot = |caption| telling::shoot(&self.networks, &self.settings, &mut state, caption);
        captions.into_iter().map(shoot).collect()
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

    /// Film story number `index` shot by shot, and read every shot.
    fn film(&self, hearing: &Hearing, index: usize) -> Result<Film, CourtError> {
        let seed = hearing.seed + index as u64;
        let story = Story::sample(seed, &hearing.options);
        let anonymous_from = hearing.anonymous.then_some(1);
        let told = captions(&story, seed, &Wording { anonymous_from });
        let mut state = StoryState::new(told.global, seed);
        let (mut readings, mut glimpses) = (Vec::new(), Vec::new());
        for (shot, caption) in told.shots.into_iter().enumerate() {
            if hearing.anonymous && 0 < shot {
                state.global.clone_from(&told.anonymous_global);
            }
            let frames = telling::shoot(&self.networks, &self.settings, &mut state, caption)?;
            readings.push(self.judge.read(&frames, story.shots[shot].cast.len()));
            if index < SHEET[0] {
                glimpses.push([0, frames.len() * 2 / 3].map(|frame| frames[frame].clone()));
            }
        }
        Ok(Film { story, readings, glimpses })
    }
}

/// What all films together show.
pub fn scores(films: &[Film]) -> Scores {
    let mut scores = Scores::default();
    films.iter().for_each(|film| scores.add(&film.story, &film.readings));
    scores
}

/// The first shots of the first films, one story a row.
pub fn sheet(films: &[Film]) -> Frame {
    let nothing = Frame { width: 0, height: 0, rgb: Vec::new() };
    let glimpses = films.iter().take(SHEET[0]).flat_map(|film| {
        let blank = [nothing.clone(), nothing.clone()];
        film.glimpses.iter().cloned().chain(std::iter::repeat(blank)).take(SHEET[1])
    });
    contact_sheet(&glimpses.flatten().collect::<Vec<_>>(), 2 * SHEET[1], GAP)
}
