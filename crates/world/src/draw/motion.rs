//! How a character moves: a pose for every frame, from the action and the frame number alone.
//!
//! Sines come from `libm`, so that every machine draws the same frames. All periods are whole numbers of latent frames (four frames), at 16 frames a second.

use std::f32::consts::{PI, TAU};

use libm::{cosf, sinf};

use crate::attributes::Action;

/// The frames of one wave of the hand, and of two steps.
const SWING_FRAMES: f32 = 12.0;
/// The frames of one jump.
const JUMP_FRAMES: f32 = 16.0;
/// The frames of one whole turn.
const TURN_FRAMES: f32 = 24.0;
/// The frames of one breath.
const BREATH_FRAMES: f32 = 32.0;

/// How far the feet leave the ground in a jump, in figure units.
const JUMP_HEIGHT: f32 = 22.0;
/// How narrow a figure gets when it is seen from the side in a turn.
const NARROWEST: f32 = 0.3;

/// One position of a body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pose {
    /// How far along its walk, −1 at the left end, 1 at the right; 0 in place.
    pub walk: f32,
    /// How high above the ground, in figure units.
    pub lift: f32,
    /// Height over normal height; the width gives what the height takes.
    pub stretch: f32,
    /// Width over normal width, negative when turned round.
    pub turn: f32,
    /// The angle of the raised right forearm from upright, in radians; `None` when it hangs.
    pub wave: Option<f32>,
    /// Which leg is in front, −1 to 1.
    pub stride: f32,
}

/// The pose of `action` at a frame of a shot of `num_frames` frames.
pub(super) fn pose(action: Action, frame: usize, num_frames: usize) -> Pose {
    let t = frame as f32;
    let mut pose = Pose { walk: 0.0, lift: 0.0, stretch: 1.0, turn: 1.0, wave: None, stride: 0.0 };
    match action {
        Action::Stands => pose.stretch = 1.0 + 0.012 * sinf(TAU * t / BREATH_FRAMES),
        Action::Waves => pose.wave = Some(0.22 + 0.5 * cosf(TAU * t / SWING_FRAMES)),
        Action::Walks => {
            let last = num_frames.saturating_sub(1).max(1) as f32;
            pose.walk = (2.0 * t / last - 1.0).clamp(-1.0, 1.0);
            pose.stride = sinf(TAU * t / SWING_FRAMES);
            pose.lift = 2.5 * cosf(TAU * t / SWING_FRAMES).abs();
        }
        Action::Jumps => {
            let phase = (t / JUMP_FRAMES).fract();
            if phase < GROUNDED {
                pose.stretch = 1.0 - 0.14 * sinf(PI * phase / GROUNDED);
            } else {
                let flight = (phase - GROUNDED) / (1.0 - GROUNDED);
                pose.lift = JUMP_HEIGHT * 4.0 * flight * (1.0 - flight);
                pose.stretch = 1.0 + 0.06 * sinf(PI * flight);
            }
        }
        Action::Spins => {
            let width = cosf(TAU * t / TURN_FRAMES);
            pose.turn = width.signum() * (NARROWEST + (1.0 - NARROWEST) * width.abs());
        }
    }
    pose
}

/// The part of a jump that is spent on the ground.
const GROUNDED: f32 = 0.25;
