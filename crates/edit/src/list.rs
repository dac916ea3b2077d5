//! `EditList`: the shots of a finished film, in order, with how long each is and what it shows.

use thiserror::Error;

/// As many frames a second as two digits of a timecode can tell apart.
const MOST_FRAMES_PER_SECOND: u32 = 100;

/// As long as the title of a chapter or a marker may be, in characters.
const TITLE_CHARACTERS: usize = 72;

/// A film that was cut together of shots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditList {
    title: String,
    frames_per_second: u32,
    size: [usize; 2],
    shots: Vec<Shot>,
}

/// One shot of a film.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shot {
    /// What it shows.
    pub caption: String,
    /// Its length in frames.
    pub frames: usize,
}

/// A shot in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed<'a> {
    /// The shot, counted from 1, as people count.
    pub number: usize,
    /// What it shows, on one line.
    pub caption: &'a str,
    /// Its first frame, counted from the start of the film.
    pub start: usize,
    /// The first frame after it.
    pub end: usize,
}

/// A film that no list can describe.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EditError {
    /// No shots.
    #[error("a film without shots cannot be listed")]
    NoShots,
    /// A shot that is never seen.
    #[error("a shot has at least one frame, found none: shot {number}")]
    NoFrames {
        /// The shot, counted from 1.
        number: usize,
    },
    /// A rate that timecode cannot count.
    #[error("timecode counts 1 to {MOST_FRAMES_PER_SECOND} frames a second, not {found}")]
    FrameRate {
        /// The film's.
        found: u32,
    },
}

impl EditList {
    /// The list of a film of `size` (width, height) in pixels. Captions and title become one line
    /// each, without control characters.
    ///
    /// # Errors
    /// When there is no shot, a shot has no frame, or timecode cannot count the frame rate.
    pub fn new(
        title: &str,
        frames_per_second: u32,
        size: [usize; 2],
        shots: Vec<Shot>,
    ) -> Result<Self, EditError> {
        if shots.is_empty() {
            return Err(EditError::NoShots);
        }
        if let Some(at) = shots.iter().position(|shot| shot.frames == 0) {
            return Err(EditError::NoFrames { number: at + 1 });
        }
        if !(1..=MOST_FRAMES_PER_SECOND).contains(&frames_per_second) {
            return Err(EditError::FrameRate { found: frames_per_second });
        }
        let shots = shots.into_iter();
        let shots = shots.map(|shot| Shot { caption: one_line(&shot.caption), ..shot }).collect();
        Ok(Self { title: one_line(title), frames_per_second, size, shots })
    }

    /// The film's name.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// How many frames a second has.
    pub const fn frames_per_second(&self) -> u32 {
        self.frames_per_second
    }

    /// Width and height in pixels.
    pub const fn size(&self) -> [usize; 2] {
        self.size
    }

    /// The shots in their places.
    pub fn shots(&self) -> impl Iterator<Item = Placed<'_>> {
        let mut next = 0;
        (1..).zip(&self.shots).map(move |(number, shot)| {
            let start = next;
            next += shot.frames;
            Placed { number, caption: &shot.caption, start, end: next }
        })
    }

    /// The length of the film in frames.
    pub fn total(&self) -> usize {
        self.shots.iter().map(|shot| shot.frames).sum()
    }
}

impl Placed<'_> {
    /// The caption, or as many whole words of it as a menu has room for; of a shot without words
    /// its number.
    pub fn title(&self) -> String {
        if self.caption.is_empty() {
            return format!("Shot {}", self.number);
        }
        let mut title = String::new();
        for word in self.caption.split(' ') {
            if TITLE_CHARACTERS < title.chars().count() + 1 + word.chars().count() {
                let start: String = match title.is_empty() {
                    true => word.chars().take(TITLE_CHARACTERS - 1).collect(),
                    false => title,
                };
                return start + "…";
            }
            if !title.is_empty() {
                title.push(' ');
            }
            title.push_str(word);
        }
        title
    }
}

/// Text on one line: every run of spaces, line ends and characters that no text file may hold is
/// one space.
fn one_line(text: &str) -> String {
    let blank = |c: char| c.is_whitespace() || c.is_control() || "\u{fffe}\u{ffff}".contains(c);
    let parts = text.split(blank);
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shot(caption: &str, frames: usize) -> Shot {
        Shot { caption: caption.to_owned(), frames }
    }

    #[test]
    fn a_shot_starts_where_the_one_before_ends() {
        let shots = vec![shot("a", 33), shot("b", 9), shot("c", 21)];
        let list = EditList::new("t", 16, [128, 80], shots).unwrap();
        let places: Vec<_> = list.shots().map(|shot| (shot.number, shot.start, shot.end)).collect();
        assert_eq!(places, [(1, 0, 33), (2, 33, 42), (3, 42, 63)]);
        assert_eq!(list.total(), 63);
    }

    #[test]
    fn what_cannot_be_listed_is_refused() {
        let refused = |fps, shots| EditList::new("t", fps, [2, 2], shots).unwrap_err().to_string();
        assert_eq!(refused(16, vec![]), "a film without shots cannot be listed");
        assert_eq!(
            refused(16, vec![shot("a", 1), shot("b", 0)]),
            "a shot has at least one frame, found none: shot 2"
        );
        for fps in [0, 101] {
            assert_eq!(
                refused(fps, vec![shot("a", 1)]),
                format!("timecode counts 1 to 100 frames a second, not {fps}")
            );
        }
    }

    #[test]
    fn a_caption_is_one_line_and_its_title_ends_with_a_whole_word() {
        let long = format!("{}end", "word ".repeat(30));
        let shots = vec![shot(" a\r\n\n b\u{0}\tc ", 1), shot(&long, 1), shot(&"é".repeat(99), 1)];
        let list = EditList::new("two\nlines", 16, [2, 2], shots).unwrap();
        let titles: Vec<_> = list.shots().map(|shot| shot.title()).collect();
        assert_eq!(list.title(), "two lines");
        assert_eq!(titles[0], "a b c");
        assert!(titles[1].ends_with("word…") && titles[1].chars().count() <= 72, "{}", titles[1]);
        assert_eq!(titles[2].chars().count(), 72);
    }
}
