//! Everything that can vary in a story: small closed sets, each with all its members and names.

use serde::{Deserialize, Serialize};

/// Defines one attribute: an enum with `ALL`, `name` and `index`.
macro_rules! attribute {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// Every member, in the order of declaration.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            /// The plain English word.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }

            /// The position in [`Self::ALL`].
            pub const fn index(self) -> usize {
                self as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

attribute! {
    /// What a character is: silhouettes that differ in the whole body.
    Species {
        /// Pointed ears, triangular head, a bushy tail to the left.
        Fox = "fox",
        /// Tall and narrow, with long upright ears.
        Rabbit = "rabbit",
        /// Wide and round, with small round ears.
        Bear = "bear",
        /// Square head and body, with an antenna.
        Robot = "robot",
        /// Low and wide, with a spiral shell and eye stalks.
        Snail = "snail",
    }
}

attribute! {
    /// The colour of a character's coat, or of a snail's shell.
    Colour {
        /// (226, 44, 38)
        Red = "red",
        /// (250, 205, 30)
        Yellow = "yellow",
        /// (46, 168, 66)
        Green = "green",
        /// (40, 98, 230)
        Blue = "blue",
        /// (142, 54, 196)
        Purple = "purple",
        /// (246, 246, 250)
        White = "white",
    }
}

attribute! {
    /// What a character wears or holds.
    Accessory {
        /// Nothing.
        None = "none",
        /// A tall black top hat.
        Hat = "hat",
        /// A turquoise scarf with a hanging end.
        Scarf = "scarf",
        /// An orange balloon above the left hand.
        Balloon = "balloon",
    }
}

attribute! {
    /// Where a shot happens.
    Place {
        /// White ground, pale mountains, snowy firs.
        Snow = "snow",
        /// Dark firs on deep green.
        Forest = "forest",
        /// Sea, sand and palms.
        Beach = "beach",
        /// Houses with windows, a road.
        City = "city",
        /// Dunes, mesas, cacti.
        Desert = "desert",
        /// Bright hills, flowers, a round tree and a cottage.
        Meadow = "meadow",
    }
}

attribute! {
    /// When a shot happens: the sky and the tint of everything below it.
    Time {
        /// Blue sky, high sun.
        Day = "day",
        /// Orange and pink, a large low sun.
        Sunset = "sunset",
        /// Dark blue, a moon and stars.
        Night = "night",
    }
}

attribute! {
    /// How large the camera shows the characters.
    CameraSize {
        /// A whole figure of about half the picture's height.
        Wide = "wide",
        /// A whole figure that fills most of the picture's height.
        Medium = "medium",
        /// Head and shoulders.
        Close = "close",
    }
}

attribute! {
    /// How the camera moves; the scenery scrolls the other way.
    Pan {
        /// The camera is still.
        None = "none",
        /// The camera moves left, the scenery right.
        Left = "left",
        /// The camera moves right, the scenery left.
        Right = "right",
    }
}

attribute! {
    /// What a character does for the whole of a shot.
    Action {
        /// Stands still, breathing.
        Stands = "stands",
        /// Waves with the right arm.
        Waves = "waves",
        /// Walks from left to right through its place in the picture.
        Walks = "walks",
        /// Jumps up and down.
        Jumps = "jumps",
        /// Turns round and round.
        Spins = "spins",
    }
}
