//! How a model generates: its size, its noise levels, its memory.
//!
//! [`RecipeFile`] is what a TOML file or a checkpoint's header says; [`Recipe`] is what has been
//! checked. Every rule is applied in [`RecipeFile::resolve`], and no code after it doubts a value.
//!
//! Noise levels follow the flow-matching schedule of the reference: 1000 evenly spaced levels,
//! moved towards noise by `shift`, all in float32. A nominal timestep is an index into that table.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    context::{Memory, MemoryPolicy},
    geometry::{Geometry, GeometryError, LatentFrames, PixelFrames},
    layout::MAX_POSITIONS,
    script::prompt,
};

/// Entries of the table of noise levels; also the nominal timestep of pure noise.
const TABLE_LEN: u32 = 1000;

/// The nominal timesteps the student was distilled for.
const FOUR_STEPS: [u32; 4] = [1000, 740, 500, 260];

/// A recipe exactly as written. Unknown keys are errors; nothing is derived here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeFile {
    /// Nominal timesteps in (0, 1000], strictly falling.
    pub denoising_steps: Vec<u32>,
    /// Flow-matching shift applied to every nominal timestep.
    pub shift: f32,
    /// Context frames shared by all past shots; 0 for models that know single shots only.
    pub context_frames: usize,
    /// Which frames those are; `spread`, the paper's policy, where nothing is said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub memory: MemoryPolicy,
    /// Which captions they read; `own`, as in the paper, where nothing is said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub context_captions: ContextCaptions,
    /// Latent frames of the current shot that a chunk may attend to, itself included.
    pub window_latent_frames: usize,
    /// First latent frames of a shot that stay in the window for ever; 0, as in the paper, where
    /// nothing is said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sink_latent_frames: usize,
    /// What stands before a shot's caption in its prompt; `numbered`, as in the paper, where nothing
    /// is said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shot_label: ShotLabel,
    /// Length of a shot that does not say otherwise.
    pub shot_frames: usize,
    /// Playback speed.
    pub frames_per_second: u32,
    /// Rotary angle between one shot phase and the next.
    pub shot_phase_radians: f32,
    /// Picture size and how the networks divide it.
    pub geometry: Geometry,
}

/// Which captions context frames read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContextCaptions {
    /// Each that of its own shot.
    #[default]
    Own,
    /// All that of the shot to come.
    Target,
}

/// What stands before a shot's caption in its prompt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShotLabel {
    /// `shot0:`, `shot1:` and so on.
    #[default]
    Numbered,
    /// Nothing, for models that know single shots only.
    None,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The same settings after every rule has been checked. Only [`RecipeFile::resolve`] makes one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RecipeFile", into = "RecipeFile")]
pub struct Recipe {
    file: RecipeFile,
    timesteps: Vec<f32>,
    sigmas: Vec<f32>,
}

/// A recipe that could not run.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// The file is not a recipe at all.
    #[error("cannot read the recipe: {0}")]
    Unreadable(String),
    /// There is nothing to do.
    #[error("denoising_steps is empty")]
    NoSteps,
    /// Noise would not fall.
    #[error(
        "denoising_steps must fall within 1 to {TABLE_LEN}, found {step}: denoising_steps[{index}]"
    )]
    StepOutOfOrder {
        /// Place in the list.
        index: usize,
        /// What stands there.
        step: u32,
    },
    /// A number outside its range.
    #[error("{key} must be {expected}, found {found}")]
    OutOfRange {
        /// The setting.
        key: &'static str,
        /// The range in words.
        expected: &'static str,
        /// What was written.
        found: f64,
    },
    /// The window would cut a chunk in two.
    #[error("window_latent_frames must be a whole number of chunks: {0}")]
    Window(#[source] GeometryError),
    /// The sink would cut a chunk in two, or leave nothing of the window.
    #[error(
        "sink_latent_frames must be whole chunks of {chunk} and leave at least one of the \
         window's {window}, found {found}"
    )]
    Sink {
        /// What was written.
        found: usize,
        /// Latent frames of a chunk.
        chunk: usize,
        /// Latent frames of the window.
        window: usize,
    },
    /// The picture or the shot does not fit the networks.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// A shot needs more rotary positions than the network has.
    #[error("a shot of {frames} frames is too long, the longest has {longest}")]
    ShotTooLong {
        /// What was asked for.
        frames: usize,
        /// The most that fits.
        longest: usize,
    },
}

impl RecipeFile {
    /// # Errors
    /// When a setting breaks a rule; the first one that does is named.
    pub fn resolve(self) -> Result<Recipe, RecipeError> {
        self.geometry.check()?;
        self.check_steps()?;
        self.check_ranges()?;
        let window = LatentFrames(self.window_latent_frames);
        self.geometry.chunks_in(window).map_err(RecipeError::Window)?;
        let (found, chunk, window) = (self.sink_latent_frames, self.geometry.chunk.0, window.0);
        if !found.is_multiple_of(chunk) || window <= found {
            return Err(RecipeError::Sink { found, chunk, window });
        }
        let table = shifted_sigmas(self.shift);
        let entry = |&step: &u32| table[(TABLE_LEN - step) as usize];
        let sigmas: Vec<f32> = self.denoising_steps.iter().map(entry).collect();
        let timesteps = sigmas.iter().map(|&sigma| timestep_from_sigma(sigma)).collect();
        let recipe = Recipe { timesteps, sigmas, file: self };
        recipe.chunks_from_shot(recipe.shot_frames())?;
        Ok(recipe)
    }

    fn check_steps(&self) -> Result<(), RecipeError> {
        if self.denoising_steps.is_empty() {
            return Err(RecipeError::NoSteps);
        }
        let mut ceiling = TABLE_LEN + 1;
        for (index, &step) in self.denoising_steps.iter().enumerate() {
            if step == 0 || ceiling <= step {
                return Err(RecipeError::StepOutOfOrder { index, step });
            }
            ceiling = step;
        }
        Ok(())
    }

    fn check_ranges(&self) -> Result<(), RecipeError> {
        let check = |key, ok: bool, expected, found: f64| match ok {
            true => Ok(()),
            false => Err(RecipeError::OutOfRange { key, expected, found }),
        };
        let (shift, context) = (self.shift, self.context_frames);
        let (angle, fps) = (self.shot_phase_radians, self.frames_per_second);
        check("shift", shift.is_finite() && 0.0 < shift, "above 0", shift.into())?;
        check("context_frames", context <= 64, "from 0 to 64", context as f64)?;
        let anchored = self.memory == MemoryPolicy::Anchor;
        let expected = "at least 2 beside an anchor";
        check("context_frames", !anchored || 2 <= context, expected, context as f64)?;
        check("shot_phase_radians", angle.is_finite(), "finite", angle.into())?;
        check("frames_per_second", (1..=240).contains(&fps), "from 1 to 240", fps.into())
    }
}

impl Recipe {
    /// The released model: Wan2.1-1.3B at 832×480, 81 frames a shot.
    pub fn wan() -> Self {
        let file = RecipeFile {
            denoising_steps: FOUR_STEPS.to_vec(),
            shift: 8.0,
            context_frames: 6,
            memory: MemoryPolicy::Spread,
            context_captions: ContextCaptions::Own,
            window_latent_frames: 21,
            sink_latent_frames: 0,
            shot_label: ShotLabel::Numbered,
            shot_frames: 81,
            frames_per_second: 16,
            shot_phase_radians: 1.0 / 6.0,
            geometry: Geometry::wan_480p(),
        };
        file.resolve().expect("the released settings follow the rules")
    }

    /// The tiny model: 128×80, 33 frames a shot. Small pictures need less shift.
    pub fn tiny() -> Self {
        let file = RecipeFile {
            shift: 5.0,
            window_latent_frames: 9,
            shot_frames: 33,
            geometry: Geometry::tiny(),
            ..Self::wan().into()
        };
        file.resolve().expect("the tiny settings follow the rules")
    }

    /// # Errors
    /// When the text is not a recipe, or the recipe breaks a rule.
    pub fn from_toml(text: &str) -> Result<Self, RecipeError> {
        let file: Result<RecipeFile, _> = toml::from_str(text);
        file.map_err(|error| RecipeError::Unreadable(error.to_string()))?.resolve()
    }

    /// The recipe as a file that [`Self::from_toml`] reads back unchanged.
    pub fn to_toml(&self) -> String {
        toml::to_string(&self.file).expect("a recipe has no value TOML cannot hold")
    }

    /// Picture size and how the networks divide it.
    pub const fn geometry(&self) -> &Geometry {
        &self.file.geometry
    }

    /// Nominal timesteps, falling.
    pub fn denoising_steps(&self) -> &[u32] {
        &self.file.denoising_steps
    }

    /// Flow-matching shift.
    pub const fn shift(&self) -> f32 {
        self.file.shift
    }

    /// What the network is told at each denoising step, 0 to 1000.
    pub fn timesteps(&self) -> &[f32] {
        &self.timesteps
    }

    /// The noise level of each denoising step, 0 to 1.
    pub fn sigmas(&self) -> &[f32] {
        &self.sigmas
    }

    /// Context frames shared by all past shots.
    pub const fn context_frames(&self) -> usize {
        self.file.context_frames
    }

    /// What of the past a shot remembers.
    pub const fn memory(&self) -> Memory {
        Memory { frames: self.file.context_frames, policy: self.file.memory }
    }

    /// Which captions context frames read.
    pub const fn context_captions(&self) -> ContextCaptions {
        self.file.context_captions
    }

    /// Latent frames of the current shot that a chunk may attend to, itself included.
    pub const fn window(&self) -> LatentFrames {
        LatentFrames(self.file.window_latent_frames)
    }

    /// First latent frames of a shot that stay in its window for ever.
    pub const fn sink(&self) -> LatentFrames {
        LatentFrames(self.file.sink_latent_frames)
    }

    /// How shots are called in prompts.
    pub fn shot_label(&self) -> ShotLabel {
        self.file.shot_label
    }

    /// What the text encoder reads for a shot, counted from 0.
    pub fn prompt(&self, global: &str, shot: usize, caption: &str) -> String {
        match self.file.shot_label {
            ShotLabel::Numbered => prompt(global, shot, caption),
            ShotLabel::None => format!("{global}{caption}"),
        }
    }

    /// Length of a shot that does not say otherwise.
    pub const fn shot_frames(&self) -> PixelFrames {
        PixelFrames(self.file.shot_frames)
    }

    /// Playback speed.
    pub const fn frames_per_second(&self) -> u32 {
        self.file.frames_per_second
    }

    /// Rotary angle between one shot phase and the next.
    pub const fn shot_phase_radians(&self) -> f32 {
        self.file.shot_phase_radians
    }

    /// How many chunks a shot of `frames` frames takes.
    ///
    /// # Errors
    /// When the shot would not end at a chunk border, or is longer than the network can place.
    pub fn chunks_from_shot(&self, frames: PixelFrames) -> Result<usize, RecipeError> {
        let geometry = self.geometry();
        let chunks = geometry.chunks_from_shot(frames)?;
        let most = MAX_POSITIONS.saturating_sub(self.context_frames()) / geometry.chunk.0;
        if most < chunks {
            let longest = geometry.shot_from_chunks(most).0;
            return Err(RecipeError::ShotTooLong { frames: frames.0, longest });
        }
        Ok(chunks)
    }
}

impl TryFrom<RecipeFile> for Recipe {
    type Error = RecipeError;

    fn try_from(file: RecipeFile) -> Result<Self, RecipeError> {
        file.resolve()
    }
}

impl From<Recipe> for RecipeFile {
    fn from(recipe: Recipe) -> Self {
        recipe.file
    }
}

/// The 1000 noise levels a shifted schedule knows, from pure noise down, in float32.
///
/// The reference looks every level up here by its timestep, so no other level ever occurs.
pub fn shifted_sigmas(shift: f32) -> Vec<f32> {
    let step = -1.0 / TABLE_LEN as f32;
    let level = |index: u32| {
        // Each half counts from its own end, as PyTorch's linspace does. Its vector form differs
        // in the last bit of some levels, none of which is one of the four steps.
        let plain = if index < TABLE_LEN / 2 {
            1.0 + step * index as f32
        } else {
            -step * (TABLE_LEN - index) as f32
        };
        shift * plain / (1.0 + (shift - 1.0) * plain)
    };
    (0..TABLE_LEN).map(level).collect()
}

/// What the network is told about a noise level.
pub fn timestep_from_sigma(sigma: f32) -> f32 {
    sigma * TABLE_LEN as f32
}

#[cfg(test)]
mod tests;
