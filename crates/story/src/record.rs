//! What a story's journal holds, one line of JSON a record.
//!
//! A record says what happened, in integers and words; pictures, films and latents are blobs that
//! it names by their hash. Records are never changed.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use shotstream_plan::held::Shares;
use shotstream_plan::script::Rewrite;

/// The number of a take in its story, counted from 1 in the order they were asked for.
pub type TakeId = u32;

/// The SHA-256 of some bytes, and the name of the blob that holds them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Hash([u8; 32]);

impl Hash {
    /// The hash of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The hash of several pieces, one after another.
    pub fn of_all<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hash = Sha256::new();
        pieces.into_iter().for_each(|piece| hash.update(piece));
        Self(hash.finalize().into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl From<Hash> for String {
    fn from(hash: Hash) -> Self {
        let mut text = Self::with_capacity(64);
        // Writing into a string cannot fail.
        let _ = write!(text, "{hash}");
        text
    }
}

impl FromStr for Hash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "a hash is 64 lower-case hexadecimal digits".to_owned();
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(wrong()),
        };
        let mut hash = [0; 32];
        if text.len() != 64 {
            return Err(wrong());
        }
        for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(Self(hash))
    }
}

impl TryFrom<String> for Hash {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A frame of a take that later shots are shown whatever the memory policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    /// The take.
    pub take: TakeId,
    /// The frame, counted from the start of its shot; one that its take remembers.
    pub frame: usize,
}

/// The number of a picture in its story, counted from 1 in the order they came.
pub type PictureId = u32;

/// A picture somebody brought, that shots may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Picture {
    /// Its number: one more than the last one's.
    pub picture: PictureId,
    /// What it shows; the model reads it with the picture.
    pub caption: String,
    /// The blob with the picture as the model sees it, PNG.
    pub image: Hash,
    /// The blob with a smaller one.
    pub small: Hash,
    /// The blob with its latents, as of a take that leaves one frame.
    pub memory: Hash,
}

/// What a member of the cast brings into the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Kept {
    /// A frame of a take.
    Frame(Pin),
    /// A picture.
    Picture(PicturePin),
}

/// A picture by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PicturePin {
    /// The picture.
    pub picture: PictureId,
}

/// Somebody or something that captions call by name: `@mara`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// The name, without the sign before it.
    pub name: String,
    /// The words that stand in captions in place of the name.
    pub caption: String,
    /// What a shot that names the member is shown, what matters most first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frames: Vec<Kept>,
}

/// What the director holds for the takes asked for from now on, besides pinned frames.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// Pictures that are pinned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pictures: Vec<PictureId>,
    /// The cast, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cast: Vec<Member>,
    /// How many context frames pins and cast may take; all but one where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<Shares>,
}

/// How a story is made; the same for all its takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Premise {
    /// What people call the story; it has no influence on the film.
    pub title: String,
    /// What holds for the whole story; opens every prompt.
    pub global: String,
    /// The seed of every take that is not given one.
    pub seed: u64,
    /// What the model is called.
    pub model: String,
    /// The model's recipe, TOML.
    pub recipe: String,
}

/// What is asked for with a take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The caption of the shot.
    pub caption: String,
    /// What was typed, where it called members of the cast by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typed: Option<String>,
    /// The seed of its noise.
    pub seed: u64,
    /// How many pixel frames it should have.
    pub frames: usize,
    /// Frames it is shown whatever the memory policy says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
    /// Pictures it is shown whatever the memory policy says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pictures: Vec<PictureId>,
    /// What the members of the cast bring that its words named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cast: Vec<Kept>,
    /// How many context frames pins and cast may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shares: Option<Shares>,
    /// Words that take the caption's place while the shot is made, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Rewrite>,
}

/// A chunk of a take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chunk {
    /// How many pixel frames it has.
    pub frames: usize,
    /// The hash of their RGB bytes, one frame after another.
    pub rgb: Hash,
    /// The blob with its coded pictures.
    pub media: Hash,
    /// The blob with a small picture of its first frame, PNG.
    pub picture: Hash,
}

/// A frame that a take leaves for later shots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// The frame, counted from the start of its shot.
    pub frame: usize,
    /// The blob with a small picture of it, PNG.
    pub picture: Hash,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "did", rename_all = "kebab-case")]
pub enum Record {
    /// The story began: always the first record, and never another one.
    Began(Premise),
    /// The story was given another title.
    Titled {
        /// What people call it from now on.
        title: String,
    },
    /// A take was asked for.
    Asked {
        /// Its number: one more than the last one's.
        take: TakeId,
        /// The take it follows; nothing for a first shot.
        parent: Option<TakeId>,
        /// What was asked.
        #[serde(flatten)]
        asked: Asked,
    },
    /// The director changed the film: another line of takes, or other pins.
    Edited {
        /// What was done, in a word.
        edit: String,
        /// The takes of the film in order.
        line: Vec<TakeId>,
        /// The pins that takes asked for from now on are given.
        pins: Vec<Pin>,
        /// What else they are given.
        #[serde(flatten)]
        holding: Holding,
    },
    /// Somebody brought a picture.
    Pictured(Picture),
    /// The last change that was not undone was undone.
    Undone,
    /// The last change that was undone was done again.
    Redone,
    /// A chunk was made.
    Made {
        /// Of this take; its chunks come in order.
        take: TakeId,
        /// The chunk.
        #[serde(flatten)]
        chunk: Chunk,
    },
    /// The director wants a take to end with the chunk that is being made.
    CutAsked {
        /// The take.
        take: TakeId,
    },
    /// The director wants other words for a take from the next chunk on.
    RewriteAsked {
        /// The take.
        take: TakeId,
        /// What it shows from then on.
        caption: String,
    },
    /// Other words hold for the chunks of a take that are made from now on.
    Rewritten {
        /// The take.
        take: TakeId,
        /// From where on, and what they are.
        #[serde(flatten)]
        rewrite: Rewrite,
    },
    /// A take is complete.
    Finished {
        /// The take.
        take: TakeId,
        /// The blob with the latents of its candidates.
        memory: Hash,
        /// The frames it leaves for later shots, ascending.
        candidates: Vec<Candidate>,
    },
    /// A take could not be made.
    Failed {
        /// The take.
        take: TakeId,
        /// Why.
        reason: String,
    },
}

impl Record {
    /// The blobs that the record names.
    pub fn blobs(&self) -> Vec<Hash> {
        match self {
            Self::Made { chunk, .. } => vec![chunk.media, chunk.picture],
            Self::Finished { memory, candidates, .. } => {
                let pictures = candidates.iter().map(|candidate| candidate.picture);
                pictures.chain([*memory]).collect()
            }
            Self::Pictured(picture) => vec![picture.image, picture.small, picture.memory],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_back_and_nothing_else_is_one() {
        let hash = Hash::of(b"abc");
        assert!(hash.to_string().starts_with("ba7816bf8f01cfea"));
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert_eq!(hash, Hash::of_all([&b"a"[..], b"bc"]));
        for wrong in ["", "ba", &hash.to_string().to_uppercase(), &format!("{hash}0")] {
            assert!(wrong.parse::<Hash>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_record_is_one_line_that_says_what_happened() {
        let asked = Asked { caption: "Go.\n".into(), seed: 7, frames: 33, ..Asked::default() };
        let record = Record::Asked { take: 2, parent: Some(1), asked };
        let line = serde_json::to_string(&record).unwrap();
        let expected =
            r#"{"did":"asked","take":2,"parent":1,"caption":"Go.\n","seed":7,"frames":33}"#;
        assert_eq!(line, expected);
        assert_eq!(serde_json::from_str::<Record>(&line).unwrap(), record);
    }

    #[test]
    fn records_of_before_there_were_pictures_and_a_cast_are_read_and_written_as_they_were() {
        for line in [
            r#"{"did":"edited","edit":"append","line":[1],"pins":[{"take":1,"frame":16}]}"#,
            r#"{"did":"asked","take":1,"parent":null,"caption":"a","seed":1,"frames":9,"pins":[{"take":1,"frame":0}]}"#,
        ] {
            let record: Record = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&record).unwrap(), line);
        }
    }
}
