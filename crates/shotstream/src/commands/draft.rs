//! `shotstream draft`: a story from an idea, by a chat model of the user's choice.

use std::{collections::BTreeSet, env, ffi::OsStr, path::Path, time::Duration};

use shotstream_draft::{ChatError, DraftError, Endpoint, Wish, draft};
use shotstream_models::text::Cut;
use shotstream_plan::{recipe::Recipe, script::Script};
use shotstream_world::{Story, StoryOptions, Wording, captions, vocabulary};

use crate::{
    cli::{DraftArgs, Words},
    failure::{Blame as _, WrongUse},
    progress::line,
    story::{ShotEntry, StoryFile},
    telling,
    whole_file::WholeFile,
};

/// Where the key is looked for. A name of its own: a key for one house is not shown at another.
const KEY: &str = "SHOTSTREAM_CHAT_KEY";

/// How stories are told to a large model.
const ANY_GLOBAL: &str = "A young woman with short black hair and a yellow raincoat looks for her \
                          lost dog, a small white terrier, in a harbour town in the rain.";
const ANY_SHOTS: [&str; 2] = [
    "Wide shot: the woman in the yellow raincoat walks along the empty quay of a harbour in the \
     rain, fishing boats behind her, grey morning light.",
    "Close-up of the small white terrier under an upturned boat on the quay, wet and looking up.",
];

/// Ask, show, and write if asked to.
pub(crate) fn run(args: &DraftArgs) -> anyhow::Result<()> {
    let file = args.output.as_deref().map(place).transpose()?;
    let endpoint = Endpoint {
        base_url: args.base_url.clone(),
        key: env::var(KEY).ok().filter(|key| !key.is_empty()),
        model: args.model.clone(),
    };
    let script = ask(args, &endpoint)?;
    if args.words == Words::World
        && let Some(text) = telling::unread(&unknown(&script), 0, Cut::End)
    {
        line(&format!("warning: {}", text.replacen("the model", "the tiny model", 1)));
    }
    let shots = script.shots.into_iter().map(|shot| ShotEntry {
        caption: shot.caption,
        frames: shot.frames.map(|frames| frames.0),
        seed: shot.seed,
        then: shot.then,
    });
    let story = StoryFile { global: script.global, shots: shots.collect() };
    let text = match args.output.as_deref().and_then(Path::extension) {
        Some(ending) if ending == OsStr::new("toml") => toml::to_string_pretty(&story)?,
        _ => story.to_json()?,
    };
    super::print(&text)?;
    file.map_or(Ok(()), |file| file.finish(text.as_bytes()))
}

/// The place of a story that does not exist yet.
fn place(path: &Path) -> anyhow::Result<WholeFile> {
    match path.exists() {
        true => Err(WrongUse::error(format!("this file exists already: {}", path.display()))),
        false => WholeFile::create(path),
    }
}

fn ask(args: &DraftArgs, endpoint: &Endpoint) -> anyhow::Result<Script> {
    let told = captions(&Story::sample(0, &StoryOptions::default()), 0, &Wording::default());
    let told_shots: Vec<_> = told.shots.iter().map(String::as_str).collect();
    let known = vocabulary();
    let (words, example) = match args.words {
        Words::World => (&known[..], (told.global.as_str(), &told_shots[..])),
        Words::Any => (&[][..], (ANY_GLOBAL, &ANY_SHOTS[..])),
    };
    let wish = Wish { idea: &args.idea, shots: args.shots, words, example };
    let patience = Duration::from_secs(args.patience);
    match draft(endpoint, &wish, &Recipe::tiny(), patience) {
        Err(DraftError::Chat(error @ (ChatError::Address { .. } | ChatError::Key))) => {
            Err(error).wrong_use()
        }
        drafted => Ok(drafted?),
    }
}

/// Words that the tiny model does not know, each once.
fn unknown(script: &Script) -> Vec<String> {
    let known: BTreeSet<_> = vocabulary().into_iter().collect();
    let captions = script.shots.iter().map(|shot| &shot.caption).chain([&script.global]);
    let lower: Vec<_> = captions.map(|caption| caption.to_lowercase()).collect();
    let words = lower.iter().flat_map(|text| text.split(|c: char| !c.is_alphanumeric()));
    let words: BTreeSet<_> = words.filter(|w| !w.is_empty() && !known.contains(w)).collect();
    words.into_iter().map(str::to_owned).collect()
}
