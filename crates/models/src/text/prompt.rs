//! What of a prompt is read that has more tokens than the text encoder reads.

use crate::{
    clean::clean,
    tokenizer::{Encoding, Tokenizer, TokenizerError},
};

/// Which words go when a prompt is too long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cut {
    /// The last ones, as in the reference: they are the shot's own.
    #[default]
    End,
    /// The last ones of the global caption; the shot's own only when nothing else is left.
    Global,
}

impl Cut {
    /// A prompt that begins with its global caption as `max_len` ids.
    pub(super) fn encode(
        self,
        tokenizer: &Tokenizer,
        global: &str,
        prompt: &str,
        max_len: usize,
    ) -> Result<Encoding, TokenizerError> {
        let shot = prompt.strip_prefix(global).filter(|_| !global.is_empty());
        match (self, shot) {
            (Self::Global, Some(shot)) => {
                // Cleaning joins what stands around the border, so it is found from the end.
                let whole = clean(prompt);
                let border = whole.strip_suffix(clean(shot).as_str()).map_or(0, str::len);
                tokenizer.encode_before(prompt, border, max_len)
            }
            _ => tokenizer.encode(prompt, max_len),
        }
    }
}
