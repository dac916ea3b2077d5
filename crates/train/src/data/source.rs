//! Where examples come from, as written in a recipe: StoryWorld, or a folder of prepared shards.

use std::{num::NonZeroUsize, path::Path};

use serde::{Deserialize, Serialize};
use shotstream_models::bundle::Bundle;
use shotstream_plan::context::MemoryPolicy;

use crate::{
    check::{Check, NOT_NEGATIVE, SHARE, SOME, count, folder, within},
    data::{
        prepare::{Job, Material, SHARD, prepare},
        store::Store,
        world::{self, DrawnStories},
    },
    error::TrainError,
    trainer::Run,
};

/// Ways to tell a story that are stored beside what is drawn on the fly, for other readers.
const WORDINGS: usize = 4;

/// Where examples come from and how they are spoiled on purpose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ShotsFile", into = "ShotsFile")]
pub struct ShotsRecipe {
    /// Where stories come from.
    pub source: Source,
    /// Latent frames that clips are cut to, one length drawn for every step; none leaves clips whole.
    pub lengths: Vec<NonZeroUsize>,
    /// Share of later shots that see the null context instead of their past; 1 leaves the context's
    /// frames out altogether, which costs least.
    pub context_dropout: f32,
    /// Noise on context latents, uniform below this: the student's own past is not perfect.
    pub context_noise: f32,
    /// Share of stories whose later captions do not say what the characters look like.
    pub anonymous: f32,
}

/// Where stories come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// StoryWorld, told in new words every time.
    World(WorldSource),
    /// A folder of prepared shards, beside the run's own; captions are told as stored.
    Prepared(String),
}

/// Stories of StoryWorld.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldSource {
    /// Seed of the stored stories.
    pub seed: u64,
    /// Stories that are drawn and encoded once; 0 for first frames, which are drawn anew every time.
    pub stories: usize,
    /// Shots of each story.
    pub shots: usize,
    /// Share of stories with two characters.
    pub pairs: f64,
}

/// The table as written. Either `prepared` stands there, or the four keys of StoryWorld.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShotsFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    prepared: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stories: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shots: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pairs: Option<f64>,
    #[serde(default)]
    lengths: Vec<NonZeroUsize>,
    context_dropout: f32,
    context_noise: f32,
    anonymous: f32,
}

impl TryFrom<ShotsFile> for ShotsRecipe {
    type Error = String;

    fn try_from(file: ShotsFile) -> Result<Self, String> {
        let ShotsFile { prepared, seed, stories, shots, pairs, .. } = file;
        let source = match (prepared, seed, stories, shots, pairs) {
            (Some(folder), None, None, None, None) => Source::Prepared(folder),
            (None, Some(seed), Some(stories), Some(shots), Some(pairs)) => {
                Source::World(WorldSource { seed, stories, shots, pairs })
            }
            _ => {
                return Err("expected either prepared, the folder of shards, or seed, stories, \
                            shots and pairs of StoryWorld"
                    .into());
            }
        };
        let ShotsFile { lengths, context_dropout, context_noise, anonymous, .. } = file;
        Ok(Self { source, lengths, context_dropout, context_noise, anonymous })
    }
}

impl From<ShotsRecipe> for ShotsFile {
    fn from(recipe: ShotsRecipe) -> Self {
        let ShotsRecipe { source, lengths, context_dropout, context_noise, anonymous } = recipe;
        let (prepared, world) = match source {
            Source::Prepared(folder) => (Some(folder), None),
            Source::World(world) => (None, Some(world)),
        };
        Self {
            prepared,
            seed: world.as_ref().map(|world| world.seed),
            stories: world.as_ref().map(|world| world.stories),
            shots: world.as_ref().map(|world| world.shots),
            pairs: world.as_ref().map(|world| world.pairs),
            lengths,
            context_dropout,
            context_noise,
            anonymous,
        }
    }
}

impl Check for ShotsRecipe {
    fn check(&self) -> Result<(), String> {
        match &self.source {
            Source::Prepared(name) => folder("data.prepared", name)?,
            Source::World(world) => {
                count("data.shots", world.shots as u64, SOME)?;
                within("data.pairs", world.pairs, SHARE)?;
            }
        }
        within("data.context_dropout", self.context_dropout, SHARE)?;
        within("data.context_noise", self.context_noise, NOT_NEGATIVE)?;
        within("data.anonymous", self.anonymous, SHARE)
    }
}

impl ShotsRecipe {
    /// The folders of prepared shards that it names, with held-out stories if those are needed.
    pub fn prepared(&self, held_out: bool) -> Vec<String> {
        let splits = [Split::Training, Split::HeldOut].into_iter().take(1 + usize::from(held_out));
        match &self.source {
            Source::Prepared(name) => {
                splits.map(|split| format!("{name}{}", split.suffix())).collect()
            }
            Source::World(_) => Vec::new(),
        }
    }

    /// That batches come with whole shots and their context, which not every stage can do without.
    ///
    /// # Errors
    /// If nothing is stored, or the context is left out altogether.
    pub fn require_context(&self) -> Result<(), TrainError> {
        let refuse = |reason: &str| Err(TrainError::Stage { reason: reason.into() });
        if matches!(&self.source, Source::World(world) if world.stories == 0) {
            return refuse("it needs stored stories, and data.stories is 0");
        }
        if self.context_dropout >= 1.0 {
            return refuse("it needs the context, and data.context_dropout leaves it out");
        }
        Ok(())
    }
}

impl WorldSource {
    /// What is drawn and stored.
    pub fn drawn(&self) -> DrawnStories {
        let Self { seed, stories, shots, pairs } = *self;
        DrawnStories {
            first_seed: world::first_seed(seed),
            stories,
            shots,
            pairs,
            wordings: WORDINGS,
        }
    }
}

/// Which stories of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Those that are learnt from.
    Training,
    /// Those that training never sees.
    HeldOut,
}

impl Split {
    /// What stands behind the name of its folder.
    const fn suffix(self) -> &'static str {
        match self {
            Self::Training => "",
            Self::HeldOut => "-held-out",
        }
    }
}

/// How many seeds behind the first story of a drawn set its held-out ones begin; no set is as large.
const HELD_OUT_FROM: u64 = 1 << 31;

/// Held-out stories of a drawn set at most: as many as one shard holds.
const HELD_OUT_STORIES: usize = 32;

impl Source {
    /// The stored stories, none where everything is drawn anew. Those of StoryWorld are drawn and
    /// encoded where they are not yet, in a folder beside the run's own that is called by their
    /// seed; held-out ones of a prepared folder are those of another, of the same name with
    /// `-held-out` behind.
    ///
    /// # Errors
    /// If a folder cannot be written or read, or does not fit the model.
    pub fn open(
        &self,
        split: Split,
        bundle: &Bundle,
        run: &mut Run<'_>,
    ) -> Result<Option<Store>, TrainError> {
        let suffix = split.suffix();
        match self {
            Self::World(world) if world.stories == 0 => Ok(None),
            Self::World(world) => {
                let mut drawn = world.drawn();
                if split == Split::HeldOut {
                    drawn.first_seed += HELD_OUT_FROM;
                    drawn.stories = drawn.stories.min(HELD_OUT_STORIES);
                }
                let memory = match bundle.recipe().memory().policy {
                    MemoryPolicy::Spread => String::new(),
                    other => format!("-{}", other.name()),
                };
                let folder = format!("latents-{}{memory}{suffix}", world.seed);
                draw(drawn, &run.dir.with_file_name(folder), bundle, run).map(Some)
            }
            Self::Prepared(folder) => {
                let dir = run.dir.with_file_name(format!("{folder}{suffix}"));
                Store::open(&dir, bundle).map(Some)
            }
        }
    }
}

/// Stored stories of StoryWorld, drawn and encoded where they are not yet.
fn draw(
    drawn: DrawnStories,
    dir: &Path,
    bundle: &Bundle,
    run: &mut Run<'_>,
) -> Result<Store, TrainError> {
    let job = Job {
        material: Material::World(drawn),
        bundle,
        shot_frames: bundle.recipe().shot_frames().0,
        shard: SHARD,
        dir,
        strict: true,
        threads: run.threads,
    };
    let made = if run.ranks.is_first() {
        prepare(&job, &mut |progress| {
            let done = progress.done as u64;
            (run.watch)(done, progress.all as u64, &vec![("drawing", done as f64)]);
        })
        .map(drop)
    } else {
        Ok(())
    };
    run.ranks.agree(made)?;
    Store::open(dir, bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "context_dropout = 0.1\ncontext_noise = 0.0\nanonymous = 0.0\n";

    fn read(text: &str) -> Result<ShotsRecipe, toml::de::Error> {
        toml::from_str(&format!("{text}{REST}"))
    }

    #[test]
    fn a_source_is_named_once() {
        let world = "seed = 1\nstories = 2\nshots = 3\npairs = 0.5\n";
        let expected = WorldSource { seed: 1, stories: 2, shots: 3, pairs: 0.5 };
        assert_eq!(read(world).unwrap().source, Source::World(expected));
        let folder = "prepared = \"clips\"\n";
        assert_eq!(read(folder).unwrap().source, Source::Prepared("clips".into()));
        for text in ["", "seed = 1\n", &format!("{folder}{world}"), &format!("{folder}seed = 1\n")]
        {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("expected either prepared"), "{text}: {error}");
        }
        assert!(read(&format!("{folder}colour = 1\n")).unwrap_err().to_string().contains("colour"));
    }

    #[test]
    fn a_source_is_written_as_it_is_read() {
        for text in ["prepared = \"clips\"\n", "seed = 1\nstories = 2\nshots = 3\npairs = 0.5\n"] {
            let recipe = read(text).unwrap();
            let again: ShotsRecipe = toml::from_str(&toml::to_string(&recipe).unwrap()).unwrap();
            assert_eq!(again, recipe);
        }
    }
}
