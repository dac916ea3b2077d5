//! Colours and the light of each time of day.

use crate::attributes::{Colour, Time};

/// Red, green and blue, 0 to 255.
pub(super) type Rgb = [f32; 3];

/// The darkest colour: eyes, noses, mouths.
pub(super) const INK: Rgb = [30.0, 24.0, 38.0];

/// The line around a shape of some colour: that colour, darker. A black line would be one pixel of
/// hard contrast in a small picture, which costs a learner more than all the rest.
pub(super) fn line_around(colour: Rgb) -> Rgb {
    mix(colour, INK, 0.45)
}

/// The colours of one character: its coat and what is lighter and darker of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coat {
    pub main: Rgb,
    /// Belly, muzzle, a snail's body.
    pub light: Rgb,
    /// Feet, stripes, the inside of the ears.
    pub dark: Rgb,
}

/// The coat of a colour in daylight.
pub(super) fn coat(colour: Colour) -> Coat {
    let main = match colour {
        Colour::Red => [226.0, 44.0, 38.0],
        Colour::Yellow => [250.0, 205.0, 30.0],
        Colour::Green => [46.0, 168.0, 66.0],
        Colour::Blue => [40.0, 98.0, 230.0],
        Colour::Purple => [142.0, 54.0, 196.0],
        Colour::White => {
            return Coat {
                main: [246.0, 246.0, 250.0],
                light: [222.0, 226.0, 238.0],
                dark: [186.0, 192.0, 210.0],
            };
        }
    };
    Coat { main, light: mix(main, [255.0, 250.0, 240.0], 0.68), dark: mix(main, INK, 0.35) }
}

/// A point on the way from `a` to `b`.
pub(super) fn mix(a: Rgb, b: Rgb, amount: f32) -> Rgb {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * amount)
}

/// What a time of day does to the colours it falls on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Light {
    scale: Rgb,
    glow: Rgb,
}

impl Light {
    /// The light on the scenery.
    pub(super) fn on_scenery(time: Time) -> Self {
        match time {
            Time::Day => Self { scale: [1.0; 3], glow: [0.0; 3] },
            Time::Sunset => Self { scale: [0.86, 0.62, 0.56], glow: [26.0, 10.0, 18.0] },
            Time::Night => Self { scale: [0.38, 0.44, 0.62], glow: [6.0, 8.0, 28.0] },
        }
    }

    /// The light on characters: weak, so that their colours stay apart.
    pub(super) fn on_characters(time: Time) -> Self {
        let scale = match time {
            Time::Day => [1.0; 3],
            Time::Sunset => [1.0, 0.94, 0.92],
            Time::Night => [0.91, 0.91, 0.97],
        };
        Self { scale, glow: [0.0; 3] }
    }

    /// No change.
    pub(super) fn none() -> Self {
        Self { scale: [1.0; 3], glow: [0.0; 3] }
    }

    /// A colour in this light.
    pub(super) fn shade(&self, colour: Rgb) -> Rgb {
        std::array::from_fn(|i| (colour[i] * self.scale[i] + self.glow[i]).min(255.0))
    }
}

/// The sky's colours from the top down to the horizon.
pub(super) fn sky(time: Time) -> [Rgb; 3] {
    match time {
        Time::Day => [[92.0, 172.0, 246.0], [150.0, 206.0, 252.0], [214.0, 238.0, 255.0]],
        Time::Sunset => [[104.0, 66.0, 150.0], [232.0, 104.0, 110.0], [255.0, 190.0, 96.0]],
        Time::Night => [[20.0, 26.0, 78.0], [36.0, 46.0, 112.0], [62.0, 76.0, 150.0]],
    }
}
