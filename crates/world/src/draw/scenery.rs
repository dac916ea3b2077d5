//! The six places: three layers each, from the horizon to the ground, in scenery units.
//!
//! A layer repeats every [`PERIOD`] units, so that a camera may pan for ever. The picture is 80
//! units high and shows the units around [`MIDDLE`].

use super::brush::{Brush, block, line, oval, polygon, shape};
use super::palette::{Light, Rgb, mix};
use crate::attributes::{Place, Time};

/// The width after which a layer repeats.
pub(super) const PERIOD: f32 = 160.0;
/// The unit in the middle of a picture whose camera has not moved.
pub(super) const MIDDLE: f32 = 64.0;
/// How far the layers scroll for one unit of camera movement, far to near.
pub(super) const PARALLAX: [f32; 3] = [0.25, 0.55, 1.0];

const WHITE: Rgb = [252.0, 253.0, 255.0];
/// Deeper than any picture.
const DEEP: f32 = 130.0;

/// Draws one period of a layer (0 far, 1 middle, 2 ground), its left end at the brush's origin.
pub(super) fn layer(brush: &mut Brush, place: Place, time: Time, layer: usize) {
    let draw = match place {
        Place::Snow => [snow_far, snow_middle, snow_ground],
        Place::Forest => [forest_far, forest_middle, forest_ground],
        Place::Beach => [beach_far, beach_middle, beach_ground],
        Place::City => [city_far, city_middle, city_ground],
        Place::Desert => [desert_far, desert_middle, desert_ground],
        Place::Meadow => [meadow_far, meadow_middle, meadow_ground],
    };
    draw[layer](brush, time);
}

/// A flat ground from `top` down.
fn ground(b: &mut Brush, top: f32, colour: Rgb) {
    b.fill(&block(-0.6, top, PERIOD + 0.6, DEEP, 0.1), colour);
}

/// Rounded hills from `base` down: (middle, half width, height) each.
fn hills(b: &mut Brush, base: f32, hills: &[(f32, f32, f32)], colour: Rgb) {
    for &(x, reach, height) in hills {
        for x in [x - PERIOD, x, x + PERIOD] {
            let hill = shape(|p| {
                p.move_to(x - reach, base);
                p.cubic_to(
                    x - reach * 0.5,
                    base,
                    x - reach * 0.45,
                    base - height,
                    x,
                    base - height,
                );
                p.cubic_to(x + reach * 0.45, base - height, x + reach * 0.5, base, x + reach, base);
                p.close();
            });
            b.fill(&hill, colour);
        }
    }
}

fn snow_far(b: &mut Brush, _: Time) {
    let (rock, shadow) = ([150.0, 178.0, 214.0], [126.0, 156.0, 198.0]);
    for (x, y, reach) in [(28.0, 20.0, 36.0), (132.0, 16.0, 40.0), (82.0, 30.0, 30.0)] {
        b.fill(&polygon(&[(x - reach, 58.0), (x, y), (x + reach, 58.0)]), rock);
        b.fill(&polygon(&[(x, y), (x + reach, 58.0), (x + reach * 0.2, 58.0)]), shadow);
        let cap = reach / (58.0 - y) * 11.0;
        let snow = polygon(&[
            (x, y - 0.5),
            (x + cap, y + 11.0),
            (x + cap * 0.4, y + 8.5),
            (x, y + 13.0),
            (x - cap * 0.4, y + 8.5),
            (x - cap, y + 11.0),
        ]);
        b.fill(&snow, WHITE);
    }
    ground(b, 56.0, [214.0, 228.0, 246.0]);
}

fn snow_middle(b: &mut Brush, _: Time) {
    hills(b, 62.0, &[(20.0, 50.0, 12.0), (110.0, 60.0, 10.0)], [226.0, 236.0, 250.0]);
    for (x, y, size) in
        [(8.0, 58.0, 1.0), (25.0, 61.0, 0.8), (118.0, 59.0, 1.1), (140.0, 60.0, 0.8)]
    {
        fir(b, x, y, 26.0 * size, [52.0, 112.0, 104.0], Some(WHITE));
    }
}

fn snow_ground(b: &mut Brush, _: Time) {
    ground(b, 60.0, [244.0, 248.0, 255.0]);
    for (x, y, reach) in [
        (20.0, 66.0, 16.0),
        (74.0, 63.5, 12.0),
        (112.0, 70.0, 20.0),
        (52.0, 75.0, 18.0),
        (148.0, 64.0, 9.0),
    ] {
        b.fill(&oval((x, y), reach, 1.5), [206.0, 222.0, 244.0]);
    }
}

/// A fir of three tiers, with its foot at (x, y).
fn fir(b: &mut Brush, x: f32, y: f32, height: f32, needles: Rgb, snow: Option<Rgb>) {
    let reach = height * 0.34;
    b.fill(&block(x - 1.5, y - height * 0.2, x + 1.5, y, 0.2), [92.0, 66.0, 54.0]);
    for tier in 0..3 {
        let tier = tier as f32;
        let bottom = y - height * (0.14 + 0.25 * tier);
        let half = reach * (1.0 - 0.24 * tier);
        let top = bottom - height * 0.40;
        b.fill(&polygon(&[(x - half, bottom), (x, top), (x + half, bottom)]), needles);
        if let Some(snow) = snow {
            let edge = half * 0.5;
            let cap = bottom - height * 0.2;
            b.fill(&polygon(&[(x - edge, cap), (x, top), (x + edge, cap), (x, cap - 1.5)]), snow);
        }
    }
}

fn forest_far(b: &mut Brush, _: Time) {
    for i in 0..10 {
        let x = 8.0 + 16.0 * i as f32;
        let height = [34.0, 26.0, 38.0, 30.0, 24.0][i % 5];
        fir(b, x, 60.0, height, [122.0, 178.0, 150.0], None);
    }
    ground(b, 52.0, [122.0, 178.0, 150.0]);
}

fn forest_middle(b: &mut Brush, _: Time) {
    for (x, height) in [(2.0, 58.0), (26.0, 46.0), (104.0, 48.0), (128.0, 60.0), (66.0, 30.0)] {
        fir(b, x, 62.0, height, [32.0, 110.0, 72.0], None);
    }
    hills(b, 63.0, &[(40.0, 60.0, 5.0), (120.0, 50.0, 6.0)], [44.0, 118.0, 66.0]);
}

fn forest_ground(b: &mut Brush, _: Time) {
    ground(b, 60.0, [62.0, 134.0, 62.0]);
    for (x, y) in [(16.0, 64.0), (94.0, 62.5), (130.0, 66.0)] {
        b.fill(&oval((x, y), 9.0, 3.5), [40.0, 104.0, 52.0]);
        b.fill(&oval((x + 9.0, y + 1.0), 6.0, 2.5), [40.0, 104.0, 52.0]);
    }
    for (x, y) in [(40.0, 70.0), (112.0, 74.0), (150.0, 69.0)] {
        b.fill(&block(x - 1.0, y - 2.5, x + 1.0, y + 1.0, 0.2), [244.0, 232.0, 214.0]);
        b.fill(&oval((x, y - 3.0), 3.4, 2.2), [214.0, 62.0, 52.0]);
    }
}

fn beach_far(b: &mut Brush, _: Time) {
    b.fill(&block(-0.6, 42.0, PERIOD + 0.6, DEEP, 0.1), [24.0, 124.0, 196.0]);
    hills(b, 42.2, &[(34.0, 22.0, 6.0)], [86.0, 150.0, 130.0]);
    for (x, y, reach) in
        [(16.0, 47.0, 9.0), (62.0, 50.0, 12.0), (92.0, 46.0, 8.0), (140.0, 51.0, 10.0)]
    {
        b.fill(&oval((x, y), reach, 0.7), [120.0, 196.0, 236.0]);
    }
    b.fill(
        &polygon(&[(98.0, 43.0), (114.0, 43.0), (110.0, 46.5), (102.0, 46.5)]),
        [150.0, 74.0, 48.0],
    );
    b.fill(&polygon(&[(106.5, 26.0), (106.5, 41.5), (117.0, 41.5)]), WHITE);
    b.fill(&polygon(&[(105.5, 29.0), (105.5, 41.5), (98.5, 41.5)]), [240.0, 96.0, 84.0]);
}

fn beach_middle(b: &mut Brush, _: Time) {
    hills(b, 66.0, &[(0.0, 46.0, 9.0), (136.0, 40.0, 8.0)], [236.0, 208.0, 146.0]);
    palm(b, 10.0, 60.0, 42.0, 1.0);
    palm(b, 132.0, 61.0, 34.0, -1.0);
}

fn palm(b: &mut Brush, x: f32, y: f32, height: f32, lean: f32) {
    let top = (x + lean * 8.0, y - height);
    let trunk = shape(|p| {
        p.move_to(x - 2.6, y);
        p.quad_to(x - 1.0, y - height * 0.6, top.0 - 1.4, top.1);
        p.line_to(top.0 + 1.4, top.1);
        p.quad_to(x + 2.6, y - height * 0.6, x + 2.6, y);
        p.close();
    });
    b.fill(&trunk, [140.0, 98.0, 62.0]);
    for (dx, dy) in
        [(-18.0, 4.0), (18.0, 4.0), (-14.0, -7.0), (14.0, -7.0), (-9.0, 12.0), (9.0, 12.0)]
    {
        let leaf = shape(|p| {
            p.move_to(top.0, top.1 + 1.5);
            p.quad_to(top.0 + dx * 0.5, top.1 + dy - 8.0, top.0 + dx, top.1 + dy);
            p.quad_to(top.0 + dx * 0.5, top.1 + dy - 2.0, top.0, top.1 + 1.5);
            p.close();
        });
        b.fill(&leaf, [44.0, 148.0, 82.0]);
    }
}

fn beach_ground(b: &mut Brush, _: Time) {
    hills(b, 60.2, &[(40.0, 40.0, 3.2), (120.0, 40.0, 3.2)], WHITE);
    ground(b, 59.0, WHITE);
    hills(b, 62.0, &[(40.0, 40.0, 3.2), (120.0, 40.0, 3.2)], [246.0, 222.0, 160.0]);
    ground(b, 60.8, [246.0, 222.0, 160.0]);
    for (x, y, reach) in
        [(26.0, 67.0, 12.0), (96.0, 65.0, 10.0), (70.0, 75.0, 16.0), (138.0, 70.0, 12.0)]
    {
        b.fill(&oval((x, y), reach, 1.1), [228.0, 196.0, 128.0]);
    }
    b.fill(&star(110.0, 73.0, 3.6), [240.0, 112.0, 92.0]);
    b.fill(&oval((30.0, 73.0), 3.0, 2.2), [250.0, 180.0, 190.0]);
}

fn star(x: f32, y: f32, radius: f32) -> tiny_skia_path::Path {
    let points: [(f32, f32); 10] = std::array::from_fn(|i| {
        let angle = std::f32::consts::PI * (i as f32 / 5.0 - 0.5);
        let r = if i % 2 == 0 { radius } else { radius * 0.45 };
        (x + r * libm::cosf(angle), y + r * libm::sinf(angle))
    });
    polygon(&points)
}

fn city_far(b: &mut Brush, _: Time) {
    let tops = [30.0, 20.0, 26.0, 36.0, 18.0, 32.0, 24.0, 38.0, 22.0, 28.0];
    for (i, top) in tops.into_iter().enumerate() {
        let x = 16.0 * i as f32;
        b.fill(&block(x + 1.0, top, x + 14.0, 64.0, 0.1), [146.0, 158.0, 190.0]);
    }
}

fn city_middle(b: &mut Brush, time: Time) {
    let houses: [(f32, f32, f32, Rgb); 6] = [
        (0.0, 24.0, 22.0, [178.0, 96.0, 84.0]),
        (24.0, 36.0, 18.0, [206.0, 172.0, 128.0]),
        (44.0, 44.0, 22.0, [112.0, 132.0, 158.0]),
        (68.0, 40.0, 20.0, [196.0, 136.0, 104.0]),
        (92.0, 32.0, 20.0, [128.0, 118.0, 156.0]),
        (116.0, 20.0, 26.0, [196.0, 180.0, 156.0]),
    ];
    let lit = time != Time::Day;
    let glass = if lit { [255.0, 222.0, 112.0] } else { [84.0, 116.0, 156.0] };
    for (left, top, width, wall) in
        houses.into_iter().chain([(144.0, 38.0, 14.0, [106.0, 138.0, 136.0])])
    {
        b.fill(&block(left, top, left + width, 63.0, 0.1), wall);
        b.fill(
            &block(left - 0.8, top - 1.5, left + width + 0.8, top + 0.8, 0.1),
            mix(wall, [40.0, 30.0, 50.0], 0.4),
        );
        let light = b.light;
        if lit {
            b.light = Light::none();
        }
        let columns = ((width - 2.0) / 8.5).floor();
        let gap = (width - columns * 4.8) / (columns + 1.0);
        let mut y = top + 4.0;
        while y < 53.0 {
            for column in 0..columns as usize {
                let x = left + gap + column as f32 * (4.8 + gap);
                b.fill(&block(x, y, x + 4.8, y + 5.4, 0.1), glass);
            }
            y += 10.0;
        }
        b.light = light;
    }
}

fn city_ground(b: &mut Brush, _: Time) {
    ground(b, 60.0, [190.0, 190.0, 196.0]);
    ground(b, 65.0, [150.0, 150.0, 158.0]);
    ground(b, 66.2, [92.0, 94.0, 106.0]);
    for i in 0..5 {
        let x = 8.0 + 32.0 * i as f32;
        b.fill(&block(x, 72.5, x + 16.0, 74.5, 0.1), [236.0, 228.0, 190.0]);
        b.stroke(&line(&[(x + 8.0, 60.5), (x + 7.0, 65.0)]), 0.7, [150.0, 150.0, 158.0]);
    }
}

fn desert_far(b: &mut Brush, _: Time) {
    let (face, side) = ([214.0, 140.0, 92.0], [188.0, 112.0, 78.0]);
    for (x, y, reach) in [(30.0, 30.0, 30.0), (118.0, 24.0, 36.0)] {
        b.fill(&polygon(&[(x - reach, 60.0), (x, y), (x + reach, 60.0)]), face);
        b.fill(&polygon(&[(x, y), (x + reach, 60.0), (x + reach * 0.3, 60.0)]), side);
    }
    hills(b, 62.0, &[(74.0, 50.0, 12.0), (154.0, 40.0, 10.0)], [232.0, 168.0, 104.0]);
}

fn desert_middle(b: &mut Brush, _: Time) {
    hills(b, 66.0, &[(20.0, 54.0, 14.0), (106.0, 60.0, 13.0)], [238.0, 180.0, 96.0]);
    cactus(b, 16.0, 60.0, 30.0);
    cactus(b, 120.0, 61.0, 36.0);
}

fn cactus(b: &mut Brush, x: f32, y: f32, height: f32) {
    let green = [58.0, 138.0, 76.0];
    b.stroke(&line(&[(x, y), (x, y - height)]), 6.0, green);
    let (low, high) = (y - height * 0.40, y - height * 0.55);
    b.stroke(&line(&[(x, low), (x - 8.0, low), (x - 8.0, low - 9.0)]), 4.2, green);
    b.stroke(&line(&[(x, high), (x + 8.0, high), (x + 8.0, high - 8.0)]), 4.2, green);
}

fn desert_ground(b: &mut Brush, _: Time) {
    ground(b, 60.0, [248.0, 204.0, 122.0]);
    for (x, y, reach) in
        [(22.0, 65.0, 20.0), (88.0, 63.5, 16.0), (60.0, 75.0, 24.0), (126.0, 70.0, 18.0)]
    {
        b.fill(&oval((x, y), reach, 1.0), [226.0, 172.0, 92.0]);
    }
    for (x, y, reach) in [(44.0, 69.0, 3.4), (146.0, 66.0, 2.8), (104.0, 76.0, 4.0)] {
        b.fill(&oval((x, y), reach, reach * 0.65), [176.0, 120.0, 84.0]);
    }
}

fn meadow_far(b: &mut Brush, _: Time) {
    hills(b, 62.0, &[(10.0, 60.0, 26.0), (130.0, 54.0, 24.0)], [150.0, 206.0, 140.0]);
    hills(b, 62.0, &[(70.0, 60.0, 18.0)], [130.0, 196.0, 116.0]);
}

fn meadow_middle(b: &mut Brush, _: Time) {
    hills(b, 66.0, &[(30.0, 60.0, 14.0), (116.0, 58.0, 13.0)], [112.0, 190.0, 82.0]);
    b.fill(&block(14.0, 42.0, 17.6, 60.0, 0.2), [128.0, 88.0, 58.0]);
    for (x, y, r) in [(16.0, 34.0, 12.0), (7.0, 39.0, 8.5), (25.0, 39.0, 8.5)] {
        b.fill(&oval((x, y), r, r), [62.0, 150.0, 66.0]);
    }
    b.fill(&block(106.0, 45.0, 126.0, 60.0, 0.1), [252.0, 240.0, 220.0]);
    b.fill(&polygon(&[(102.0, 46.0), (116.0, 34.0), (130.0, 46.0)]), [212.0, 84.0, 66.0]);
    b.fill(&block(113.0, 51.0, 119.0, 60.0, 0.1), [136.0, 92.0, 62.0]);
}

fn meadow_ground(b: &mut Brush, _: Time) {
    ground(b, 59.0, [124.0, 208.0, 76.0]);
    let blossoms: [Rgb; 3] = [[255.0, 120.0, 160.0], [255.0, 236.0, 90.0], [252.0, 252.0, 252.0]];
    let spots = [
        (10.0, 64.0),
        (34.0, 71.0),
        (50.0, 62.5),
        (88.0, 65.0),
        (100.0, 75.0),
        (124.0, 63.0),
        (142.0, 71.0),
        (66.0, 76.0),
    ];
    for (i, (x, y)) in spots.into_iter().enumerate() {
        b.stroke(&line(&[(x, y), (x, y + 3.2)]), 1.0, [60.0, 146.0, 52.0]);
        b.fill(&oval((x, y), 2.1, 2.1), blossoms[i % 3]);
        b.fill(&oval((x, y), 0.8, 0.8), [236.0, 150.0, 40.0]);
    }
}
