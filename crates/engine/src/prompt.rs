//! Prompt to text cache, once per prompt: a shot's caption is read again by every shot that
//! remembers it.

use std::collections::VecDeque;

use crate::meter::{Meter, Stage};
use crate::network::{Denoiser, NetworkError, StoryDenoiser, TextEncoder};

/// A prompt ready for the denoiser.
#[derive(Clone, Debug)]
pub(crate) struct Prompt<C> {
    /// Its cross-attention keys and values.
    pub(crate) cache: C,
    /// Words the text encoder does not know.
    pub(crate) unknown_words: Vec<String>,
    /// Tokens the text encoder did not read.
    pub(crate) dropped_tokens: usize,
}

/// The prompts used last.
pub(crate) struct PromptCache<'a, T, D: Denoiser> {
    text: &'a T,
    denoiser: &'a D,
    meter: &'a Meter,
    /// The one used last stands at the end.
    entries: VecDeque<(String, Prompt<D::TextCache>)>,
    capacity: usize,
    global: String,
}

impl<'a, T, D> PromptCache<'a, T, D>
where
    D: StoryDenoiser,
    T: TextEncoder<Embedding = D::Embedding>,
{
    /// A cache of at most `capacity` prompts.
    pub(crate) fn new(text: &'a T, denoiser: &'a D, meter: &'a Meter, capacity: usize) -> Self {
        let (entries, global) = (VecDeque::new(), String::new());
        Self { text, denoiser, meter, entries, capacity, global }
    }

    /// Read what follows under this global caption.
    pub(crate) fn go_under(&mut self, global: &str) {
        if self.global != global {
            self.entries.clear();
            self.global = global.to_owned();
        }
    }

    /// The prompt, computed only when it is not here.
    pub(crate) fn get(&mut self, prompt: &str) -> Result<Prompt<D::TextCache>, NetworkError> {
        let known = self.entries.iter().position(|(text, _)| text == prompt);
        let entry = match known.and_then(|index| self.entries.remove(index)) {
            Some((_, entry)) => entry,
            None => self.meter.time(Stage::Text, || self.compute(prompt))?,
        };
        if self.capacity <= self.entries.len() {
            self.entries.pop_front();
        }
        self.entries.push_back((prompt.to_owned(), entry.clone()));
        Ok(entry)
    }

    fn compute(&self, prompt: &str) -> Result<Prompt<D::TextCache>, NetworkError> {
        let embedded = self.text.embed_under(&self.global, prompt)?;
        let cache = self.denoiser.cache_text(&embedded.embedding)?;
        let (unknown_words, dropped_tokens) = (embedded.unknown_words, embedded.dropped_tokens);
        Ok(Prompt { cache, unknown_words, dropped_tokens })
    }
}
