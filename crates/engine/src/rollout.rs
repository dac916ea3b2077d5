//! One shot, chunk by chunk: denoise, hand out, commit. Training and inference run the same.

use std::fmt;
use std::marker::PhantomData;
use std::ops::ControlFlow;

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
    /// The shot's own caption.
    pub text: &'a D::TextCache,
    /// The shots before it.
    pub context: &'a D::ContextCache,
}

impl<D: Denoiser> fmt::Debug for ShotInput<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShotInput").field("chunks", &self.chunks).finish_non_exhaustive()
    }
}

/// Generate a shot, handing each chunk to `emit` as soon as it is clean.
///
/// `noise(chunk, step)` supplies all randomness and is asked right before its step; an error of it
/// stops there. Inference streams from `emit`; training collects there; `Break` ends the shot
/// after the chunk just handed out. A chunk is committed only when another one follows it, and
/// forgotten when the window has left it. Which steps carry gradients is the denoiser's business.
///
/// # Errors
/// Those of the denoiser, of `noise` and of `emit`.
pub fn rollout<D: Denoiser, E: From<NetworkError>>(
    denoiser: &D,
    shot: &ShotInput<'_, D>,
    schedule: &Schedule,
    mut noise: impl FnMut(usize, usize) -> Result<D::Latents, E>,
    mut emit: impl FnMut(usize, &D::Latents) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let mut local = denoiser.empty_local();
    for (index, layout) in shot.chunks.iter().enumerate() {
        let slots = &layout.slots;
        denoiser.forget(&mut local, LatentFrames(layout.latents.start - layout.window.start));
        let memory = Memory { context: shot.context, local: &local };
        let field = Chunk { denoiser, slots, text: shot.text, memory, error: PhantomData };
        let clean = denoise(&field, schedule, |step| noise(layout.chunk, step))?;
        let go_on = emit(layout.chunk, &clean)?.is_continue();
        if !go_on || index + 1 == shot.chunks.len() {
            break;
        }
        denoiser.commit(&clean, slots, shot.text, shot.context, &mut local)?;
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
