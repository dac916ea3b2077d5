//! A session of the engine with somebody who watches it.

use std::{ops::ControlFlow, sync::mpsc::Receiver, thread};

use anyhow::anyhow;
use shotstream_engine::{
    error::SessionError,
    event::{Command, Event, EventReceiver, channel},
    meter::Meter,
    session::{self, Networks, Settings},
    story::StoryState,
};
use shotstream_models::{
    fast::{FastNetworks, Kernels},
    text::Cut,
};

use crate::failure::Blame as _;

/// Chunks that may wait to be written into the film.
const CHUNKS_AHEAD: usize = 2;

/// Unknown words that are listed.
const MOST_WORDS: usize = 8;

/// A story about to be told.
#[derive(Debug)]
pub(crate) struct Telling<'a, K: Kernels> {
    /// What it is told with.
    pub(crate) networks: &'a FastNetworks<K>,
    /// How.
    pub(crate) settings: &'a Settings,
    /// Where it goes on from.
    pub(crate) story: &'a mut StoryState,
    /// What the user asks for.
    pub(crate) commands: Receiver<Command>,
    /// What notes the times.
    pub(crate) meter: &'a Meter,
}

impl<K: Kernels> Telling<'_, K> {
    /// Tell the story on a thread of its own and watch every event on this one, until the story
    /// ends or `watch` breaks off.
    ///
    /// # Errors
    /// Why the story ended early, or the error of `watch`.
    pub(crate) fn watch(
        self,
        watch: impl FnMut(Event) -> anyhow::Result<ControlFlow<()>>,
    ) -> anyhow::Result<()> {
        let Self { networks, settings, story, commands, meter } = self;
        let (sender, events) = channel(CHUNKS_AHEAD);
        let FastNetworks { text, denoiser, decoder, encoder } = networks;
        let tell = move || {
            let networks = Networks { text, denoiser, decoder, encoder };
            session::run(&networks, settings, story, &commands, &sender, meter)
        };
        thread::scope(|scope| {
            let teller = thread::Builder::new().name("session".to_owned());
            let teller = teller.spawn_scoped(scope, tell)?;
            let watched = watch_all(events, watch);
            match teller.join() {
                Ok(_) => watched,
                Err(_) => Err(anyhow!("the session stopped unexpectedly, this is a defect")),
            }
        })
    }
}

fn watch_all(
    events: EventReceiver,
    mut watch: impl FnMut(Event) -> anyhow::Result<ControlFlow<()>>,
) -> anyhow::Result<()> {
    for event in events {
        match event {
            Event::Finished => break,
            Event::Failed { error: error @ SessionError::Noise(_) } => {
                return Err(error).wrong_use();
            }
            Event::Failed { error } => return Err(error.into()),
            event => {
                if watch(event)?.is_break() {
                    break;
                }
            }
        }
    }
    Ok(())
}

/// What of a prompt the model does not read, in words; nothing if it reads all of it. `cut` is where
/// words go when there are too many.
pub(crate) fn unread(unknown_words: &[String], dropped_tokens: usize, cut: Cut) -> Option<String> {
    let mut quoted: Vec<_> =
        unknown_words.iter().map(|word| format!("'{}'", word.escape_debug())).collect();
    if MOST_WORDS < quoted.len() {
        let more = quoted.split_off(MOST_WORDS).len();
        quoted.push(format!("{more} more"));
    }
    let unknown = match &quoted[..] {
        [] => None,
        [word] => Some(format!("the model does not know the word {word}")),
        [words @ .., last] => {
            Some(format!("the model does not know the words {} and {last}", words.join(", ")))
        }
    };
    let of = match cut {
        Cut::End => "the prompt",
        Cut::Global => "the global caption",
    };
    let dropped = match dropped_tokens {
        0 => None,
        1 => Some(format!("does not read the last token of {of}")),
        many => Some(format!("does not read the last {many} tokens of {of}")),
    };
    match (unknown, dropped) {
        (Some(unknown), Some(dropped)) => Some(format!("{unknown}, and {dropped}")),
        (None, Some(dropped)) => Some(format!("the model {dropped}")),
        (unknown, None) => unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_read_is_one_sentence() {
        let words = |count: usize| (0..count).map(|k| format!("w{k}")).collect::<Vec<_>>();
        let said = |count, dropped| unread(&words(count), dropped, Cut::End).unwrap_or_default();
        assert_eq!(said(0, 0), "");
        assert_eq!(said(1, 0), "the model does not know the word 'w0'");
        assert_eq!(
            said(2, 1),
            "the model does not know the words 'w0' and 'w1', \
             and does not read the last token of the prompt"
        );
        assert!(said(99, 0).ends_with("'w7' and 91 more"), "{}", said(99, 0));
        assert_eq!(said(0, 7), "the model does not read the last 7 tokens of the prompt");
        let said = unread(&[], 7, Cut::Global).unwrap_or_default();
        assert_eq!(said, "the model does not read the last 7 tokens of the global caption");
    }
}
