//! A story on one picture: a frame of every shot, with words below it.

use crate::error::MediaError;
use crate::frame::Frame;
use crate::sheet::paste;
use crate::text::{LINE_HEIGHT, Weight, lines, write};

const PAPER: [u8; 3] = [248, 247, 244];
const INK: [u8; 3] = [32, 32, 36];
const FAINT: [u8; 3] = [120, 120, 126];

/// Width of every frame in pixels.
const FRAME_WIDTH: usize = 320;

/// Pixels between cards and around them.
const GAP: usize = 20;

/// Lines of words below a frame, after the heading.
const MOST_LINES: usize = 6;

/// As many cards as a row can have.
const MOST_COLUMNS: usize = 6;

/// One shot on the board.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// What it looks like.
    pub frame: Frame,
    /// Its name.
    pub heading: String,
    /// What stands at the end of the heading's line.
    pub aside: String,
    /// What it is about.
    pub words: String,
}

/// Lay cards out in rows, in the order in which they are read.
///
/// # Errors
/// When there is no card, or a frame is not valid.
pub fn storyboard(cards: &[Card]) -> Result<Frame, MediaError> {
    if cards.is_empty() {
        return Err(MediaError::Empty);
    }
    let mut pictures = Vec::with_capacity(cards.len());
    for card in cards {
        card.frame.check()?;
        let height = card.frame.height * FRAME_WIDTH / card.frame.width.max(1);
        pictures.push(card.frame.resized(FRAME_WIDTH, height.max(1))?);
    }
    let frame_height = pictures.iter().map(|picture| picture.height).max().unwrap_or(0);
    let words: Vec<_> =
        cards.iter().map(|card| lines(&card.words, FRAME_WIDTH, MOST_LINES)).collect();
    let columns = columns(cards.len());
    let mut sheet =
        Frame { width: GAP + columns * (FRAME_WIDTH + GAP), height: 0, rgb: Vec::new() };
    for row in 0..cards.len().div_ceil(columns) {
        let range = row * columns..cards.len().min((row + 1) * columns);
        let most = words[range.clone()].iter().map(Vec::len).max().unwrap_or(0);
        let top = sheet.height + GAP;
        grow(&mut sheet, GAP + frame_height + (most + 1) * LINE_HEIGHT + GAP / 2);
        for (column, index) in range.enumerate() {
            let left = GAP + column * (FRAME_WIDTH + GAP);
            paste(&mut sheet, &pictures[index], left, top);
            let mut line = top + frame_height + GAP / 4;
            write(&mut sheet, [left, line], &cards[index].heading, Weight::Bold, INK);
            let aside = &cards[index].aside;
            let right = left + FRAME_WIDTH.saturating_sub(crate::text::width(aside));
            write(&mut sheet, [right, line], aside, Weight::Regular, FAINT);
            for words in &words[index] {
                line += LINE_HEIGHT;
                write(&mut sheet, [left, line], words, Weight::Regular, INK);
            }
        }
    }
    grow(&mut sheet, GAP / 2);
    Ok(sheet)
}

/// Cards in a row: about as many as there are rows.
fn columns(cards: usize) -> usize {
    (1..MOST_COLUMNS).find(|columns| cards <= columns * columns).unwrap_or(MOST_COLUMNS)
}

fn grow(sheet: &mut Frame, rows: usize) {
    sheet.height += rows;
    let more = PAPER.repeat(rows * sheet.width);
    sheet.rgb.extend(more);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(colour: [u8; 3], words: &str) -> Card {
        let frame = Frame::filled(64, 40, colour);
        let [heading, aside] = ["Shot 1", "0:00"].map(str::to_owned);
        Card { frame, heading, aside, words: words.to_owned() }
    }

    #[test]
    fn every_shot_has_its_frame_and_words_below_it() {
        let colours = [[200, 10, 10], [10, 200, 10], [10, 10, 200]];
        let cards = colours.map(|colour| card(colour, "the red fox waves in the snow by day"));
        let sheet = storyboard(&cards).unwrap();
        sheet.check().unwrap();
        assert_eq!(sheet.width, GAP + 2 * (FRAME_WIDTH + GAP));
        let row = sheet.height / 2;
        let places = [(60, 60), (60 + FRAME_WIDTH + GAP, 60), (60, 60 + row)];
        for (colour, (x, y)) in colours.into_iter().zip(places) {
            assert_eq!(sheet.pixel(x, y), colour);
        }
        let inked = |left: usize, top: usize| {
            let rows = top..sheet.height.min(top + 3 * LINE_HEIGHT);
            let area = rows.flat_map(|y| (left..left + 300).map(move |x| (x, y)));
            area.filter(|&(x, y)| sheet.pixel(x, y)[1] < 100).count()
        };
        assert!(0 < inked(GAP, GAP + 200));
        assert_eq!(inked(2 * GAP + FRAME_WIDTH, row + GAP + 200), 0, "there is no fourth shot");
    }

    #[test]
    fn long_words_make_no_row_endless() {
        let short = storyboard(&[card([9; 3], "fox")]).unwrap().height;
        let long = storyboard(&[card([9; 3], &"fox ".repeat(5000))]).unwrap().height;
        assert_eq!(long, short + (MOST_LINES - 1) * LINE_HEIGHT);
        assert!(storyboard(&[]).is_err());
    }

    #[test]
    fn there_are_about_as_many_columns_as_rows() {
        assert_eq!([1, 2, 4, 5, 9, 12, 25, 100].map(columns), [1, 2, 2, 3, 3, 4, 5, 6]);
    }
}
