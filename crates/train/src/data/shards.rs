//! Prepared stories on disk: WebDataset shards, to be read by anyone.
//!
//! | letter | means |
//! |---|---|
//! | `F` | latent frames of a shot |
//! | `K` | its frames that a later shot of the story may remember |
//! | `C`, `h`, `w` | latent channels, height, width |
//!
//! A shard is a tar file. Story 42 is two of its members: `00000042.json` says what is known of it
//! ([`Facts`]), and `00000042.safetensors` holds its latents in float16, `clip{i}` `[F, C, h, w]`
//! for shot `i` as one clip and `frames{i}` `[K, C, h, w]` for its remembered frames, each encoded
//! alone. A shard depends on nothing but its stories, to the byte.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read as _, Write as _},
    path::{Path, PathBuf},
};

use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use tar::{Archive, Builder, Header};

use crate::{
    data::halves::{self, Halves},
    error::TrainError,
};

/// What is known of a story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// The video it was cut from, as its table names it, or `world`.
    pub source: String,
    /// Seed of a drawn story.
    pub seed: Option<u64>,
    /// Its shots, in order.
    pub shots: Vec<ShotFacts>,
    /// Ways to tell it, one at least.
    pub tellings: Vec<Telling>,
}

/// What is known of a shot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShotFacts {
    /// Pixel frames.
    pub frames: usize,
    /// Numbers of the frames in `frames{i}`, counted from the start of the shot, rising.
    pub remembered: Vec<usize>,
}

/// A story in words: what the text encoder reads for every shot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telling {
    /// One prompt a shot.
    pub named: Vec<String>,
    /// The same without saying after the first shot what the characters look like, where that is
    /// known.
    pub anonymous: Option<Vec<String>>,
}

/// A story with its latents.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredStory {
    /// What is known of it.
    pub facts: Facts,
    /// Latents of its shots.
    pub shots: Vec<StoredShot>,
}

/// Latents of a shot.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredShot {
    /// `[F, C, h, w]`.
    pub clip: Halves,
    /// `[K, C, h, w]`.
    pub frames: Halves,
}

/// Where shard `index` of a folder is.
pub fn shard_path(dir: &Path, index: usize) -> PathBuf {
    dir.join(format!("{index:06}.tar"))
}

/// A shard that takes its name when it is whole.
pub struct ShardWriter {
    tar: Builder<BufWriter<File>>,
    partial: Partial,
    path: PathBuf,
}

/// A file that is gone when nobody gives it another name.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // It is not there when it has taken its name.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl std::fmt::Debug for ShardWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ShardWriter({})", self.path.display())
    }
}

impl ShardWriter {
    /// Begin a shard; what an earlier attempt left is written over.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn create(path: &Path) -> Result<Self, TrainError> {
        let partial = Partial(path.with_extension("tmp"));
        let file = File::create(&partial.0)
            .map_err(|source| TrainError::Write { source, path: partial.0.clone() })?;
        Ok(Self { tar: Builder::new(BufWriter::new(file)), partial, path: path.to_owned() })
    }

    /// Add story `number`.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn add(&mut self, number: usize, story: &StoredStory) -> Result<(), TrainError> {
        let facts = serde_json::to_vec(&story.facts).expect("facts always serialise");
        let names: Vec<_> = (0..story.shots.len()).map(tensor_names).collect();
        let tensors: Vec<_> = names
            .iter()
            .zip(&story.shots)
            .flat_map(|([clip, frames], shot)| {
                [(clip.as_str(), &shot.clip), (frames.as_str(), &shot.frames)]
            })
            .collect();
        let latents = halves::bytes_of(&tensors, None);
        let added = self
            .member(&format!("{number:08}.json"), &facts)
            .and_then(|()| self.member(&format!("{number:08}.safetensors"), &latents));
        added.map_err(|source| TrainError::Write { source, path: self.partial.0.clone() })
    }

    /// The same header on every machine at any time.
    fn member(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = Header::new_ustar();
        header.set_path(name)?;
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        self.tar.append(&header, bytes)
    }

    /// Give the shard its name.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn finish(self) -> Result<(), TrainError> {
        let Self { tar, partial, path } = self;
        let written = tar.into_inner().and_then(|mut file| {
            file.flush()?;
            file.get_ref().sync_all()
        });
        written
            .and_then(|()| std::fs::rename(&partial.0, &path))
            .map_err(|source| TrainError::Write { source, path })
    }
}

fn tensor_names(shot: usize) -> [String; 2] {
    [format!("clip{shot}"), format!("frames{shot}")]
}

/// Every story of a shard, in order.
///
/// # Errors
/// If the file cannot be read or is not a whole shard; the member at fault is named.
pub fn read_shard(path: &Path) -> Result<Vec<StoredStory>, TrainError> {
    let damaged = |source: io::Error| TrainError::Stored {
        reason: format!("the shard is damaged ({source})"),
        path: path.to_owned(),
    };
    let file =
        File::open(path).map_err(|source| TrainError::Read { source, path: path.to_owned() })?;
    let mut tar = Archive::new(BufReader::new(file));
    let mut stories = Vec::new();
    let mut waiting: Option<(String, Facts)> = None;
    for member in tar.entries().map_err(damaged)? {
        let mut member = member.map_err(damaged)?;
        let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let refuse = |reason: String| TrainError::Stored {
            reason: format!("{name}: {reason}"),
            path: path.to_owned(),
        };
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).map_err(damaged)?;
        match (name.rsplit_once('.'), waiting.take()) {
            (Some((key, "json")), None) => {
                let facts = serde_json::from_slice(&bytes).map_err(|e| refuse(e.to_string()))?;
                waiting = Some((key.to_owned(), facts));
            }
            (Some((key, "safetensors")), Some((expected, facts))) if key == expected => {
                stories.push(story_of(facts, &bytes).map_err(refuse)?);
            }
            _ => return Err(refuse("expected a .json and its .safetensors in turn".into())),
        }
    }
    match waiting {
        None => Ok(stories),
        Some((key, _)) => Err(TrainError::Stored {
            reason: format!("{key}.safetensors is missing"),
            path: path.to_owned(),
        }),
    }
}

/// A story from its members, if they belong together.
fn story_of(facts: Facts, bytes: &[u8]) -> Result<StoredStory, String> {
    let file = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
    let count = facts.shots.len();
    let mut shots = Vec::with_capacity(count);
    for (index, known) in facts.shots.iter().enumerate() {
        let [clip, frames] = tensor_names(index);
        let shot = StoredShot {
            clip: halves::tensor_of(&file, &clip)?,
            frames: halves::tensor_of(&file, &frames)?,
        };
        let (clip_shape, frames_shape) = (&shot.clip.shape, &shot.frames.shape);
        let [_, cell @ ..] = clip_shape.as_slice() else {
            return Err(format!("{clip} has shape {clip_shape:?}, expected [F, C, h, w]"));
        };
        let expected = [&[known.remembered.len()], cell].concat();
        if *frames_shape != expected {
            return Err(format!("{frames} has shape {frames_shape:?}, expected {expected:?}"));
        }
        shots.push(shot);
    }
    let told = facts.tellings.iter().flat_map(|t| [Some(&t.named), t.anonymous.as_ref()]);
    if count == 0 || facts.tellings.is_empty() || told.flatten().any(|p| p.len() != count) {
        return Err(format!("{count} shots, and not one prompt for each in every telling"));
    }
    Ok(StoredStory { facts, shots })
}
