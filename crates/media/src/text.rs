//! Words on pictures: one typeface of one size, for Latin letters.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

use crate::frame::Frame;

/// Pixels of a line, with the space below it.
pub(crate) const LINE_HEIGHT: usize = 20;

const HEIGHT: RasterHeight = RasterHeight::Size16;

/// What stands for a letter that the typeface does not have.
const UNKNOWN: char = '\u{fffd}';

/// How letters look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    Regular,
    Bold,
}

impl Weight {
    fn font(self) -> FontWeight {
        match self {
            Self::Regular => FontWeight::Regular,
            Self::Bold => FontWeight::Bold,
        }
    }
}

/// Words as lines of at most `width` pixels, at most `most` of them; the last one says if there
/// were more.
pub(crate) fn lines(text: &str, width: usize, most: usize) -> Vec<String> {
    let columns = (width / get_raster_width(FontWeight::Regular, HEIGHT)).max(1);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for (at, piece) in letters.chunks(columns).enumerate() {
            let piece: String = piece.iter().collect();
            match lines.last_mut() {
                Some(line) if at == 0 && length(line) + 1 + length(&piece) <= columns => {
                    line.push(' ');
                    line.push_str(&piece);
                }
                _ => lines.push(piece),
            }
        }
    }
    if most < lines.len() {
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            let kept: String = last.chars().take(columns.saturating_sub(3)).collect();
            *last = kept + "...";
        }
    }
    lines
}

/// Pixels that a line takes.
pub(crate) fn width(line: &str) -> usize {
    length(line) * get_raster_width(FontWeight::Regular, HEIGHT)
}

/// Write a line with its top left corner at (`left`, `top`); what does not fit is cut off.
pub(crate) fn write(
    picture: &mut Frame,
    [left, top]: [usize; 2],
    line: &str,
    weight: Weight,
    colour: [u8; 3],
) {
    let advance = get_raster_width(weight.font(), HEIGHT);
    for (at, letter) in line.chars().enumerate() {
        let raster = [plain(letter), UNKNOWN].map(|c| get_raster(c, weight.font(), HEIGHT));
        let Some(raster) = raster.into_iter().flatten().next() else { continue };
        for (y, row) in raster.rows().enumerate() {
            for (x, &ink) in row.iter().enumerate() {
                let (x, y) = (left + at * advance + x, top + y);
                if x < picture.width && y < picture.height {
                    let start = (y * picture.width + x) * 3;
                    for (paper, ink_colour) in picture.rgb[start..start + 3].iter_mut().zip(colour)
                    {
                        let (ink, paper_now) = (u32::from(ink), u32::from(*paper));
                        let mixed = u32::from(ink_colour) * ink + paper_now * (255 - ink);
                        *paper = ((mixed + 127) / 255) as u8;
                    }
                }
            }
        }
    }
}

/// The typeface has no signs of print but these.
fn plain(letter: char) -> char {
    match letter {
        '‘' | '’' => '\'',
        '“' | '”' | '„' => '"',
        '–' | '—' => '-',
        other => other,
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_lines_and_the_last_says_that_there_are_more() {
        let advance = get_raster_width(FontWeight::Regular, HEIGHT);
        let wrapped = |text: &str, most| lines(text, 10 * advance, most);
        assert_eq!(wrapped("the red fox waves", 9), ["the red", "fox waves"]);
        assert_eq!(wrapped("the red fox waves", 1), ["the red..."]);
        assert_eq!(wrapped("a donaudampfschiff b", 9), ["a", "donaudampf", "schiff b"]);
        assert_eq!(wrapped("", 9), [""; 0]);
    }

    #[test]
    fn ink_stays_on_the_picture() {
        let mut picture = Frame::filled(12, 12, [255; 3]);
        write(&mut picture, [4, 4], "Ö狐", Weight::Bold, [0; 3]);
        picture.check().unwrap();
        assert!(picture.rgb.iter().any(|&channel| channel < 80));
        assert_eq!(picture.pixel(1, 1), [255; 3]);
    }
}
