//! Text to token ids: a tokenizer of the `tokenizers` format, read from JSON or made from captions.
//!
//! Every text is cleaned first (see [`crate::clean`]), when a vocabulary is made and when it is
//! used. A text too long for the network loses the end of its content; the end-of-text mark
//! stays, and the loss is counted, because in a prompt the end is what tells shots apart.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use thiserror::Error;
use tokenizers::{
    NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer,
};

use crate::clean::clean;

/// The id of padding.
pub const PAD: u32 = 0;

/// Special tokens of a trained vocabulary; the position is the id.
const SPECIAL: [&str; 3] = ["[PAD]", "</s>", "[UNK]"];

/// Why text cannot become ids.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The JSON is not a tokenizer.
    #[error("the tokenizer cannot be read: {0}")]
    Malformed(String),
    /// A model without a token for what it does not know fails on the first new word.
    #[error("the tokenizer has no token for unknown words")]
    NoUnknownToken,
    /// The model refused a text.
    #[error("the tokenizer failed: {0}")]
    Failed(String),
}

/// One text as ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// As many ids as were asked for: `length` of the text, then [`PAD`].
    pub ids: Vec<u32>,
    /// Ids that belong to the text, the end-of-text mark included.
    pub length: usize,
    /// Words the vocabulary does not know, each once, in the order of the text.
    pub unknown: Vec<String>,
    /// Tokens cut off because the text is too long.
    pub dropped: usize,
}

/// A vocabulary and the rules that cut text into its words.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    unknown_id: u32,
    vocab_size: usize,
}

impl Tokenizer {
    /// A tokenizer from the text of a `tokenizer.json`.
    ///
    /// Padding and truncation the file asks for are ignored: [`Self::encode`] does both.
    ///
    /// # Errors
    /// When the text is no tokenizer, or one that cannot express unknown words.
    pub fn from_json(json: &str) -> Result<Self, TokenizerError> {
        let malformed = |error: tokenizers::Error| TokenizerError::Malformed(error.to_string());
        let value: Value = serde_json::from_str(json).map_err(|e| malformed(e.into()))?;
        check_marks(&value["post_processor"])?;
        let mut inner: tokenizers::Tokenizer = json.parse().map_err(malformed)?;
        inner.with_padding(None).with_truncation(None).map_err(malformed)?;
        let unknown_id = match (&value["model"]["unk_id"], &value["model"]["unk_token"]) {
            (Value::Number(id), _) => id.as_u64().and_then(|id| u32::try_from(id).ok()),
            (_, Value::String(token)) => inner.token_to_id(token),
            _ => None,
        };
        let unknown_id = unknown_id.ok_or(TokenizerError::NoUnknownToken)?;
        let vocab = inner.get_vocab(true);
        let vocab_size = vocab.into_values().max().map_or(0, |id| id as usize + 1);
        // An empty text is made of nothing but the marks that every text gets.
        let marks = inner.encode("", true).map_err(malformed)?;
        match marks.get_ids().iter().find(|&&id| vocab_size <= id as usize) {
            Some(id) => Err(TokenizerError::Malformed(format!("no token has the id {id}"))),
            None => Ok(Self { inner, unknown_id, vocab_size }),
        }
    }

    /// A word-level vocabulary of everything the captions say, the most frequent words first.
    ///
    /// Words are lowercase; punctuation marks and digits are words of their own. The ids 0, 1
    /// and 2 are padding, the end-of-text mark and unknown words.
    ///
    /// # Errors
    /// When the underlying library refuses a caption.
    pub fn train(captions: impl IntoIterator<Item = String>) -> Result<Self, TokenizerError> {
        let rules = Self::from_json(&word_level(&[]).to_string())?;
        let mut counts = BTreeMap::<String, usize>::new();
        for caption in captions {
            for word in rules.words(&clean(&caption))? {
                *counts.entry(word).or_default() += 1;
            }
        }
        let mut words: Vec<(String, usize)> = counts.into_iter().collect();
        words.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
        let words: Vec<String> = words.into_iter().map(|(word, _)| word).collect();
        Self::from_json(&word_level(&words).to_string())
    }

    /// The tokenizer as the text of a `tokenizer.json`.
    ///
    /// # Errors
    /// When the underlying library cannot express it.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        self.inner.to_string(false).map_err(|e| TokenizerError::Failed(e.to_string()))
    }

    /// Rows an embedding of these tokens needs: the largest id and one.
    #[must_use]
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Clean a text and turn it into `max_len` ids; of one that is too long the end is cut off.
    ///
    /// # Errors
    /// When the underlying library refuses the text.
    pub fn encode(&self, text: &str, max_len: usize) -> Result<Encoding, TokenizerError> {
        self.encode_before(text, usize::MAX, max_len)
    }

    /// As [`Self::encode`], but a text that is too long loses the tokens that end at `border`, a
    /// byte of the cleaned text, or before it; what follows only when they are all gone.
    ///
    /// # Errors
    /// As [`Self::encode`].
    pub fn encode_before(
        &self,
        text: &str,
        border: usize,
        max_len: usize,
    ) -> Result<Encoding, TokenizerError> {
        let text = clean(text);
        let encoded = self
            .inner
            .encode(text.as_str(), true)
            .map_err(|e| TokenizerError::Failed(e.to_string()))?;
        let (ids, special) = (encoded.get_ids(), encoded.get_special_tokens_mask());
        let mut unknown = Vec::new();
        for (&id, &(start, end)) in ids.iter().zip(encoded.get_offsets()) {
            let word = text.get(start..end).unwrap_or_default().trim();
            if id == self.unknown_id && !word.is_empty() && !unknown.iter().any(|w| w == word) {
                unknown.push(word.to_owned());
            }
        }
        let dropped = ids.len().saturating_sub(max_len);
        let content = special.iter().filter(|&&special| special == 0).count();
        let ends = encoded.get_offsets().iter().zip(special);
        let before = ends.filter(|((_, end), special)| **special == 0 && *end <= border).count();
        // Of the tokens before the border the last ones go, then the last ones of all.
        let gone = dropped.min(before);
        let lost = before - gone..before;
        let kept = content.saturating_sub(dropped - gone);
        let mut seen = 0;
        let mut ids: Vec<u32> = ids
            .iter()
            .zip(special)
            .filter(|&(_, &special)| {
                let place = seen;
                seen += usize::from(special == 0);
                special != 0 || (place < kept && !lost.contains(&place))
            })
            .map(|(&id, _)| id)
            .take(max_len)
            .collect();
        let length = ids.len();
        ids.resize(max_len, PAD);
        Ok(Encoding { ids, length, unknown, dropped })
    }

    /// The words of a cleaned text as the vocabulary would spell them.
    fn words(&self, text: &str) -> Result<Vec<String>, TokenizerError> {
        let failed = |error: tokenizers::Error| TokenizerError::Failed(error.to_string());
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = self.inner.get_normalizer() {
            normalizer.normalize(&mut normalized).map_err(failed)?;
        }
        let mut words = PreTokenizedString::from(normalized);
        if let Some(splitter) = self.inner.get_pre_tokenizer() {
            splitter.pre_tokenize(&mut words).map_err(failed)?;
        }
        let splits = words.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
        Ok(splits.into_iter().map(|(word, _, _)| word.to_owned()).collect())
    }
}

/// Whether a template of marks around a text can be followed: the library does it without asking.
fn check_marks(processor: &Value) -> Result<(), TokenizerError> {
    for inner in processor["processors"].as_array().into_iter().flatten() {
        check_marks(inner)?;
    }
    let single = processor["single"].as_array();
    if single.is_some_and(|pieces| pieces.iter().any(|piece| piece["Sequence"]["id"] == "B")) {
        let reason = "a second text is placed around the first".to_owned();
        return Err(TokenizerError::Malformed(reason));
    }
    let pieces = [single, processor["pair"].as_array()];
    for piece in pieces.into_iter().flatten().flatten() {
        let mark = piece["SpecialToken"]["id"].as_str();
        if let Some(mark) = mark.filter(|mark| !processor["special_tokens"][mark].is_object()) {
            let reason = format!("nothing is said of the mark {mark:?}");
            return Err(TokenizerError::Malformed(reason));
        }
    }
    Ok(())
}

/// The `tokenizer.json` of a word-level vocabulary: [`SPECIAL`], then `words`.
fn word_level(words: &[String]) -> Value {
    let tokens = SPECIAL.into_iter().chain(words.iter().map(String::as_str));
    let vocab: BTreeMap<&str, usize> = tokens.enumerate().map(|(id, token)| (token, id)).collect();
    let end = SPECIAL[1];
    let content = json!({ "Sequence": { "id": "A", "type_id": 0 } });
    let mark = json!({ "SpecialToken": { "id": end, "type_id": 0 } });
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [],
        "normalizer": { "type": "Lowercase" },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "WhitespaceSplit" },
            { "type": "Punctuation", "behavior": "Isolated" },
            { "type": "Digits", "individual_digits": true },
        ] },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [content, mark],
            "pair": [content, mark, { "Sequence": { "id": "B", "type_id": 1 } }, mark],
            "special_tokens": { end: { "id": end, "ids": [1], "tokens": [end] } },
        },
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": SPECIAL[2] },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trained() -> Tokenizer {
        let captions = ["A red cat waves.", "a red robot, shot1:waves"];
        Tokenizer::train(captions.map(str::to_owned)).unwrap()
    }

    #[test]
    fn frequent_words_come_first_and_ties_in_alphabetical_order() {
        let tokenizer = trained();
        let id = |word| tokenizer.inner.token_to_id(word);
        let words = ["[PAD]", "</s>", "[UNK]", "a", "red", "waves", ",", ".", "1", ":", "cat"];
        for (expected, word) in (0..).zip(words) {
            assert_eq!(id(word), Some(expected), "{word}");
        }
        assert_eq!(tokenizer.vocab_size(), 13);
    }

    #[test]
    fn a_text_ends_with_the_end_mark_and_is_padded() {
        let encoding = trained().encode("A cat waves", 6).unwrap();
        assert_eq!(encoding.ids, [3, 10, 5, 1, 0, 0]);
        assert_eq!((encoding.length, encoding.dropped), (4, 0));
    }

    #[test]
    fn digits_and_punctuation_stand_alone() {
        let encoding = trained().encode("shot11:a", 8).unwrap();
        assert_eq!(encoding.ids, [12, 8, 8, 9, 3, 1, 0, 0]);
    }

    #[test]
    fn unknown_words_are_reported_once_as_they_were_typed() {
        let encoding = trained().encode("A Zebra, a Zebra and a cat", 10).unwrap();
        assert_eq!(encoding.unknown, ["Zebra", "and"]);
        assert_eq!(encoding.ids[1], 2);
    }

    #[test]
    fn a_text_too_long_keeps_its_end_mark_and_counts_what_it_lost() {
        let encoding = trained().encode("a red cat waves", 3).unwrap();
        assert_eq!(encoding.ids, [3, 4, 1]);
        assert_eq!((encoding.length, encoding.dropped), (3, 2));
        assert_eq!(trained().encode("a red cat", 0).unwrap().ids, [0; 0]);
    }

    #[test]
    fn what_stands_before_the_border_goes_first() {
        // "a red cat" is nine bytes long; the words are 3, 4, 10 and 5, the end mark is 1.
        let cut = |border, max_len| {
            let encoding = trained().encode_before("a red cat waves", border, max_len).unwrap();
            (encoding.ids, encoding.dropped)
        };
        assert_eq!(cut(9, 5), (vec![3, 4, 10, 5, 1], 0));
        assert_eq!(cut(9, 4), (vec![3, 4, 5, 1], 1));
        assert_eq!(cut(9, 2), (vec![5, 1], 3));
        assert_eq!(cut(5, 2), (vec![10, 1], 3));
        assert_eq!(cut(0, 3), (vec![3, 4, 1], 2));
    }

    #[test]
    fn json_and_back_is_the_same_tokenizer() {
        let json = trained().to_json().unwrap();
        let back = Tokenizer::from_json(&json).unwrap();
        assert_eq!(back.to_json().unwrap(), json);
        let text = "a robot and a cat";
        assert_eq!(back.encode(text, 9).unwrap(), trained().encode(text, 9).unwrap());
    }

    #[test]
    fn special_tokens_cannot_be_typed() {
        let encoding = trained().encode("[PAD] </s>", 16).unwrap();
        let end = encoding.ids.iter().position(|&id| id == 1);
        assert_eq!(end, Some(encoding.length - 1));
        assert!(!encoding.ids[..encoding.length].contains(&PAD));
    }

    #[test]
    fn a_unigram_tokenizer_is_read_with_its_own_padding_and_truncation_ignored() {
        let json = json!({
            "version": "1.0",
            "truncation": { "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0 },
            "padding": { "strategy": { "Fixed": 4 }, "direction": "Right", "pad_to_multiple_of": null,
                "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>" },
            "added_tokens": [],
            "normalizer": null,
            "pre_tokenizer": { "type": "Metaspace", "replacement": "\u{2581}",
                "prepend_scheme": "always", "split": true },
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{ "Sequence": { "id": "A", "type_id": 0 } },
                    { "SpecialToken": { "id": "</s>", "type_id": 0 } }],
                "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }],
                "special_tokens": { "</s>": { "id": "</s>", "ids": [1], "tokens": ["</s>"] } },
            },
            "decoder": null,
            "model": { "type": "Unigram", "unk_id": 2, "byte_fallback": false, "vocab": [
                ["<pad>", 0.0], ["</s>", 0.0], ["<unk>", 0.0],
                ["\u{2581}", -3.0], ["\u{2581}ca", -1.0], ["t", -1.5], ["s", -2.0], ["ts", -2.5],
            ] },
        });
        let tokenizer = Tokenizer::from_json(&json.to_string()).unwrap();
        let encoding = tokenizer.encode("cats  cat é", 10).unwrap();
        assert_eq!(encoding.ids, [4, 7, 4, 5, 3, 2, 1, 0, 0, 0]);
        assert_eq!(encoding.unknown, ["é"]);
    }

    #[test]
    fn gaps_in_the_ids_count_towards_the_size() {
        let json = trained().to_json().unwrap().replace("\"cat\":10", "\"cat\":70");
        assert_eq!(Tokenizer::from_json(&json).unwrap().vocab_size(), 71);
    }

    #[test]
    fn what_is_no_tokenizer_is_refused() {
        assert!(matches!(Tokenizer::from_json("{}"), Err(TokenizerError::Malformed(_))));
        assert!(matches!(Tokenizer::from_json("nonsense"), Err(TokenizerError::Malformed(_))));
        let json = trained().to_json().unwrap().replace("\"ids\":[1]", "\"ids\":[99]");
        assert!(matches!(Tokenizer::from_json(&json), Err(TokenizerError::Malformed(_))));
        let json = trained().to_json().unwrap().replace("{\"id\":\"</s>\"", "{\"id\":\"<s>\"");
        assert!(matches!(Tokenizer::from_json(&json), Err(TokenizerError::Malformed(_))));
        let json = trained().to_json().unwrap().replace("\"id\":\"A\"", "\"id\":\"B\"");
        assert!(matches!(Tokenizer::from_json(&json), Err(TokenizerError::Malformed(_))));
    }

    proptest! {
        #[test]
        fn any_text_fills_exactly_the_length_asked_for(text in "\\PC{0,60}", max_len in 1_usize..40) {
            let encoding = trained().encode(&text, max_len).unwrap();
            prop_assert_eq!(encoding.ids.len(), max_len);
            prop_assert!((1..=max_len).contains(&encoding.length));
            prop_assert_eq!(encoding.ids[encoding.length - 1], 1);
            prop_assert!(encoding.ids[encoding.length..].iter().all(|&id| id == PAD));
        }
    }
}
