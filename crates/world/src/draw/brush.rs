//! A thin hand over the rasteriser: shapes in local units, shaded, with or without an ink line.

use tiny_skia_path::{LineCap, LineJoin, Path, PathBuilder, Stroke, Transform};

use super::palette::{Light, Rgb, line_around};
use super::raster::{Filler, Picture};

/// A point in local units; y grows downwards.
pub(super) type Point = (f32, f32);

/// Draws into a picture under one transform and one light.
pub(super) struct Brush<'a> {
    pub picture: &'a mut Picture,
    pub filler: &'a mut Filler,
    /// Local units to pixels.
    pub transform: Transform,
    pub light: Light,
    /// The width of the ink line in local units.
    pub ink: f32,
}

impl Brush<'_> {
    /// Fills a shape without a line.
    pub(super) fn fill(&mut self, path: &Path, colour: Rgb) {
        let colour = self.light.shade(colour).map(|c| c.round() as u8);
        self.filler.fill(self.picture, path, self.transform, colour);
    }

    /// Fills a shape and draws its ink line.
    pub(super) fn inked(&mut self, path: &Path, colour: Rgb) {
        self.fill(path, colour);
        self.stroke(path, self.ink, line_around(colour));
    }

    /// Draws along a path.
    pub(super) fn stroke(&mut self, path: &Path, width: f32, colour: Rgb) {
        let stroke = Stroke {
            width,
            line_cap: LineCap::Round,
            line_join: LineJoin::Round,
            ..Stroke::default()
        };
        let resolution = self.transform.sx.abs().max(self.transform.sy.abs());
        let outline = path.stroke(&stroke, resolution).expect("a drawn line has a width");
        self.fill(&outline, colour);
    }

    /// A limb: a thick line with an ink line around it.
    pub(super) fn limb(&mut self, path: &Path, width: f32, colour: Rgb) {
        self.stroke(path, width + self.ink, line_around(colour));
        self.stroke(path, width - self.ink, colour);
    }
}

/// An upright ellipse.
pub(super) fn oval(centre: Point, rx: f32, ry: f32) -> Path {
    // The usual handle length of a quarter circle in one cubic.
    const HANDLE: f32 = 0.552_284_8;
    let (x, y) = centre;
    let (hx, hy) = (rx * HANDLE, ry * HANDLE);
    shape(|p| {
        p.move_to(x + rx, y);
        p.cubic_to(x + rx, y + hy, x + hx, y + ry, x, y + ry);
        p.cubic_to(x - hx, y + ry, x - rx, y + hy, x - rx, y);
        p.cubic_to(x - rx, y - hy, x - hx, y - ry, x, y - ry);
        p.cubic_to(x + hx, y - ry, x + rx, y - hy, x + rx, y);
        p.close();
    })
}

/// An upright rectangle with its corners cut round.
pub(super) fn block(left: f32, top: f32, right: f32, bottom: f32, round: f32) -> Path {
    shape(|p| {
        p.move_to(left + round, top);
        p.line_to(right - round, top);
        p.quad_to(right, top, right, top + round);
        p.line_to(right, bottom - round);
        p.quad_to(right, bottom, right - round, bottom);
        p.line_to(left + round, bottom);
        p.quad_to(left, bottom, left, bottom - round);
        p.line_to(left, top + round);
        p.quad_to(left, top, left + round, top);
        p.close();
    })
}

/// A closed shape with straight sides.
pub(super) fn polygon(points: &[Point]) -> Path {
    shape(|p| {
        for (i, &(x, y)) in points.iter().enumerate() {
            if i == 0 { p.move_to(x, y) } else { p.line_to(x, y) }
        }
        p.close();
    })
}

/// An open line through points.
pub(super) fn line(points: &[Point]) -> Path {
    shape(|p| {
        for (i, &(x, y)) in points.iter().enumerate() {
            if i == 0 { p.move_to(x, y) } else { p.line_to(x, y) }
        }
    })
}

/// An open curve from `a` to `b`, bent towards `bend`.
pub(super) fn arc(a: Point, bend: Point, b: Point) -> Path {
    shape(|p| {
        p.move_to(a.0, a.1);
        p.quad_to(bend.0, bend.1, b.0, b.1);
    })
}

/// A shape from its outline, which must have at least two points.
pub(super) fn shape(build: impl FnOnce(&mut PathBuilder)) -> Path {
    let mut builder = PathBuilder::new();
    build(&mut builder);
    builder.finish().expect("a drawn outline has an extent")
}
