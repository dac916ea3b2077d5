//! What becomes of the frames of one take: coded pictures, small pictures, hashes.
//!
//! A take whose first chunks were made before is made again from its start. Those chunks must have
//! the frames they had; they are not written twice.

use shotstream_engine::story::StoryState;
use shotstream_media::encode::{Encoder, Packet};
use shotstream_media::film::enlargement;
use shotstream_media::png::encode_png;
use shotstream_media::{Frame, MediaError};
use shotstream_plan::recipe::Recipe;

use crate::blobs::Blobs;
use crate::error::StoryError;
use crate::memory;
use crate::record::{Candidate, Chunk, Hash, Record, TakeId};
use crate::tree::Take;

/// Small pictures are at most so wide.
const PICTURE_WIDTH: usize = 192;

/// The width and height of a film's pictures.
pub fn film_size(recipe: &Recipe) -> [usize; 2] {
    let [height, width] = recipe.geometry().pixels;
    [width, height].map(|side| side * enlargement(width))
}

/// One take while it is made.
#[derive(Debug)]
pub struct Camera {
    take: TakeId,
    encoder: Encoder,
    scale: usize,
    /// Chunks that were made before.
    known: Vec<Chunk>,
    made: usize,
    /// Small pictures of every frame so far.
    pictures: Vec<Frame>,
}

/// A chunk as viewers want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footage {
    /// The chunk, counted from the start of its take.
    pub chunk: usize,
    /// Its coded pictures, the first a key frame.
    pub packets: Vec<Packet>,
    /// What to write into the journal; nothing for a chunk that was made before.
    pub record: Option<Record>,
}

impl Camera {
    /// A camera for a take.
    ///
    /// # Errors
    /// When a film of this size cannot be made.
    pub fn new(take: &Take, recipe: &Recipe) -> Result<Self, StoryError> {
        let size = film_size(recipe);
        Ok(Self {
            take: take.id,
            encoder: Encoder::new(size, recipe.frames_per_second())?,
            scale: enlargement(recipe.geometry().pixels[1]),
            known: take.chunks.clone(),
            made: 0,
            pictures: Vec::new(),
        })
    }

    /// Whether chunks that were made before are being made again.
    pub fn is_catching_up(&self) -> bool {
        self.made < self.known.len()
    }

    /// Encode the next chunk and keep it.
    ///
    /// # Errors
    /// When it was made before with other frames, or the disk refuses.
    pub fn shoot(&mut self, frames: &[Frame], blobs: &Blobs) -> Result<Footage, StoryError> {
        let (chunk, rgb) = (self.made, hash_of(frames));
        let known = self.known.get(chunk);
        if known.is_some_and(|known| known.rgb != rgb) {
            return Err(StoryError::Differs { take: self.take, chunk });
        }
        let large: Vec<_> = frames.iter().map(|frame| frame.scaled(self.scale)).collect();
        let packets = self.encoder.encode(&large)?;
        let first = self.pictures.len();
        for frame in frames {
            self.pictures.push(small(frame)?);
        }
        let record = match known {
            Some(_) => None,
            None => {
                let media = blobs.put(&bytes_from_packets(&packets))?;
                let picture = blobs.put(&encode_png(&self.pictures[first])?)?;
                let chunk = Chunk { frames: frames.len(), rgb, media, picture };
                Some(Record::Made { take: self.take, chunk })
            }
        };
        self.made += 1;
        Ok(Footage { chunk, packets, record })
    }

    /// What the take leaves behind, now that it is complete; `story` is the state after it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn finish(self, story: &StoryState, blobs: &Blobs) -> Result<Record, StoryError> {
        let shot = story.next_shot().saturating_sub(1);
        let past = story.shots.get(&shot);
        let frames = past.map(|past| past.frames.clone()).unwrap_or_default();
        let memory = blobs.put(&memory::to_bytes(&frames)?)?;
        let mut candidates = Vec::with_capacity(frames.len());
        for &frame in frames.keys() {
            let picture = self.pictures.get(frame).ok_or(MediaError::Empty)?;
            candidates.push(Candidate { frame, picture: blobs.put(&encode_png(picture)?)? });
        }
        Ok(Record::Finished { take: self.take, memory, candidates })
    }
}

/// The hash of the RGB bytes of frames, one after another.
pub fn hash_of(frames: &[Frame]) -> Hash {
    Hash::of_all(frames.iter().map(|frame| &frame.rgb[..]))
}

/// A picture small enough for a page.
pub(crate) fn small(frame: &Frame) -> Result<Frame, MediaError> {
    let width = frame.width.min(PICTURE_WIDTH);
    frame.resized(width, (frame.height * width / frame.width.max(1)).max(1))
}

/// Coded pictures as one blob: of each its length, four bytes big-endian, and its bytes.
fn bytes_from_packets(packets: &[Packet]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for packet in packets {
        bytes.extend_from_slice(&(packet.annex_b.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&packet.annex_b);
    }
    bytes
}

/// The coded pictures of a chunk, the first a key frame.
///
/// # Errors
/// When the blob is missing, damaged, or of another kind.
pub fn packets_of(chunk: &Chunk, blobs: &Blobs) -> Result<Vec<Packet>, StoryError> {
    let bytes = blobs.get(chunk.media)?;
    let mut rest = &bytes[..];
    let mut packets = Vec::with_capacity(chunk.frames);
    while let Some((length, after)) = rest.split_first_chunk() {
        let length = u32::from_be_bytes(*length) as usize;
        let Some((picture, after)) = after.split_at_checked(length) else { break };
        packets.push(Packet { annex_b: picture.to_vec(), keyframe: packets.is_empty() });
        rest = after;
    }
    if rest.is_empty() && packets.len() == chunk.frames {
        return Ok(packets);
    }
    let reason = format!("it holds {} whole pictures, expected {}", packets.len(), chunk.frames);
    Err(StoryError::Blob { reason, hash: chunk.media })
}
