//! One whole character: body, arms and accessory.

use super::brush::{Brush, Point, arc, block, line, oval, polygon};
use super::motion::Pose;
use super::palette::{Coat, INK, Rgb, coat};
use super::species::{Anchors, anchors, body};
use crate::attributes::{Accessory, Species};
use crate::story::Character;

const BLACK: Rgb = [44.0, 40.0, 54.0];
const RIBBON: Rgb = [250.0, 250.0, 250.0];
const TURQUOISE: Rgb = [30.0, 224.0, 214.0];
const ORANGE: Rgb = [255.0, 132.0, 20.0];

/// Draws a character around the brush's origin, its feet at (0, 0).
pub(super) fn figure(brush: &mut Brush, character: Character, pose: &Pose) {
    let coat = coat(character.colour);
    let mut anchors = anchors(character.species);
    if character.species == Species::Snail {
        anchors.neck.0 += 5.0 * pose.stride;
    }
    body(brush, character.species, &coat, pose);
    if character.accessory == Accessory::Scarf {
        scarf(brush, &anchors);
    }
    let with_balloon = character.accessory == Accessory::Balloon;
    let steel = [150.0, 160.0, 176.0];
    match character.species {
        Species::Snail => snail_arm(brush, &anchors, &coat, pose),
        Species::Robot => {
            let coat = Coat { main: steel, light: coat.main, ..coat };
            arms(brush, &anchors, &coat, pose, with_balloon);
        }
        _ => arms(brush, &anchors, &coat, pose, with_balloon),
    }
    match character.accessory {
        Accessory::Hat => hat(brush, anchors.hat),
        Accessory::Balloon => balloon(brush, &anchors),
        Accessory::None | Accessory::Scarf => {}
    }
}

/// The right arm hangs, swings or waves; the left hangs, swings or holds a balloon.
fn arms(b: &mut Brush, at: &Anchors, coat: &Coat, pose: &Pose, with_balloon: bool) {
    let (x, y) = at.shoulder;
    let swing = 7.0 * pose.stride;
    let left = if with_balloon { at.string } else { (-x - 7.0 + swing, y + 21.0) };
    b.limb(&line(&[(-x, y), left]), at.arm, coat.main);
    match pose.wave {
        Some(angle) => waving_arm(b, at, coat, angle),
        None => b.limb(&line(&[(x, y), (x + 7.0 - swing, y + 21.0)]), at.arm, coat.main),
    }
}

/// A snail shows an arm only to wave.
fn snail_arm(b: &mut Brush, at: &Anchors, coat: &Coat, pose: &Pose) {
    if let Some(angle) = pose.wave {
        waving_arm(b, at, &Coat { main: coat.light, light: coat.main, ..*coat }, angle);
    }
}

/// Out to the elbow, then up to a large hand.
fn waving_arm(b: &mut Brush, at: &Anchors, coat: &Coat, angle: f32) {
    const FOREARM: f32 = 30.0;
    let (sin, cos) = libm::sincosf(angle);
    let hand = (at.elbow.0 + FOREARM * sin, at.elbow.1 - FOREARM * cos);
    b.limb(&line(&[at.shoulder, at.elbow, hand]), at.arm, coat.main);
    b.inked(&oval(hand, 8.0, 8.0), coat.light);
}

fn hat(b: &mut Brush, (x, y): Point) {
    let crown =
        polygon(&[(x - 15.0, y - 30.0), (x + 15.0, y - 30.0), (x + 13.0, y), (x - 13.0, y)]);
    b.inked(&crown, BLACK);
    b.fill(&block(x - 13.2, y - 10.0, x + 13.2, y - 3.0, 0.1), RIBBON);
    b.inked(&block(x - 23.0, y - 3.5, x + 23.0, y + 3.5, 3.0), BLACK);
}

fn scarf(b: &mut Brush, at: &Anchors) {
    let (x, y) = at.neck;
    let reach = at.neck_reach;
    b.inked(&block(x + reach * 0.3, y, x + reach * 0.3 + 11.0, y + 25.0, 1.5), TURQUOISE);
    b.inked(&block(x - reach, y - 5.5, x + reach, y + 6.0, 5.0), TURQUOISE);
}

fn balloon(b: &mut Brush, at: &Anchors) {
    let (x, y) = at.balloon;
    let bend = (x - 3.0, (y + at.string.1) / 2.0 + 10.0);
    b.stroke(&arc((x, y + 17.0), bend, at.string), 1.8, INK);
    b.inked(&oval((x, y), 16.0, 18.5), ORANGE);
    b.fill(&oval((x - 5.0, y - 7.0), 3.5, 5.0), [255.0, 214.0, 160.0]);
}
