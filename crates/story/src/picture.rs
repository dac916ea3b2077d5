//! A picture that somebody brings: read, cut to the model's shape, remembered as a frame would be.

use std::collections::BTreeMap;
use std::sync::Arc;

use shotstream_engine::error::SessionError;
use shotstream_engine::network::{NetworkError, Pixels};
use shotstream_media::Frame;
use shotstream_media::picture::decode_picture;
use shotstream_media::png::encode_png;

use crate::blobs::Blobs;
use crate::camera::small;
use crate::error::StoryError;
use crate::memory;
use crate::record::Hash;
use crate::teller::Teller;

/// Bytes of a picture's file at most.
pub const MAX_BYTES: usize = 16 << 20;

/// The blobs of a picture, kept, before any story names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Developed {
    /// The picture as the model sees it, PNG.
    pub image: Hash,
    /// A smaller one.
    pub small: Hash,
    /// Its latents.
    pub memory: Hash,
}

/// Read a PNG or JPEG file and keep what the model makes of it.
///
/// # Errors
/// When the file is too large or no picture, the network fails, or the disk refuses. What was kept
/// by then goes with the next collection of garbage.
pub fn develop(file: &[u8], teller: &dyn Teller, blobs: &Blobs) -> Result<Developed, StoryError> {
    if MAX_BYTES < file.len() {
        let found = file.len();
        return Err(StoryError::Edit(format!(
            "a picture has at most {MAX_BYTES} bytes, found {found}"
        )));
    }
    let unreadable = |error: shotstream_media::MediaError| StoryError::Edit(error.to_string());
    let [height, width] = teller.settings().recipe.geometry().pixels;
    let picture = decode_picture(file).map_err(unreadable)?.covering(width, height)?;
    let latents = teller.remember(&pixels_of(&picture)).map_err(SessionError::from)?;
    let [frames, ..] = latents.shape;
    if frames != 1 {
        let (expected, found) = (vec![1], vec![frames]);
        let error = NetworkError::Shape { what: "the latents of a picture", expected, found };
        return Err(SessionError::from(error).into());
    }
    let remembered = BTreeMap::from([(0, Arc::new(latents))]);
    Ok(Developed {
        image: blobs.put(&encode_png(&picture)?)?,
        small: blobs.put(&encode_png(&small(&picture)?)?)?,
        memory: blobs.put(&memory::to_bytes(&remembered)?)?,
    })
}

/// `[1, 3, H, W]` in `[-1, 1]`.
fn pixels_of(picture: &Frame) -> Pixels {
    let values = |channel: usize| picture.rgb.iter().skip(channel).step_by(3);
    let data =
        (0..3).flat_map(|channel| values(channel).map(|&byte| f32::from(byte) / 127.5 - 1.0));
    Pixels { shape: [1, 3, picture.height, picture.width], data: data.collect() }
}
