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
    let reach = if character.species == Species::Snail { 5.0 * pose.stride } else { 0.0 };
    anchors.hat.0 += reach;
    anchors.neck.0 += reach;
    let with_balloon = character.accessory == Accessory::Balloon;
    body(brush, character.species, &coat, pose);
    if character.accessory == Accessory::Scarf {
        scarf(brush, &anchors);
    }
    arms(brush, character.species, &anchors, &coat, pose, with_balloon);
    match character.accessory {
        Accessory::Hat => hat(brush, anchors.hat),
        Accessory::Balloon => balloon(brush, anchors.balloon_hand),
        Accessory::None | Accessory::Scarf => {}
    }
}

/// The right arm hangs, swings or waves; the left hangs, swings or holds a balloon. A snail shows
/// an arm only when it has something to do with it.
fn arms(
    b: &mut Brush,
    species: Species,
    at: &Anchors,
    coat: &Coat,
    pose: &Pose,
    with_balloon: bool,
) {
    let colour = if species == Species::Robot { [150.0, 160.0, 176.0] } else { coat.main };
    let snail = species == Species::Snail;
    let right = at.shoulder;
    let left = if snail { (20.0, -20.0) } else { (-right.0, right.1) };
    let swing = 7.0 * pose.stride;
    if with_balloon {
        arm(b, left, at.balloon_hand, at.arm, colour);
    } else if !snail {
        arm(b, left, (left.0 - 7.0 + swing, left.1 + 21.0), at.arm, colour);
    }
    if let Some(angle) = pose.wave {
        let (sin, cos) = angle.sin_cos();
        let length = 30.0;
        arm(b, right, (right.0 + 3.0 + length * sin, right.1 - length * cos), at.arm, colour);
    } else if !snail {
        arm(b, right, (right.0 + 7.0 - swing, right.1 + 21.0), at.arm, colour);
    }
}

fn arm(b: &mut Brush, shoulder: Point, hand: Point, width: f32, colour: Rgb) {
    b.limb(&line(&[shoulder, hand]), width, colour);
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

fn balloon(b: &mut Brush, hand: Point) {
    let centre = (hand.0 - 5.0, hand.1 - 46.0);
    b.stroke(&arc((centre.0, centre.1 + 17.0), (hand.0 - 7.0, hand.1 - 10.0), hand), 1.8, INK);
    b.inked(&oval(centre, 15.5, 18.0), ORANGE);
    b.fill(&oval((centre.0 - 5.0, centre.1 - 7.0), 3.5, 5.0), [255.0, 214.0, 160.0]);
}
