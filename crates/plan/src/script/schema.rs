//! The one schema behind both spellings of a script.

use super::{
    Rewrite, Script, ShotScript, check_caption, check_rewrites,
    document::{Node, Value},
    error::{Problem, ScriptError},
};
use crate::{geometry::PixelFrames, recipe::Recipe};

type Entries = Vec<(String, Node)>;

pub(super) fn script_from_document(document: Node, recipe: &Recipe) -> Result<Script, ScriptError> {
    let entries = match document.value {
        Value::Table(entries) => entries,
        other => {
            let problem = Problem::Type { expected: "a table", found: other.name() };
            return Err(ScriptError { problem, key: None, line: Some(document.line) });
        }
    };
    let ours = entries.iter().any(|(key, _)| key == "shots" || key == "global");
    match ours {
        true => script_from_list(entries, recipe),
        false => script_from_numbered(entries),
    }
}

/// Our spelling: `global` and a list of `shots`.
fn script_from_list(entries: Entries, recipe: &Recipe) -> Result<Script, ScriptError> {
    let mut script = Script::default();
    for (key, node) in entries {
        match key.as_str() {
            "global" => script.global = caption(&key, node)?,
            "shots" => script.shots = shots(node, recipe)?,
            _ if key == "global_caption" || shot_number(&key).is_some() => {
                return Err(Problem::TwoSpellings.at(key, node.line));
            }
            _ => return Err(Problem::UnknownKey { expected: "global, shots" }.at(key, node.line)),
        }
    }
    match script.shots.is_empty() {
        true => Err(Problem::NoShots.nowhere()),
        false => Ok(script),
    }
}

fn shots(node: Node, recipe: &Recipe) -> Result<Vec<ShotScript>, ScriptError> {
    let Value::List(list) = node.value else {
        return Err(wrong_type("shots", node, "a list of tables"));
    };
    let numbered = list.into_iter().enumerate();
    numbered.map(|(index, node)| shot(&format!("shots[{index}]"), node, recipe)).collect()
}

fn shot(place: &str, node: Node, recipe: &Recipe) -> Result<ShotScript, ScriptError> {
    let shot_line = node.line;
    let Value::Table(entries) = node.value else {
        return Err(wrong_type(place, node, "a table with a caption"));
    };
    let mut shot = ShotScript::default();
    let (mut has_caption, mut then_line) = (false, shot_line);
    for (key, node) in entries {
        let (place, line) = (format!("{place}.{key}"), node.line);
        match key.as_str() {
            "caption" => {
                shot.caption = caption(&place, node)?;
                has_caption = true;
            }
            "frames" => {
                let frames =
                    PixelFrames(usize::try_from(whole(&place, node)?).unwrap_or(usize::MAX));
                recipe
                    .chunks_from_shot(frames)
                    .map_err(|error| Problem::Frames(error).at(place, line))?;
                shot.frames = Some(frames);
            }
            "seed" => shot.seed = Some(whole(&place, node)?),
            "then" => {
                shot.then = rewrites(&place, node)?;
                then_line = line;
            }
            _ => {
                return Err(
                    Problem::UnknownKey { expected: "caption, frames, seed, then" }.at(place, line)
                );
            }
        }
    }
    if !has_caption {
        return Err(Problem::Missing.at(format!("{place}.caption"), shot_line));
    }
    let chunks = recipe.chunks_from_shot(shot.frames.unwrap_or(recipe.shot_frames()));
    let checked = chunks
        .map_err(Problem::Frames)
        .and_then(|chunks| check_rewrites(&shot.then, chunks).map_err(Problem::Rewrite));
    checked.map_err(|problem| problem.at(format!("{place}.then"), then_line))?;
    Ok(shot)
}

/// What comes in place of a shot's caption, in order.
fn rewrites(place: &str, node: Node) -> Result<Vec<Rewrite>, ScriptError> {
    let Value::List(list) = node.value else {
        return Err(wrong_type(place, node, "a list of tables"));
    };
    let numbered = list.into_iter().enumerate();
    numbered.map(|(index, node)| rewrite(&format!("{place}[{index}]"), node)).collect()
}

fn rewrite(place: &str, node: Node) -> Result<Rewrite, ScriptError> {
    let line = node.line;
    let Value::Table(entries) = node.value else {
        return Err(wrong_type(place, node, "a table with after_chunks and a caption"));
    };
    let (mut after_chunks, mut words) = (None, None);
    for (key, node) in entries {
        let (place, line) = (format!("{place}.{key}"), node.line);
        match key.as_str() {
            "after_chunks" => {
                after_chunks = Some(usize::try_from(whole(&place, node)?).unwrap_or(usize::MAX));
            }
            "caption" => words = Some(caption(&place, node)?),
            _ => {
                let problem = Problem::UnknownKey { expected: "after_chunks, caption" };
                return Err(problem.at(place, line));
            }
        }
    }
    let missing = |key| Problem::Missing.at(format!("{place}.{key}"), line);
    Ok(Rewrite {
        after_chunks: after_chunks.ok_or_else(|| missing("after_chunks"))?,
        caption: words.ok_or_else(|| missing("caption"))?,
    })
}

/// The reference's spelling: `global_caption`, `shot1`, `shot2`, … and keys nobody reads.
fn script_from_numbered(entries: Entries) -> Result<Script, ScriptError> {
    let mut global = None;
    let mut numbered = Vec::new();
    for (key, node) in entries {
        match shot_number(&key) {
            Some(number) if format!("shot{number}") == key && 0 < number => {
                numbered.push((number, node));
            }
            Some(_) => return Err(Problem::ShotKey.at(key, node.line)),
            None if key == "global_caption" => global = Some(caption(&key, node)?),
            None => {}
        }
    }
    if numbered.is_empty() {
        return Err(Problem::NoShots.nowhere());
    }
    let global = global.ok_or_else(|| ScriptError {
        problem: Problem::Missing,
        key: Some("global_caption".to_owned()),
        line: None,
    })?;
    numbered.sort_by_key(|(number, _)| *number);
    let mut shots = Vec::with_capacity(numbered.len());
    for (expected, (number, node)) in (1..).zip(numbered) {
        if expected < number {
            let later = format!("shot{number}");
            return Err(Problem::Gap { later }.at(format!("shot{expected}"), node.line));
        }
        shots.push(ShotScript::new(caption(&format!("shot{number}"), node)?));
    }
    Ok(Script { global, shots })
}

/// The number of a key such as `shot12`.
fn shot_number(key: &str) -> Option<u64> {
    let digits = key.strip_prefix("shot")?;
    let only_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    only_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

fn caption(key: &str, node: Node) -> Result<String, ScriptError> {
    let line = node.line;
    let Value::Text(text) = node.value else { return Err(wrong_type(key, node, "text")) };
    check_caption(&text).map_err(|error| Problem::Caption(error).at(key, line))?;
    Ok(text)
}

fn whole(key: &str, node: Node) -> Result<u64, ScriptError> {
    match node.value {
        Value::Whole(number) => Ok(number),
        _ => Err(wrong_type(key, node, "a whole number")),
    }
}

fn wrong_type(key: &str, node: Node, expected: &'static str) -> ScriptError {
    Problem::Type { expected, found: node.value.name() }.at(key, node.line)
}
