//! A plan as text: what `shotstream plan` prints, and what golden tests compare.
//!
//! One line per thing a reader might ask about, in the order in which it happens. Shots, chunks,
//! frames and positions count from 0, as in the code.

use std::{fmt::Write, ops::Range};

use crate::{
    context::ContextFrame,
    geometry::LatentFrames,
    layout::{ChunkLayout, ContextLayout},
    plan::{Plan, ShotPlan},
    recipe::Recipe,
    script::{Script, ShotScript},
    timeline::clock,
};

/// Characters of a caption that fit on one line with everything around it.
const SHOWN_CHARACTERS: usize = 88;

/// The plan of a script, to be read by a person.
pub fn trace(script: &Script, plan: &Plan) -> String {
    let mut text = String::new();
    write_trace(&mut text, script, plan).expect("writing to a string does not fail");
    text
}

fn write_trace(out: &mut String, script: &Script, plan: &Plan) -> std::fmt::Result {
    let recipe = plan.recipe();
    let [height, width] = recipe.geometry().pixels;
    let fps = recipe.frames_per_second();
    let total = plan.timeline().total().0;
    let shots = counted(plan.shots().len(), "shot");
    let length = clock(total, fps);
    writeln!(out, "story: {shots}, {total} frames of {width}x{height}, {length} at {fps} Hz")?;
    if !script.global.is_empty() {
        writeln!(out, "  {}", quoted(&script.global))?;
    }
    write_recipe(out, recipe)?;
    for (shot, asked) in plan.shots().iter().zip(&script.shots) {
        writeln!(out)?;
        write_shot(out, recipe, shot, asked, script)?;
    }
    Ok(())
}

fn write_recipe(out: &mut String, recipe: &Recipe) -> std::fmt::Result {
    let geometry = recipe.geometry();
    let timesteps: Vec<_> = recipe.timesteps().iter().map(|t| format!("{t:.1}")).collect();
    let chunk = geometry.chunk;
    let tokens = geometry.tokens_from_latent(chunk).0;
    writeln!(out, "every chunk: {} latent frames, {tokens} tokens", chunk.0)?;
    let steps = timesteps.len();
    writeln!(out, "  denoised in {steps} steps at timesteps {}", timesteps.join(" "))?;
    writeln!(out, "  committed at timestep 0")
}

fn write_shot(
    out: &mut String,
    recipe: &Recipe,
    shot: &ShotPlan,
    asked: &ShotScript,
    script: &Script,
) -> std::fmt::Result {
    let fps = recipe.frames_per_second();
    let (start, end) = (shot.start, shot.start + shot.frames.0);
    let seed = asked.seed.map_or(String::new(), |seed| format!(", seed {seed}"));
    writeln!(
        out,
        "shot {}: {} frames = {} latent, {} to {}{seed}",
        shot.shot,
        shot.frames.0,
        shot.latents.0,
        clock(start, fps),
        clock(end, fps),
    )?;
    writeln!(out, "  {}", quoted(&asked.caption))?;
    let words_of = |it: &ContextFrame| {
        let rewrite = script.shots[it.shot].rewrite_of(it.frame, recipe.geometry());
        rewrite.map(|rewrite| rewrite.after_chunks)
    };
    write_context(out, &shot.context, words_of)?;
    write_chunks(out, shot, asked)?;
    write_memory(out, recipe, shot)
}

/// `words_of` says after which chunk of its shot the words of a frame were changed.
fn write_context(
    out: &mut String,
    context: &ContextLayout,
    words_of: impl Fn(&ContextFrame) -> Option<usize>,
) -> std::fmt::Result {
    if context.slots.is_empty() {
        return writeln!(out, "  remembers nothing: there are no context frames");
    }
    if context.is_null() {
        let positions = span(&(0..context.slots.len()));
        let frames = context.slots.len();
        return writeln!(
            out,
            "  remembers nothing: {frames} null frames at positions {positions}, phase 0, own caption"
        );
    }
    let pairs: Vec<_> = context.frames.iter().zip(&context.slots).collect();
    for group in pairs.chunk_by(|(a, _), (b, _)| a.shot == b.shot && words_of(a) == words_of(b)) {
        let (frame, slot) = group[0];
        let frames: Vec<_> = group.iter().map(|(frame, _)| frame.frame.to_string()).collect();
        let positions = slot.position as usize..slot.position as usize + group.len();
        let own = context.captions[slot.caption] == frame.shot;
        let words = words_of(frame).filter(|_| own);
        let words = words.map_or(String::new(), |chunk| format!(" from chunk {chunk}"));
        writeln!(
            out,
            "  remembers shot {}: {} {} at {}, phase {}, caption {}{words}",
            frame.shot,
            plural(group.len(), "frame"),
            frames.join(" "),
            at_positions(&positions),
            slot.phase,
            context.captions[slot.caption],
        )?;
    }
    Ok(())
}

fn chunk_row(chunk: &ChunkLayout) -> [String; 5] {
    let slots = &chunk.slots;
    let positions = slots[0].position as usize..slots[slots.len() - 1].position as usize + 1;
    let sink = match chunk.sink.len() {
        0 => String::new(),
        _ => format!(", latent {} among them", span(&chunk.sink)),
    };
    [
        format!("chunk {}:", chunk.chunk),
        format!("latent {},", span(&chunk.latents)),
        format!("frames {},", span(&chunk.frames)),
        format!("{},", at_positions(&positions)),
        format!("phase {}, attends to {} tokens{sink}", slots[0].phase, chunk.attended.0),
    ]
}

fn write_chunks(out: &mut String, shot: &ShotPlan, asked: &ShotScript) -> std::fmt::Result {
    let rows: Vec<_> = shot.chunks.iter().map(chunk_row).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let [a, b, c, d] = [0, 1, 2, 3].map(width);
    for (number, [chunk, latents, frames, positions, rest]) in rows.iter().enumerate() {
        if let Some(rewrite) = asked.then.iter().find(|it| it.after_chunks == number) {
            let last = &shot.chunks[number - 1];
            let kept = shot.chunks[..number].iter().filter(|chunk| last.sees(chunk)).count();
            writeln!(out, "  {}", quoted(&rewrite.caption))?;
            writeln!(out, "  {} committed again", counted(kept, "chunk"))?;
        }
        writeln!(out, "  {chunk:a$} {latents:b$} {frames:c$} {positions:d$} {rest}")?;
    }
    Ok(())
}

fn write_memory(out: &mut String, recipe: &Recipe, shot: &ShotPlan) -> std::fmt::Result {
    let geometry = recipe.geometry();
    let context = geometry.tokens_from_latent(LatentFrames(shot.context.slots.len()));
    let local = geometry.tokens_from_latent(shot.latents.min(recipe.window()));
    writeln!(out, "  memory: {} tokens of context, up to {} of its own", context.0, local.0)?;
    if shot.candidates.is_empty() {
        return writeln!(out, "  leaves nothing");
    }
    let candidates: Vec<_> = shot.candidates.iter().map(usize::to_string).collect();
    writeln!(out, "  leaves frames {}", candidates.join(" "))
}

fn at_positions(positions: &Range<usize>) -> String {
    format!("{} {}", plural(positions.len(), "position"), span(positions))
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {}", plural(count, noun))
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { noun.to_owned() } else { format!("{noun}s") }
}

/// A range with both ends, as people write it.
fn span(range: &Range<usize>) -> String {
    match range.len() {
        1 => range.start.to_string(),
        _ => format!("{}-{}", range.start, range.end - 1),
    }
}

/// A caption on one line, cut where it is long.
fn quoted(caption: &str) -> String {
    let line = caption.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SHOWN_CHARACTERS {
        return format!("\"{line}\"");
    }
    let start: String = line.chars().take(SHOWN_CHARACTERS).collect();
    format!("\"{}…\"", start.trim_end())
}
