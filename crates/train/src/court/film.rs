//! One story, filmed and read shot by shot.

use shotstream_engine::{noise::Noise, session::Settings, story::StoryState};
use shotstream_media::{Frame, sheet::contact_sheet};
use shotstream_plan::recipe::{ContextCaptions, Recipe, RecipeFile};
use shotstream_world::{Captions, CharacterReading, Reading, Story, Wording, captions};

use super::{
    Court, CourtDenoiser, CourtError, Hearing,
    past::{Past, erase, stranger},
    quality::Motion,
    telling::shoot,
};

/// Stories and shots of each that fit on a sheet.
const SHEET: [usize; 2] = [10, 4];

/// Pixels between the frames of a sheet.
const GAP: usize = 2;

/// A story that was filmed.
#[derive(Clone, Debug)]
pub struct Film {
    /// What it should show.
    pub story: Story,
    /// What its shots show: the number of each shot that was read, and what was read.
    pub readings: Vec<(usize, Reading)>,
    /// Where the past was another story's: what that story's characters look like in its film.
    pub strangers: Vec<Option<CharacterReading>>,
    /// How its frames change.
    pub motion: Motion,
    /// Two frames of each of its shots, of the films that fit on a sheet.
    pub glimpses: Vec<[Frame; 2]>,
}

/// Two frames of each shot, as far as its film fits on a sheet.
#[derive(Debug)]
pub(super) struct Glimpses {
    wanted: bool,
    pub(super) frames: Vec<[Frame; 2]>,
}

impl Glimpses {
    /// Of film number `index`.
    pub(super) fn of(index: usize) -> Self {
        Self { wanted: index < SHEET[0], frames: Vec::new() }
    }

    /// Of its next shot.
    pub(super) fn add(&mut self, shot: &[Frame]) {
        if self.wanted && self.frames.len() < SHEET[1] {
            self.frames.push([0, shot.len() * 2 / 3].map(|frame| shot[frame].clone()));
        }
    }
}

/// A story while it is filmed.
struct Filming {
    story: Story,
    told: Captions,
    state: StoryState,
    /// How each of its characters looked when it was first read.
    seen: Vec<Option<CharacterReading>>,
}

impl Filming {
    fn new(story: Story, seed: u64, anonymous: bool) -> Self {
        let wording = Wording { anonymous_from: anonymous.then_some(1) };
        let told = captions(&story, seed, &wording);
        let state = StoryState::new(told.global.clone(), seed);
        let seen = vec![None; story.cast.len()];
        Self { story, told, state, seen }
    }

    fn read(&mut self, shot: usize, reading: &Reading) {
        for (&who, now) in self.story.shots[shot].cast.iter().zip(&reading.characters) {
            self.seen[who].get_or_insert(*now);
        }
    }
}

impl<D: CourtDenoiser> Court<D> {
    /// Film story number `index` shot by shot, and read its shots.
    pub(super) fn film(&self, hearing: &Hearing, index: usize) -> Result<Film, CourtError> {
        let seed = hearing.seed + index as u64;
        let story = Story::sample(seed, &hearing.options);
        let other = (hearing.past == Past::Swapped).then(|| stranger(&story, seed));
        let mut other = other.map(|story| Filming::new(story, !seed, hearing.anonymous));
        let mut filming = Filming::new(story, seed, hearing.anonymous);
        // A null context has no captions of its own.
        let settings = self.settings(hearing.untold || hearing.past == Past::Zeroed);
        let (mut readings, mut glimpses) = (Vec::new(), Glimpses::of(index));
        let mut motion = Motion::default();
        for shot in 0..filming.story.shots.len() {
            if hearing.past == Past::Zeroed {
                erase(&mut filming.state);
            } else if let Some(other) = &other {
                filming.state.shots.clone_from(&other.state.shots);
            }
            let frames = self.shoot(hearing, &settings, &mut filming, shot)?;
            if hearing.marks.is_empty() || hearing.marks.contains(&shot) {
                let reading = self.judge.read(&frames, filming.story.shots[shot].cast.len());
                readings.push((shot, reading));
            }
            motion.add(&frames, &self.recipe, &filming.story, shot);
            glimpses.add(&frames);
            if let Some(other) = &mut other {
                let frames = self.shoot(hearing, &settings, other, shot)?;
                let reading = self.judge.read(&frames, other.story.shots[shot].cast.len());
                other.read(shot, &reading);
            }
        }
        let strangers = other.map(|other| other.seen).unwrap_or_default();
        Ok(Film { story: filming.story, readings, strangers, motion, glimpses: glimpses.frames })
    }

    /// The frames of shot `shot`, the next one of a story.
    fn shoot(
        &self,
        hearing: &Hearing,
        settings: &Settings,
        filming: &mut Filming,
        shot: usize,
    ) -> Result<Vec<Frame>, CourtError> {
        if hearing.anonymous && 0 < shot {
            filming.state.global.clone_from(&filming.told.anonymous_global);
        }
        shoot(self, settings, &mut filming.state, &filming.told.shots[shot])
    }

    /// Settings of a session; `untold` as in [`Hearing`].
    pub(super) fn settings(&self, untold: bool) -> Settings {
        Settings {
            recipe: if untold { without_captions(&self.recipe) } else { self.recipe.clone() },
            latent_channels: self.latent_channels,
            noise: Noise::Seeded,
            capture_latents: false,
        }
    }
}

/// The recipe with remembered frames under the caption of the shot to come.
fn without_captions(recipe: &Recipe) -> Recipe {
    let context_captions = ContextCaptions::Target;
    let file = RecipeFile { context_captions, ..recipe.clone().into() };
    file.resolve().expect("any recipe may choose its captions")
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
