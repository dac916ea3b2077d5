//! One shot, chunk by chunk: denoise, hand out, commit. Training and inference run the same.

use std::fmt;
use std::marker::PhantomData;

use shotstream_plan::{
    geometry::LatentFrames,
    layout::{ChunkLayout, FrameSlot},
};

use crate::network::{Denoiser, Memory, NetworkError};
use crate::sampler::{VelocityField, denoise};
use crate::schedule::Schedule;

/// What the chunks of a shot are made from.
pub struct ShotInput<'a, D: Denoiser> {
    /// The chunks to make, first to last.
    pub chunks: &'a [ChunkLayout],
    /// The shot's own caption, as it begins.
    pub text: &'a D::TextCache,
    /// The shots before it.
    pub context: &'a D::ContextCache,
}

impl<D: Denoiser> fmt::Debug for ShotInput<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShotInput").field("chunks", &self.chunks).finish_non_exhaustive()
    }
}

/// What happens at the border behind a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Border<T> {
    /// The next chunk is made.
    GoOn,
    /// The next chunk is made under another caption, and those before it are committed again under
    /// it.
    Rewrite(T),
    /// The shot ends.
    End,
}

/// Generate a shot, handing each chunk to `emit` as soon as it is clean.
///
/// `noise(chunk, step)` supplies all randomness and is asked right before its step; an error of it
/// stops there. Inference streams from `emit`, training collects there, and it says what happens at
/// the border behind the chunk just handed out. A chunk is committed only when another one follows
/// it, and forgotten when the window has left it and the sink does not hold it. Which steps carry
/// gradients is the denoiser's business.
///
/// After [`Border::Rewrite`] the local cache is what it would be if every chunk in it had been
/// committed under the new caption. Method: KV re-cache of LongLive, arXiv 2509.22622.
///
/// # Errors
/// Those of the denoiser, of `noise` and of `emit`.
pub fn rollout<D: Denoiser, E: From<NetworkError>>(
    denoiser: &D,
    shot: &ShotInput<'_, D>,
    schedule: &Schedule,
    mut noise: impl FnMut(usize, usize) -> Result<D::Latents, E>,
    mut emit: impl FnMut(usize, &D::Latents) -> Result<Border<D::TextCache>, E>,
) -> Result<(), E> {
    let mut local = denoiser.empty_local();
    let mut rewritten = None;
    // The chunks in the local cache.
    let mut kept: Vec<(&ChunkLayout, D::Latents)> = Vec::new();
    for (index, layout) in shot.chunks.iter().enumerate() {
        let slots = &layout.slots;
        denoiser.forget(&mut local, LatentFrames(layout.sink.len()), layout.past());
        kept.retain(|(earlier, _)| layout.sees(earlier));
        let memory = Memory { context: shot.context, local: &local };
        let text = rewritten.as_ref().unwrap_or(shot.text);
        let field = Chunk { denoiser, slots, text, memory, error: PhantomData };
        let clean = denoise(&field, schedule, |step| noise(layout.chunk, step))?;
        let border = emit(layout.chunk, &clean)?;
        if matches!(border, Border::End) || index + 1 == shot.chunks.len() {
            break;
        }
        if let Border::Rewrite(text) = border {
            local = denoiser.empty_local();
            for (earlier, clean) in &kept {
                denoiser.commit(clean, &earlier.slots, &text, shot.context, &mut local)?;
            }
            rewritten = Some(text);
        }
        let text = rewritten.as_ref().unwrap_or(shot.text);
        denoiser.commit(&clean, slots, text, shot.context, &mut local)?;
        kept.push((layout, clean));
    }
    Ok(())
}

/// The velocity field the network shows to one chunk.
struct Chunk<'a, D: Denoiser, E> {
    denoiser: &'a D,
    slots: &'a [FrameSlot],
    text: &'a D::TextCache,
    memory: Memory<'a, D::ContextCache, D::LocalCache>,
    error: PhantomData<E>,
}

impl<D: Denoiser, E: From<NetworkError>> VelocityField for Chunk<'_, D, E> {
    type Latents = D::Latents;
    type Error = E;

    fn velocity(&self, noisy: &D::Latents, timestep: f32) -> Result<D::Latents, E> {
        Ok(self.denoiser.velocity(noisy, timestep, self.slots, self.text, self.memory)?)
    }
}
