//! RGB to the three planes of a film and back: ITU-R BT.601, limited range, chroma at half size.
//! Videos of other makers come back by the colours they say they have.
//!
//! Written here because the codec's own conversion truncates, which darkens a film by half a
//! level. Fixed point with 16 fractional bits; halves round up.
//!
//! Source: ITU-R BT.601-7, section 2.5; BT.709-6, section 3.

use crate::frame::Frame;

/// One half in 16-bit fixed point.
const HALF: i32 = 1 << 15;

/// A picture as the codec stores it. All rows follow one another without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planes {
    /// Pixels in a row of the luma plane, even.
    pub width: usize,
    /// Rows of the luma plane, even.
    pub height: usize,
    /// Luma, `height * width` bytes.
    pub y: Vec<u8>,
    /// Blue difference, `height / 2 * width / 2` bytes.
    pub u: Vec<u8>,
    /// Red difference, `height / 2 * width / 2` bytes.
    pub v: Vec<u8>,
}

/// Convert a frame whose sides are even; chroma is the mean of two by two pixels.
pub fn planes_from_frame(frame: &Frame) -> Planes {
    let (width, height) = (frame.width, frame.height);
    let y = frame.rgb.chunks_exact(3).map(|p| luma([p[0], p[1], p[2]])).collect();
    let mut u = Vec::with_capacity(width * height / 4);
    let mut v = Vec::with_capacity(width * height / 4);
    for rows in frame.rgb.chunks_exact((6 * width).max(1)) {
        let (above, below) = rows.split_at(3 * width);
        let (above, below) = (above.as_chunks::<6>().0, below.as_chunks::<6>().0);
        for (a, b) in above.iter().zip(below) {
            let sum = |c: usize| [a[c], a[c + 3], b[c], b[c + 3]].map(i32::from).iter().sum();
            let [blue, red] = chroma_of_four([sum(0), sum(1), sum(2)]);
            u.push(blue);
            v.push(red);
        }
    }
    Planes { width, height, y, u, v }
}

/// How luma and colour differences become RGB, in fixed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colours {
    black: i32,
    luma: i32,
    red_v: i32,
    green_u: i32,
    green_v: i32,
    blue_u: i32,
}

impl Colours {
    /// ITU-R BT.601, limited range: our films, and videos that do not say what they are.
    pub fn bt601() -> Self {
        Self::new([0.299, 0.114], false)
    }

    /// The colours that code points of ISO/IEC 23091-2 stand for; `None` for rare ones.
    pub fn of(matrix: u16, full_range: bool) -> Option<Self> {
        match matrix {
            1 => Some(Self::new([0.2126, 0.0722], full_range)),
            2 | 5 | 6 => Some(Self::new([0.299, 0.114], full_range)),
            _ => None,
        }
    }

    /// From the shares of red and blue in luma.
    fn new([red, blue]: [f64; 2], full_range: bool) -> Self {
        let green = 1.0 - red - blue;
        let (black, luma, chroma) =
            if full_range { (0, 1.0, 1.0) } else { (16, 255.0 / 219.0, 255.0 / 224.0) };
        let fixed = |factor: f64| (factor * f64::from(2 * HALF)).round() as i32;
        Self {
            black,
            luma: fixed(luma),
            red_v: fixed(2.0 * (1.0 - red) * chroma),
            green_u: fixed(2.0 * (1.0 - blue) * blue / green * chroma),
            green_v: fixed(2.0 * (1.0 - red) * red / green * chroma),
            blue_u: fixed(2.0 * (1.0 - blue) * chroma),
        }
    }

    /// The colour of one pixel from its luma and the chroma it shares.
    pub fn rgb(&self, y: u8, u: u8, v: u8) -> [u8; 3] {
        let luma = self.luma * (i32::from(y) - self.black);
        let (u, v) = (i32::from(u) - 128, i32::from(v) - 128);
        let green = luma - self.green_u * u - self.green_v * v;
        [luma + self.red_v * v, green, luma + self.blue_u * u].map(byte)
    }
}

/// Luma in `16..=235`.
fn luma([r, g, b]: [u8; 3]) -> u8 {
    byte((16 << 16) + 16_829 * i32::from(r) + 33_039 * i32::from(g) + 6_416 * i32::from(b))
}

/// Both colour differences, in `16..=240`, of the sum of four pixels.
fn chroma_of_four([r, g, b]: [i32; 3]) -> [u8; 2] {
    [-9_714 * r - 19_070 * g + 28_784 * b, 28_784 * r - 24_103 * g - 4_681 * b]
        .map(|sum| byte((128 << 16) + sum / 4))
}

/// Fixed point to the nearest byte.
fn byte(fixed: i32) -> u8 {
    ((fixed + HALF) >> 16).clamp(0, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn black_white_and_the_primaries_have_their_published_levels() {
        let levels = |rgb: [u8; 3]| {
            let planes = planes_from_frame(&Frame::filled(2, 2, rgb));
            [planes.y[0], planes.u[0], planes.v[0]]
        };
        assert_eq!(levels([0, 0, 0]), [16, 128, 128]);
        assert_eq!(levels([255, 255, 255]), [235, 128, 128]);
        assert_eq!(levels([255, 0, 0]), [81, 90, 240]);
        assert_eq!(levels([0, 255, 0]), [145, 54, 34]);
        assert_eq!(levels([0, 0, 255]), [41, 240, 110]);
    }

    #[test]
    fn the_factors_are_those_of_the_recommendations() {
        let factors = |c: Colours| [c.luma, c.red_v, c.green_u, c.green_v, c.blue_u];
        assert_eq!(factors(Colours::bt601()), [76_309, 104_597, 25_675, 53_279, 132_201]);
        let hd = Colours::of(1, false).unwrap();
        assert_eq!(factors(hd), [76_309, 117_489, 13_975, 34_925, 138_438]);
        assert_eq!(Colours::of(6, true).unwrap().rgb(255, 128, 128), [255; 3]);
        assert_eq!(Colours::of(14, false), None);
    }

    #[test]
    fn a_plain_colour_survives_the_way_there_and_back_within_two_levels() {
        for step in 0..=15u8 {
            for other in 0..=15u8 {
                let colour = [step * 17, other * 17, 255 - step * 9];
                let planes = planes_from_frame(&Frame::filled(2, 2, colour));
                let back = Colours::bt601().rgb(planes.y[3], planes.u[0], planes.v[0]);
                let apart = colour.iter().zip(back).map(|(a, b)| a.abs_diff(b)).max();
                assert!(apart <= Some(2), "{colour:?} came back as {back:?}");
            }
        }
    }
}
