//! Every phrase a caption can be made of; the vocabulary is what they contain.
//!
//! The first phrase of each list is the plain one and the one used most.

use crate::attributes::{Accessory, Action, CameraSize, Colour, Pan, Place, Species, Time};

/// Phrases that mean the same.
pub(crate) type Phrases = &'static [&'static str];

/// The forms of one verb phrase.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Verb {
    /// "(the fox) waves"
    pub one: &'static str,
    /// "(they) wave"
    pub many: &'static str,
    /// "(a fox) waving"
    pub doing: &'static str,
}

const fn verb(one: &'static str, many: &'static str, doing: &'static str) -> Verb {
    Verb { one, many, doing }
}

pub(crate) fn species(species: Species) -> Phrases {
    match species {
        Species::Fox => &["fox"],
        Species::Rabbit => &["rabbit", "bunny"],
        Species::Bear => &["bear"],
        Species::Robot => &["robot"],
        Species::Snail => &["snail"],
    }
}

pub(crate) fn colour(colour: Colour) -> Phrases {
    match colour {
        Colour::Red => &["red"],
        Colour::Yellow => &["yellow", "golden"],
        Colour::Green => &["green"],
        Colour::Blue => &["blue"],
        Colour::Purple => &["purple", "violet"],
        Colour::White => &["white"],
    }
}

/// What follows the species; empty for a character without accessory.
pub(crate) fn accessory(accessory: Accessory) -> Phrases {
    match accessory {
        Accessory::None => &[],
        Accessory::Hat => &[
            "with a top hat",
            "with a hat",
            "wearing a hat",
            "in a top hat",
            "wearing a tall black hat",
            "with a black top hat",
        ],
        Accessory::Scarf => &[
            "with a scarf",
            "wearing a scarf",
            "in a scarf",
            "with a turquoise scarf",
            "wearing a warm scarf",
        ],
        Accessory::Balloon => &[
            "with a balloon",
            "holding a balloon",
            "with an orange balloon",
            "holding an orange balloon",
            "carrying a balloon",
        ],
    }
}

/// Where something is.
pub(crate) fn place(place: Place) -> Phrases {
    match place {
        Place::Snow => {
            &["in the snow", "in the snowy mountains", "in a snowy landscape", "on the snow"]
        }
        Place::Forest => &["in the forest", "in the woods", "among the trees", "in a forest"],
        Place::Beach => &["on the beach", "by the sea", "at the seaside", "on a sandy beach"],
        Place::City => &["in the city", "in the town", "on a city street", "downtown"],
        Place::Desert => &["in the desert", "in the dunes", "among the cacti", "in a sandy desert"],
        Place::Meadow => {
            &["in the meadow", "in a field", "on the grass", "among the flowers", "in a meadow"]
        }
    }
}

/// Where something goes.
pub(crate) fn route(place: Place) -> Phrases {
    match place {
        Place::Snow => &["through the snow", "across the snow"],
        Place::Forest => &["through the forest", "through the woods", "between the trees"],
        Place::Beach => &["along the beach", "along the shore", "by the sea"],
        Place::City => &["through the city", "down the street", "through the town"],
        Place::Desert => &["through the desert", "across the dunes"],
        Place::Meadow => &["through the meadow", "across the field", "through the grass"],
    }
}

/// When something happens.
pub(crate) fn time(time: Time) -> Phrases {
    match time {
        Time::Day => &[
            "by day",
            "during the day",
            "on a sunny day",
            "in daylight",
            "at noon",
            "in the morning",
            "under the sun",
        ],
        Time::Sunset => &["at sunset", "in the evening", "at dusk", "as the sun sets"],
        Time::Night => {
            &["at night", "at midnight", "under the moon", "in the moonlight", "under the stars"]
        }
    }
}

/// The heading of a shot.
pub(crate) fn size(size: CameraSize) -> Phrases {
    match size {
        CameraSize::Wide => &["wide shot", "wide view", "long shot", "full shot"],
        CameraSize::Medium => &["medium shot", "medium view", "mid shot"],
        CameraSize::Close => &["close-up", "close shot", "close view", "portrait"],
    }
}

/// What the camera does, as a clause.
pub(crate) fn pan(pan: Pan) -> Phrases {
    match pan {
        Pan::None => &["the camera is still", "the camera does not move", "static camera"],
        Pan::Left => &[
            "the camera pans left",
            "the camera moves left",
            "panning left",
            "the camera slowly pans to the left",
        ],
        Pan::Right => &[
            "the camera pans right",
            "the camera moves right",
            "panning right",
            "the camera slowly pans to the right",
        ],
    }
}

pub(crate) fn action(action: Action) -> &'static [Verb] {
    const STANDS: &[Verb] = &[
        verb("stands", "stand", "standing"),
        verb("stands still", "stand still", "standing still"),
        verb("waits", "wait", "waiting"),
    ];
    const WAVES: &[Verb] = &[
        verb("waves", "wave", "waving"),
        verb("waves hello", "wave hello", "waving hello"),
        verb("greets us", "greet us", "greeting us"),
        verb("waves a hand", "wave a hand", "waving a hand"),
    ];
    const WALKS: &[Verb] = &[
        verb("walks", "walk", "walking"),
        verb("strolls", "stroll", "strolling"),
        verb("walks along", "walk along", "walking along"),
    ];
    const JUMPS: &[Verb] = &[
        verb("jumps", "jump", "jumping"),
        verb("hops", "hop", "hopping"),
        verb("jumps up and down", "jump up and down", "jumping up and down"),
        verb("leaps", "leap", "leaping"),
    ];
    const SPINS: &[Verb] = &[
        verb("spins", "spin", "spinning"),
        verb("turns around", "turn around", "turning around"),
        verb("twirls", "twirl", "twirling"),
        verb("spins around", "spin around", "spinning around"),
    ];
    match action {
        Action::Stands => STANDS,
        Action::Waves => WAVES,
        Action::Walks => WALKS,
        Action::Jumps => JUMPS,
        Action::Spins => SPINS,
    }
}

/// Openings of a global caption about one character.
pub(crate) const ABOUT_ONE: Phrases =
    &["", "the hero is", "a story about", "this is", "meet", "we follow"];

/// Global captions about two characters: before the hero, between them.
pub(crate) const ABOUT_TWO: &[(&str, &str)] = &[
    ("", " and "),
    ("the hero is ", ", its friend is "),
    ("the hero is ", " and the friend is "),
    ("a story about ", " and "),
    ("", " meets "),
    ("", " with its friend, "),
];

/// Openings of the sentence that places a whole story.
pub(crate) const SETTING: Phrases = &["", "it all happens", "everything happens"];

/// What joins two characters that do different things.
pub(crate) const MEANWHILE: Phrases = &[" and ", ", ", " while "];

/// Names for the hero, for the friend and for both that say nothing about them.
pub(crate) const HERO: Phrases = &["the hero", "it", "our hero"];
pub(crate) const FRIEND: Phrases = &["the friend", "its friend"];
pub(crate) const BOTH: Phrases = &["the hero and the friend", "the hero and its friend", "they"];

/// Words of the sentence patterns themselves.
const FRAME_WORDS: &str = "a an the and of in both hero friend with";

/// Every word that a caption may contain, in lower case, sorted; punctuation is not a word and
/// stands alone: `. , : -`.
pub fn vocabulary() -> Vec<&'static str> {
    let mut phrases: Vec<&'static str> = vec![FRAME_WORDS];
    let mut add = |list: Phrases| phrases.extend(list);
    Species::ALL.into_iter().for_each(|s| add(species(s)));
    Colour::ALL.into_iter().for_each(|c| add(colour(c)));
    Accessory::ALL.into_iter().for_each(|a| add(accessory(a)));
    Place::ALL.into_iter().for_each(|p| [place(p), route(p)].into_iter().for_each(&mut add));
    Time::ALL.into_iter().for_each(|t| add(time(t)));
    CameraSize::ALL.into_iter().for_each(|s| add(size(s)));
    Pan::ALL.into_iter().for_each(|p| add(pan(p)));
    [ABOUT_ONE, SETTING, MEANWHILE, HERO, FRIEND, BOTH].into_iter().for_each(&mut add);
    for verb in Action::ALL.into_iter().flat_map(action) {
        phrases.extend([verb.one, verb.many, verb.doing]);
    }
    phrases.extend(ABOUT_TWO.iter().flat_map(|&(before, between)| [before, between]));
    let mut words: Vec<&'static str> = phrases.into_iter().flat_map(split).collect();
    words.sort_unstable();
    words.dedup();
    words
}

/// The words of a text, without punctuation.
pub(crate) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}
