//! What a chat model is told before it hears the idea.

use serde::Serialize;

/// What is wished for.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The idea, in the user's words.
    pub idea: &'a str,
    /// How many shots the story has; three to six where nobody says.
    pub shots: Option<u16>,
    /// The only words that the film's model knows; everything where there are none.
    pub words: &'a [&'a str],
    /// A story told as the film's model wants it: its global caption and its shots' captions.
    pub example: (&'a str, &'a [&'a str]),
}

#[derive(Serialize)]
struct Story<'a> {
    global: &'a str,
    shots: Vec<Shot<'a>>,
}

#[derive(Serialize)]
struct Shot<'a> {
    caption: &'a str,
}

/// The rules of the form, with an example.
pub(crate) fn instructions(wish: &Wish<'_>) -> String {
    let shots = match wish.shots {
        None => "three to six shots".to_owned(),
        Some(1) => "exactly one shot".to_owned(),
        Some(shots) => format!("exactly {shots} shots"),
    };
    let (global, captions) = wish.example;
    let captions = captions.iter().map(|caption| Shot { caption }).collect();
    // Text and lists of text are always JSON.
    let example = serde_json::to_string_pretty(&Story { global, shots: captions });
    let mut text = format!(
        "You turn an idea into a story for a model that films it shot by shot.\n\
         Answer with one JSON object and nothing else: \"global\" says in a sentence who and what \
         the whole story is about, with the looks of every character; \"shots\" is a list of \
         {shots}, in the order in which they are seen, each an object with a \"caption\".\n\
         A caption says in one sentence what is seen for a few seconds: the size of the picture, \
         who is there, what they do, where and when. It does not rely on other captions: instead \
         of \"they\" or \"the same place\" it says again who and where. No dialogue, no sound, no \
         text to be read, no names of people who live.\n\
         An example:\n{}\n",
        example.unwrap_or_default()
    );
    if !wish.words.is_empty() {
        text += &format!(
            "The model knows only these words; use no other, and change the idea where it needs \
             others:\n{}\n",
            wish.words.join(" ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_told_in_full() {
        let mut wish = Wish {
            idea: "",
            shots: Some(4),
            words: &["fox", "snow"],
            example: ("A \"red\" fox.", &["The fox waves."]),
        };
        let text = instructions(&wish);
        assert!(text.contains("exactly 4 shots"));
        assert!(text.contains("\"global\": \"A \\\"red\\\" fox.\""));
        assert!(text.contains("\"caption\": \"The fox waves.\""));
        assert!(text.ends_with("others:\nfox snow\n"));
        (wish.shots, wish.words) = (None, &[]);
        let text = instructions(&wish);
        assert!(text.contains("three to six shots") && !text.contains("only these words"));
    }
}
