//! The five bodies, in figure units: 100 units high, the feet at the origin, y downwards.

use super::brush::{Brush, Point, arc, block, line, oval, polygon, shape};
use super::motion::Pose;
use super::palette::{Coat, INK, Rgb, mix};
use crate::attributes::Species;

const WHITE: Rgb = [255.0, 255.0, 255.0];
const PINK: Rgb = [255.0, 150.0, 170.0];

/// Where accessories and arms are fixed to a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Anchors {
    /// The middle of a hat's brim.
    pub hat: Point,
    /// The middle of the neck.
    pub neck: Point,
    /// Half the length of a scarf around the neck.
    pub neck_reach: f32,
    /// The right shoulder; the left one mirrors it.
    pub shoulder: Point,
    /// The elbow of a waving arm.
    pub elbow: Point,
    /// The lower end of a balloon's string.
    pub string: Point,
    /// The middle of the balloon.
    pub balloon: Point,
    /// Arm thickness.
    pub arm: f32,
    /// What a close shot centres on.
    pub face: Point,
}

/// Where things are fixed to a species.
pub(super) fn anchors(species: Species) -> Anchors {
    match species {
        Species::Fox => Anchors {
            hat: (0.0, -86.0),
            neck: (0.0, -44.0),
            neck_reach: 17.0,
            shoulder: (13.0, -34.0),
            elbow: (37.0, -31.0),
            string: (-36.0, -46.0),
            balloon: (-46.0, -93.0),
            arm: 10.0,
            face: (0.0, -72.0),
        },
        Species::Rabbit => Anchors {
            hat: (0.0, -66.0),
            neck: (0.0, -36.0),
            neck_reach: 15.0,
            shoulder: (12.0, -29.0),
            elbow: (31.0, -29.0),
            string: (-30.0, -44.0),
            balloon: (-40.0, -90.0),
            arm: 8.5,
            face: (0.0, -70.0),
        },
        Species::Bear => Anchors {
            hat: (0.0, -94.0),
            neck: (0.0, -51.0),
            neck_reach: 26.0,
            shoulder: (28.0, -42.0),
            elbow: (40.0, -41.0),
            string: (-45.0, -56.0),
            balloon: (-50.0, -100.0),
            arm: 15.0,
            face: (0.0, -72.0),
        },
        Species::Robot => Anchors {
            hat: (0.0, -88.0),
            neck: (0.0, -49.0),
            neck_reach: 17.0,
            shoulder: (26.0, -40.0),
            elbow: (40.0, -38.0),
            string: (-42.0, -52.0),
            balloon: (-50.0, -98.0),
            arm: 9.0,
            face: (0.0, -72.0),
        },
        Species::Snail => Anchors {
            hat: (-12.0, -73.0),
            neck: (31.0, -24.0),
            neck_reach: 14.0,
            shoulder: (42.0, -15.0),
            elbow: (51.0, -18.0),
            string: (-38.0, -62.0),
            balloon: (-46.0, -92.0),
            arm: 8.5,
            face: (7.0, -52.0),
        },
    }
}

/// Draws a body without arms and accessories.
pub(super) fn body(brush: &mut Brush, species: Species, coat: &Coat, pose: &Pose) {
    match species {
        Species::Fox => fox(brush, coat, pose),
        Species::Rabbit => rabbit(brush, coat, pose),
        Species::Bear => bear(brush, coat, pose),
        Species::Robot => robot(brush, coat, pose),
        Species::Snail => snail(brush, coat, pose),
    }
}

fn fox(b: &mut Brush, c: &Coat, pose: &Pose) {
    let tail = shape(|p| {
        p.move_to(-8.0, -6.0);
        p.cubic_to(-34.0, 4.0, -58.0, -10.0, -56.0, -40.0);
        p.quad_to(-54.0, -56.0, -42.0, -62.0);
        p.cubic_to(-30.0, -48.0, -20.0, -38.0, -8.0, -24.0);
        p.close();
    });
    b.inked(&tail, c.main);
    let tip = shape(|p| {
        p.move_to(-55.0, -44.0);
        p.quad_to(-53.0, -57.0, -42.0, -62.0);
        p.quad_to(-36.0, -54.0, -33.0, -50.0);
        p.quad_to(-42.0, -40.0, -55.0, -44.0);
        p.close();
    });
    b.fill(&tip, c.light);
    legs(b, 8.0, 9.0, c.dark, pose);
    let chest = shape(|p| {
        p.move_to(-10.0, -46.0);
        p.cubic_to(-24.0, -22.0, -20.0, -5.0, 0.0, -5.0);
        p.cubic_to(20.0, -5.0, 24.0, -22.0, 10.0, -46.0);
        p.close();
    });
    b.inked(&chest, c.main);
    b.fill(&oval((0.0, -20.0), 9.0, 12.0), c.light);
    for side in [-1.0, 1.0] {
        b.inked(
            &polygon(&[(side * 35.0, -106.0), (side * 8.0, -88.0), (side * 34.0, -68.0)]),
            c.main,
        );
        b.fill(
            &polygon(&[(side * 31.0, -98.0), (side * 17.0, -88.0), (side * 31.0, -77.0)]),
            c.dark,
        );
    }
    let head = shape(|p| {
        p.move_to(0.0, -42.0);
        p.quad_to(-22.0, -46.0, -38.0, -70.0);
        p.quad_to(-24.0, -90.0, 0.0, -90.0);
        p.quad_to(24.0, -90.0, 38.0, -70.0);
        p.quad_to(22.0, -46.0, 0.0, -42.0);
        p.close();
    });
    b.inked(&head, c.main);
    for side in [-1.0, 1.0] {
        let cheek = shape(|p| {
            p.move_to(0.0, -44.0);
            p.quad_to(side * 20.0, -47.0, side * 35.0, -69.0);
            p.quad_to(side * 14.0, -68.0, 0.0, -58.0);
            p.close();
        });
        b.fill(&cheek, WHITE);
    }
    eyes(b, (13.0, -72.0), 6.0);
    b.fill(&oval((0.0, -47.0), 6.0, 5.0), INK);
}

fn rabbit(b: &mut Brush, c: &Coat, pose: &Pose) {
    for side in [-1.0, 1.0] {
        let ear = |half: f32, top: f32, bottom: f32| {
            shape(|p| {
                p.move_to(side * (9.0 - half), bottom);
                p.cubic_to(
                    side * (10.0 - 1.6 * half),
                    -88.0,
                    side * (17.0 - 1.4 * half),
                    top,
                    side * 18.0,
                    top,
                );
                p.cubic_to(
                    side * (18.0 + 1.5 * half),
                    top,
                    side * (13.0 + 1.7 * half),
                    -84.0,
                    side * (9.0 + half),
                    bottom,
                );
                p.close();
            })
        };
        b.inked(&ear(7.0, -112.0, -60.0), c.main);
        b.fill(&ear(3.0, -104.0, -68.0), PINK);
    }
    legs(b, 8.0, 9.0, c.main, pose);
    b.inked(&oval((0.0, -22.0), 18.0, 19.0), c.main);
    b.fill(&oval((0.0, -18.0), 10.5, 13.0), c.light);
    b.inked(&oval((0.0, -53.0), 22.0, 19.0), c.main);
    b.fill(&oval((0.0, -44.5), 12.0, 8.5), WHITE);
    eyes(b, (10.0, -56.0), 6.0);
    b.fill(&oval((0.0, -48.0), 3.8, 3.0), [240.0, 90.0, 120.0]);
    b.fill(&block(-3.2, -43.0, 3.2, -37.0, 0.5), WHITE);
    b.stroke(&line(&[(0.0, -45.0), (0.0, -37.5)]), 1.2, INK);
}

fn bear(b: &mut Brush, c: &Coat, pose: &Pose) {
    for side in [-1.0, 1.0] {
        b.inked(&oval((side * 25.0, -92.0), 11.0, 11.0), c.main);
        b.fill(&oval((side * 25.0, -92.0), 5.5, 5.5), c.dark);
    }
    legs(b, 18.0, 15.0, c.dark, pose);
    b.inked(&oval((0.0, -31.0), 37.0, 28.0), c.main);
    b.fill(&oval((0.0, -27.0), 22.0, 19.0), c.light);
    b.inked(&oval((0.0, -72.0), 33.0, 26.0), c.main);
    b.fill(&oval((0.0, -62.0), 16.0, 13.0), c.light);
    eyes(b, (14.0, -77.0), 6.0);
    b.fill(&oval((0.0, -67.0), 7.0, 5.0), INK);
    b.stroke(&arc((-6.0, -56.0), (0.0, -51.0), (6.0, -56.0)), 2.0, INK);
}

fn robot(b: &mut Brush, c: &Coat, pose: &Pose) {
    let steel = [150.0, 160.0, 176.0];
    for side in [-1.0, 1.0] {
        let step = (side * pose.stride * 6.0).max(0.0);
        b.inked(&block(side * 12.0 - 6.0, -14.0, side * 12.0 + 6.0, -3.0 - step, 0.5), steel);
        b.inked(&block(side * 12.0 - 10.0, -7.0 - step, side * 12.0 + 10.0, -step, 2.0), c.dark);
    }
    b.stroke(&line(&[(0.0, -88.0), (0.0, -100.0)]), 3.5, INK);
    b.inked(&oval((0.0, -104.0), 6.0, 6.0), [255.0, 236.0, 90.0]);
    b.fill(&block(-7.0, -54.0, 7.0, -44.0, 0.5), steel);
    b.inked(&block(-26.0, -48.0, 26.0, -10.0, 3.0), c.main);
    b.inked(&block(-15.0, -40.0, 15.0, -18.0, 2.0), c.light);
    b.fill(&oval((0.0, -29.0), 7.0, 7.0), INK);
    b.stroke(&line(&[(0.0, -29.0), (3.0, -32.5)]), 2.0, WHITE);
    for side in [-1.0, 1.0] {
        b.inked(&block(side * 33.0 - 4.0, -78.0, side * 33.0 + 4.0, -64.0, 1.0), steel);
    }
    b.inked(&block(-31.0, -90.0, 31.0, -52.0, 4.0), c.main);
    b.fill(&block(-25.0, -84.0, 25.0, -66.0, 5.0), INK);
    for side in [-1.0, 1.0] {
        b.fill(
            &block(side * 12.0 - 6.5, -80.5, side * 12.0 + 6.5, -69.5, 2.0),
            [120.0, 255.0, 235.0],
        );
    }
    b.fill(&block(-14.0, -61.0, 14.0, -56.0, 1.0), c.dark);
}

fn snail(b: &mut Brush, c: &Coat, pose: &Pose) {
    let reach = 5.0 * pose.stride;
    let skin = mix(c.light, [255.0, 236.0, 205.0], 0.35);
    for (foot, tip) in [(26.0, 22.0), (38.0, 46.0)] {
        let stalk = line(&[(foot + reach, -40.0), (tip + reach, -62.0)]);
        b.limb(&stalk, 6.0, skin);
    }
    let foot = shape(|p| {
        p.move_to(-56.0, 0.0);
        p.cubic_to(-40.0, -14.0, 4.0, -16.0, 16.0, -18.0);
        p.cubic_to(22.0, -26.0, 14.0 + reach, -48.0, 32.0 + reach, -49.0);
        p.cubic_to(52.0 + reach, -48.0, 52.0 + reach, -26.0, 46.0 + reach, -16.0);
        p.quad_to(44.0 + reach, -2.0, 34.0 + reach, 0.0);
        p.close();
    });
    b.inked(&foot, skin);
    b.inked(&oval((-12.0, -40.0), 36.0, 34.0), c.main);
    b.stroke(&spiral((-12.0, -38.0), 25.0), 5.5, c.dark);
    for x in [22.0, 46.0] {
        b.inked(&oval((x + reach, -65.0), 8.0, 8.0), WHITE);
        b.fill(&oval((x + 2.0 + reach, -65.0), 4.2, 4.6), INK);
    }
    b.stroke(&arc((30.0 + reach, -32.0), (38.0 + reach, -26.0), (44.0 + reach, -34.0)), 2.2, INK);
}

/// A spiral of one and three quarter turns, from the outside in.
fn spiral(centre: Point, radius: f32) -> tiny_skia_path::Path {
    const ARCS: usize = 14;
    const TURNS: f32 = 1.75 * std::f32::consts::TAU;
    let at = |part: f32, stretch: f32| {
        let angle = 0.6 + part * TURNS;
        let r = radius * (1.0 - 0.88 * part) * stretch;
        (centre.0 + r * libm::cosf(angle), centre.1 + r * libm::sinf(angle))
    };
    // The tangents at an arc's ends meet this much further out than the arc.
    let bulge = 1.0 / libm::cosf(TURNS / ARCS as f32 / 2.0);
    shape(|p| {
        let (x, y) = at(0.0, 1.0);
        p.move_to(x, y);
        for arc in 0..ARCS {
            let [middle, end] = [0.5, 1.0].map(|ahead| (arc as f32 + ahead) / ARCS as f32);
            let ((bend_x, bend_y), (x, y)) = (at(middle, bulge), at(end, 1.0));
            p.quad_to(bend_x, bend_y, x, y);
        }
    })
}

/// Two feet that lift in turn.
fn legs(b: &mut Brush, apart: f32, width: f32, colour: Rgb, pose: &Pose) {
    for side in [-1.0, 1.0] {
        let step = (side * pose.stride * 7.0).max(0.0);
        let forward = side * pose.stride * 4.0;
        b.inked(&oval((side * apart + forward, -6.0 - step), width, 6.0), colour);
    }
}

/// Two large eyes, mirrored about the middle.
fn eyes(b: &mut Brush, at: Point, radius: f32) {
    for side in [-1.0, 1.0] {
        let centre = (side * at.0, at.1);
        b.inked(&oval(centre, radius, radius * 1.25), WHITE);
        b.fill(&oval((centre.0 * 0.9, centre.1 + 0.5), radius * 0.62, radius * 0.85), INK);
        b.fill(
            &oval(
                (centre.0 * 0.9 + radius * 0.2, centre.1 - radius * 0.35),
                radius * 0.2,
                radius * 0.2,
            ),
            WHITE,
        );
    }
}
