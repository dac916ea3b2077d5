//! Stories to shards, once: resumable, on all cores, with every bad clip reported and counted.
//!
//! A folder of shards says in `prepared.json` how it was made ([`Settings`]); what was made
//! otherwise is refused and never mixed. A shard has its name when it is whole, so a run that is
//! killed loses at most the shards in flight, and a finished folder is the same to the byte however
//! often it was interrupted. Rows that had to be left out stand in `NNNNNN.refused.jsonl` beside
//! their shard.

use std::{
    fs::File,
    ops::Range,
    path::Path,
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread,
};

use serde::{Deserialize, Serialize};
use shotstream_media::Frame;
use shotstream_models::{bundle::Bundle, vae::Vae};
use shotstream_plan::{context::MemoryPolicy, recipe::Recipe};
use shotstream_world::ShotPainter;

use crate::{
    data::{
        clips::read_shots,
        encode::{encode_shot, fingerprint, remembered},
        refused::{read_refused, write_refused},
        shards::{Facts, ShardWriter, ShotFacts, StoredStory, Telling, shard_path},
        table::{Refusal, Table},
        world::DrawnStories,
    },
    error::TrainError,
    files,
    workers::Workers,
};

/// Stories in a shard, unless asked otherwise.
pub const SHARD: usize = 32;

/// What a folder of shards says of itself.
const MANIFEST: &str = "prepared.json";

/// The layout of the shards.
const FORMAT: &str = "shotstream-prepared-1";

/// What is to be prepared.
#[derive(Clone, Debug)]
pub enum Material {
    /// Stories of StoryWorld.
    World(DrawnStories),
    /// Clips of videos.
    Clips(Table),
}

/// One run of the preparation.
#[derive(Debug)]
pub struct Job<'a> {
    /// What is prepared.
    pub material: Material,
    /// The model whose VAE encodes.
    pub bundle: &'a Bundle,
    /// Pixel frames that longer shots are cut to; drawn shots have exactly as many.
    pub shot_frames: usize,
    /// Stories in a shard.
    pub shard: usize,
    /// The folder of the shards.
    pub dir: &'a Path,
    /// Stop at the first story that cannot be learnt from.
    pub strict: bool,
    /// Threads at most.
    pub threads: usize,
}

/// How the shards of a folder were made, as its `prepared.json` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Layout of the shards.
    pub format: String,
    /// Fingerprint of the encoder.
    pub encoder: String,
    /// Height and width of the picture.
    pub picture: [usize; 2],
    /// Pixel frames of the longest shot.
    pub shot_frames: usize,
    /// Latent frames of a chunk.
    pub chunk: usize,
    /// Frames that a shot remembers of all earlier ones.
    pub context_frames: usize,
    /// Which frames those are.
    pub memory: MemoryPolicy,
    /// What was prepared.
    pub material: MaterialFacts,
    /// Stories in all, refused ones among them.
    pub stories: usize,
    /// Stories in a shard.
    pub shard: usize,
}

/// Where the stories of a folder came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum MaterialFacts {
    /// Drawn.
    World(DrawnStories),
    /// Videos: the hash of the table that names them.
    Table {
        /// SHA-256 of the CSV.
        sha256: String,
    },
}

/// How far a run is, after every story.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Stories that are dealt with, those of earlier runs among them.
    pub done: usize,
    /// Stories in all.
    pub all: usize,
    /// Why the last story had to be left out.
    pub refused: Option<&'a Refusal>,
}

/// What a folder holds when a run is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Stories to learn from.
    pub stories: usize,
    /// Shards, and those of them that an earlier run made.
    pub shards: [usize; 2],
    /// Stories that were left out, in the order of their rows.
    pub refused: Vec<Refusal>,
}

/// Make what the folder does not hold yet.
///
/// # Errors
/// If the folder was made with other settings or cannot be written, and at the first refused story
/// if the run is strict.
pub fn prepare(job: &Job<'_>, watch: &mut dyn FnMut(Progress<'_>)) -> Result<Summary, TrainError> {
    std::fs::create_dir_all(job.dir)
        .map_err(|source| TrainError::Write { source, path: job.dir.to_owned() })?;
    let _lock = lock(job.dir)?;
    claim(job)?;
    let all = job.material.len();
    let shards = all.div_ceil(job.shard);
    let (kept, missing): (Vec<_>, Vec<_>) =
        (0..shards).partition(|&shard| shard_path(job.dir, shard).exists());
    let mut refused = Vec::new();
    for &shard in &kept {
        refused.extend(read_refused(job.dir, shard)?);
    }
    if job.strict
        && let Some(first) = refused.first()
    {
        return Err(TrainError::Refused(first.clone()));
    }
    let mut done = kept.iter().map(|&shard| numbers(job.shard, all, shard).len()).sum();
    watch(Progress { done, all, refused: None });
    work_through(job, &missing, &mut |outcome| {
        done += 1;
        watch(Progress { done, all, refused: outcome.as_ref() });
        refused.extend(outcome);
    })?;
    refused.sort_by_key(|refusal| refusal.row);
    Ok(Summary { stories: all - refused.len(), shards: [shards, kept.len()], refused })
}

/// Make shards side by side; `watch` is told of every story, and why it was left out.
fn work_through(
    job: &Job<'_>,
    missing: &[usize],
    watch: &mut dyn FnMut(Option<Refusal>),
) -> Result<(), TrainError> {
    let workers = Workers::new(job.threads, job.threads)?;
    let (next, stopped) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (sender, receiver) = sync_channel(job.threads);
    let work = |sender: SyncSender<Option<Refusal>>| {
        let results = workers.map(|_| {
            while let Some(&shard) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                let made = make_shard(job, shard, &sender, &stopped);
                made.inspect_err(|_| stopped.store(true, Ordering::Relaxed))?;
            }
            Ok(())
        });
        results.into_iter().collect()
    };
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("prepare".to_owned())
            .spawn_scoped(scope, || work(sender))
            .map_err(|source| TrainError::Write { source, path: job.dir.to_owned() })?;
        receiver.iter().for_each(watch);
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Make one shard, unless the run is stopped on the way.
fn make_shard(
    job: &Job<'_>,
    shard: usize,
    outcomes: &SyncSender<Option<Refusal>>,
    stopped: &AtomicBool,
) -> Result<(), TrainError> {
    let mut writer = ShardWriter::create(&shard_path(job.dir, shard))?;
    let mut refused = Vec::new();
    for number in numbers(job.shard, job.material.len(), shard) {
        if stopped.load(Ordering::Relaxed) {
            return Ok(());
        }
        let outcome = match job.story(number) {
            Ok(story) => {
                writer.add(number, &story)?;
                None
            }
            Err(refusal) if job.strict => return Err(TrainError::Refused(refusal)),
            Err(refusal) => {
                refused.push(refusal.clone());
                Some(refusal)
            }
        };
        // Nobody listens any more when the caller has panicked; the shard is still worth finishing.
        let _ = outcomes.send(outcome);
    }
    write_refused(job.dir, shard, &refused)?;
    writer.finish()
}

impl Material {
    /// Stories in all.
    fn len(&self) -> usize {
        match self {
            Self::World(drawn) => drawn.stories,
            Self::Clips(table) => table.rows.len(),
        }
    }
}

impl Job<'_> {
    fn vae(&self) -> &Vae {
        &self.bundle.vae
    }

    fn recipe(&self) -> &Recipe {
        self.bundle.recipe()
    }

    fn settings(&self) -> Settings {
        Settings {
            format: FORMAT.to_owned(),
            encoder: fingerprint(self.vae()),
            picture: self.recipe().geometry().pixels,
            shot_frames: self.shot_frames,
            chunk: self.recipe().geometry().chunk.0,
            context_frames: self.recipe().context_frames(),
            memory: self.recipe().memory().policy,
            material: match &self.material {
                Material::World(drawn) => MaterialFacts::World(drawn.clone()),
                Material::Clips(table) => MaterialFacts::Table { sha256: table.sha256.clone() },
            },
            stories: self.material.len(),
            shard: self.shard,
        }
    }

    /// Story `number`, drawn or read, and encoded.
    fn story(&self, number: usize) -> Result<StoredStory, Refusal> {
        let (source, seed, tellings, shots) = match &self.material {
            Material::World(drawn) => {
                let seed = drawn.first_seed + number as u64;
                ("world".to_owned(), Some(seed), drawn.tellings(seed), self.drawn(drawn, seed))
            }
            Material::Clips(table) => {
                let row = table.rows[number].as_ref().map_err(Clone::clone)?;
                let (script, cut) = row.resolve(self.recipe(), self.shot_frames)?;
                let named = (0..script.shots.len()).map(|shot| script.prompt(shot)).collect();
                let told = vec![Telling { named, anonymous: None }];
                let picture = self.recipe().geometry().pixels;
                (row.source.clone(), None, told, read_shots(row, &cut, picture)?)
            }
        };
        let lengths: Vec<_> = shots.iter().map(Vec::len).collect();
        let memory = self.recipe().memory();
        let known = lengths.iter().enumerate().map(|(shot, &frames)| ShotFacts {
            frames,
            remembered: remembered(memory, &lengths, shot),
        });
        let known: Vec<_> = known.collect();
        let encoded = shots.iter().zip(&known);
        Ok(StoredStory {
            shots: encoded
                .map(|(f, known)| encode_shot(self.vae(), f, &known.remembered))
                .collect(),
            facts: Facts { source, seed, shots: known, tellings },
        })
    }

    fn drawn(&self, drawn: &DrawnStories, seed: u64) -> Vec<Vec<Frame>> {
        let story = drawn.story(seed);
        let picture = self.recipe().geometry().pixels;
        let shot = |shot| {
            let painter = ShotPainter::new(&story, shot, picture, self.shot_frames);
            (0..self.shot_frames).map(|frame| painter.frame(frame)).collect()
        };
        (0..story.shots.len()).map(shot).collect()
    }
}

impl Settings {
    /// What the folder says of itself.
    ///
    /// # Errors
    /// If it does not, or not in our words.
    pub fn read(dir: &Path) -> Result<Self, TrainError> {
        let path = dir.join(MANIFEST);
        let bytes = std::fs::read(&path)
            .map_err(|source| TrainError::Read { source, path: path.clone() })?;
        serde_json::from_slice(&bytes)
            .map_err(|error| TrainError::Stored { reason: error.to_string(), path })
    }

    /// Stories of shard `shard`, refused ones among them.
    pub fn numbers(&self, shard: usize) -> Range<usize> {
        numbers(self.shard, self.stories, shard)
    }

    /// The first setting in which another differs, with its values here and there.
    fn difference(&self, other: &Self) -> Option<[String; 3]> {
        let [ours, theirs] = [self, other].map(|settings| {
            let value = serde_json::to_value(settings).expect("settings always serialise");
            value.as_object().expect("a struct is an object").clone()
        });
        let found = ours.into_iter().find(|(key, value)| theirs[key] != *value);
        found.map(|(key, value)| {
            let other = theirs[&key].to_string();
            [key, value.to_string(), other]
        })
    }
}

fn numbers(size: usize, all: usize, shard: usize) -> Range<usize> {
    shard * size..all.min((shard + 1) * size)
}

/// Write down how the folder is made, or see that it has been made so.
fn claim(job: &Job<'_>) -> Result<(), TrainError> {
    let (path, wanted) = (job.dir.join(MANIFEST), job.settings());
    if path.exists() {
        let Some([key, found, expected]) = Settings::read(job.dir)?.difference(&wanted) else {
            return Ok(());
        };
        let reason = format!(
            "the folder was prepared with another {key}, {found}, expected {expected}; \
             choose or empty another folder"
        );
        return Err(TrainError::Stored { reason, path });
    }
    let text = serde_json::to_vec_pretty(&wanted).expect("settings always serialise");
    files::replace(&path, &text)
}

/// Wait until no other process prepares the folder.
fn lock(dir: &Path) -> Result<File, TrainError> {
    let path = dir.join(".lock");
    let failed = |source| TrainError::Write { source, path: path.clone() };
    let file = File::create(&path).map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}
