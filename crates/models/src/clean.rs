//! Text as people type it to text as the tokenizer was trained on.
//!
//! Repairs, until nothing changes: HTML entities (where no tag stands in the text), characters of
//! Windows-1252 in the place of control characters, ligatures, full-width forms, curly quotes, line
//! breaks, terminal escapes, control characters, NFC. Then entities twice more, and every run of
//! whitespace becomes one space.
//!
//! Source: the reference cleans with `ftfy.fix_text` and `html.unescape`; mojibake (text decoded
//! with the wrong character set) is left as it is, and an entity needs its semicolon.

use std::borrow::Cow;

use html_escape::decode_html_entities;
use unicode_normalization::UnicodeNormalization;

/// What Windows-1252 has at 0x80 to 0x9f; U+FFFD where it has nothing.
const WINDOWS_1252: &str = "€\u{fffd}‚ƒ„…†‡ˆ‰Š‹Œ\u{fffd}Ž\u{fffd}\
                            \u{fffd}‘’“”•–—˜™š›œ\u{fffd}žŸ";

/// Repair and normalise one prompt.
#[must_use]
pub fn clean(text: &str) -> String {
    let mut text = text.to_owned();
    loop {
        let repaired = repair(&text);
        if repaired == text {
            break;
        }
        text = repaired;
    }
    let text = decode_html_entities(&text);
    let text = decode_html_entities(&text);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// One round of repairs.
fn repair(text: &str) -> String {
    let text = if text.contains('<') { Cow::Borrowed(text) } else { decode_html_entities(text) };
    let text: String = text.chars().map(of_windows_1252).flat_map(plain).collect();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text = without_terminal_escapes(&text);
    text.chars().filter(|&c| !is_control(c)).nfc().collect()
}

/// The character a control character was before its byte was read as Latin-1.
fn of_windows_1252(c: char) -> char {
    let index = (c as usize).checked_sub(0x80);
    let meant = index.and_then(|index| WINDOWS_1252.chars().nth(index));
    meant.filter(|&meant| meant != char::REPLACEMENT_CHARACTER).unwrap_or(c)
}

/// The plain characters that stand for one typographic character.
fn plain(c: char) -> impl Iterator<Item = char> {
    let text = match c {
        '\u{132}' => "IJ",
        '\u{133}' => "ij",
        '\u{149}' => "\u{2bc}n",
        '\u{1c4}' => "D\u{17d}",
        '\u{1c5}' => "D\u{17e}",
        '\u{1c6}' => "d\u{17e}",
        '\u{1c7}' => "LJ",
        '\u{1c8}' => "Lj",
        '\u{1c9}' => "lj",
        '\u{1ca}' => "NJ",
        '\u{1cb}' => "Nj",
        '\u{1cc}' => "nj",
        '\u{1f1}' => "DZ",
        '\u{1f2}' => "Dz",
        '\u{1f3}' => "dz",
        '\u{fb00}' => "ff",
        '\u{fb01}' => "fi",
        '\u{fb02}' => "fl",
        '\u{fb03}' => "ffi",
        '\u{fb04}' => "ffl",
        '\u{fb05}' => "\u{17f}t",
        '\u{fb06}' => "st",
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => "'",
        '\u{201c}'..='\u{201f}' => "\"",
        '\u{3000}' => " ",
        '\u{2028}' | '\u{2029}' => "\n",
        _ => "",
    };
    let single = text.is_empty().then_some(c);
    // The block of full-width and half-width forms is folded to the characters it imitates.
    let folded = single.filter(|c| ('\u{ff01}'..='\u{ffef}').contains(c));
    let kept = single.filter(|_| folded.is_none());
    text.chars().chain(folded.into_iter().nfkc()).chain(kept)
}

/// Whether a character steers a terminal or a text layout and stands for nothing.
fn is_control(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{8}'
            | '\u{b}'
            | '\u{e}'..='\u{1f}'
            | '\u{7f}'
            | '\u{206a}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffc}'
    )
}

/// Cut escapes of the form `ESC [ digits and semicolons letter`.
fn without_terminal_escapes(text: &str) -> String {
    const ESCAPE: &str = "\u{1b}[";
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(ESCAPE) {
        let (before, escape) = rest.split_at(start);
        out.push_str(before);
        let body = &escape[ESCAPE.len()..];
        let tail = body.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';');
        rest = if tail.starts_with(|c: char| c.is_ascii_alphabetic()) {
            &tail[1..]
        } else {
            out.push_str(ESCAPE);
            body
        };
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn entities_are_resolved_however_often_they_were_escaped() {
        assert_eq!(clean("a &amp; b &amp;amp;amp;quot;c&quot;"), "a & b \"c\"");
        assert_eq!(clean("<b> &amp;lt;"), "<b> <");
    }

    #[test]
    fn whitespace_and_line_breaks_become_one_space() {
        assert_eq!(clean("  a\r\n\r\nb\u{2028}c\td\u{a0}\u{a0}e "), "a b c d e");
    }

    #[test]
    fn control_characters_and_terminal_escapes_vanish_and_zero_width_spaces_stay() {
        assert_eq!(clean("\u{feff}a\u{7}b\u{1b}[1;31mred\u{1b}[0m\u{200b}"), "abred\u{200b}");
    }

    #[test]
    fn prompts_come_out_as_the_reference_cleans_them() {
        #[derive(serde::Deserialize)]
        struct Pair {
            typed: String,
            cleaned: String,
        }
        let golden = include_str!("../../../testdata/text/clean.json");
        let pairs: Vec<Pair> = serde_json::from_str(golden).unwrap();
        for Pair { typed, cleaned } in pairs {
            assert_eq!(clean(&typed), cleaned, "{typed:?}");
        }
    }

    proptest! {
        #[test]
        fn cleaning_ends_and_leaves_no_double_spaces(text in "\\PC{0,40}") {
            let cleaned = clean(&text);
            prop_assert!(!cleaned.contains("  "));
            prop_assert!(cleaned.trim() == cleaned);
        }
    }
}
