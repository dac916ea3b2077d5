//! `world judge`: a model films unseen stories, and what its frames show is read off and counted.

mod verdict;

use shotstream_media::png::write_png;
use shotstream_models::bundle::Bundle;
use shotstream_plan::{
    context::MemoryPolicy,
    recipe::{Recipe, RecipeFile},
};
use shotstream_train::court::{
    Court, CourtDenoiser, Euler, Film, Findings, Hearing, Past, Teacher, Through, drawn, judge_vae,
    sheet,
};
use shotstream_world::StoryOptions;

use self::verdict::{Column, Mark, Verdict, table};
use crate::{
    cli::{JudgeArgs, MemoryName, PastName},
    failure::{Blame as _, WrongUse},
    hardware::cores,
    model::{self, ModelFile},
    progress::Progress,
};

/// Shots at which a long story is looked at, counted from 1.
const MARKS: [usize; 6] = [1, 2, 5, 10, 20, 50];

/// Shots of a long story, if nothing else is asked for.
const LONG: u16 = 50;

/// Judge and print.
pub(crate) fn run(args: &JudgeArgs) -> anyhow::Result<()> {
    let file = model::open_to_load(&args.model)?;
    let bundle = file.load()?;
    let (columns, films) = hear_all(args, &bundle, file.recipe(None)?)?;
    let verdict = Verdict {
        model: file.name.clone(),
        stories: args.stories,
        seed: args.seed,
        anonymous: args.anonymous,
        untold: args.untold,
        columns,
        vae: judge_vae(&bundle, args.seed, args.clips.into()),
    };
    super::super::print(&if args.json {
        serde_json::to_string_pretty(&verdict)? + "\n"
    } else {
        table(&verdict)
    })?;
    // Last, so that a picture that cannot be written does not cost the numbers.
    match &args.sheet {
        Some(path) => Ok(write_png(path, &sheet(&films))?),
        None => Ok(()),
    }
}

/// Every column that is asked for, and the films of the first.
fn hear_all(
    args: &JudgeArgs,
    bundle: &Bundle,
    recipe: Recipe,
) -> anyhow::Result<(Vec<Column>, Vec<Film>)> {
    let mut memories: Vec<_> = args.memory.iter().map(|&name| Some(policy(name))).collect();
    if memories.is_empty() {
        memories.push(None);
    }
    let (mut columns, mut first) = (Vec::new(), Vec::new());
    for memory in memories {
        let changed = memory.map(|memory| RecipeFile { memory, ..recipe.clone().into() }.resolve());
        let court =
            Court::student(bundle, changed.transpose().wrong_use()?.unwrap_or(recipe.clone()))?;
        for &context in &args.context {
            let past = past(context);
            let policy = memory.map(MemoryPolicy::name);
            let name = [policy, Some(past.name())].into_iter().flatten().collect::<Vec<_>>();
            let films = hear(args, &court, past, &name.join(" "))?;
            columns.push(column(args, name.join(" "), &films));
            if columns.len() == 1 {
                first = films;
            }
        }
    }
    if let Some(path) = &args.teacher {
        let film = hear(args, &teacher(args, path)?, Past::Own, "teacher")?;
        columns.push(column(args, "teacher".to_owned(), &film));
    }
    for (name, through) in [("drawn", Through::Nothing), ("through the VAE", Through::Vae)] {
        if args.drawn {
            let mut progress = Progress::new();
            let mut watch = |done, all| progress.show(done, all, &format!("stories, {name}"));
            let films = drawn(bundle, &hearing(args, Past::Own), through, &mut watch);
            progress.clear();
            columns.push(column(args, name.to_owned(), &films));
        }
    }
    Ok((columns, first))
}

fn teacher(args: &JudgeArgs, path: &str) -> anyhow::Result<Court<Teacher>> {
    if !args.guidance.is_finite() {
        return Err(WrongUse::error("--guidance must be finite"));
    }
    let file = ModelFile::open(path)?;
    let euler = Euler {
        steps: args.teacher_steps.into(),
        guidance: args.guidance,
        negative: args.negative.clone(),
    };
    Ok(Court::teacher(&file.load()?, file.recipe(None)?, &euler)?)
}

/// Which stories are filmed, and how they are told.
fn hearing(args: &JudgeArgs, past: Past) -> Hearing {
    let mut options = StoryOptions::default();
    if args.drift {
        options.pairs = 0.0;
    }
    if let Some(shots) = args.shots.or(args.drift.then_some(LONG)).map(usize::from) {
        options.shots = shots..=shots;
    }
    Hearing {
        seed: args.seed,
        stories: args.stories.into(),
        options,
        anonymous: args.anonymous,
        past,
        untold: args.untold,
        marks: if args.drift { MARKS.map(|shot| shot - 1).to_vec() } else { Vec::new() },
    }
}

/// Film all stories for one column.
fn hear(
    args: &JudgeArgs,
    court: &Court<impl CourtDenoiser>,
    past: Past,
    name: &str,
) -> anyhow::Result<Vec<Film>> {
    let threads = args.model.threads.map_or_else(cores, usize::from);
    let mut progress = Progress::new();
    let mut watch = |done, all| progress.show(done, all, &format!("stories, {name}"));
    let films = court.hear(&hearing(args, past), threads, &mut watch)?;
    progress.clear();
    Ok(films)
}

fn column(args: &JudgeArgs, name: String, films: &[Film]) -> Column {
    let marks = if args.drift { Mark::all(films, &MARKS) } else { Vec::new() };
    Column { name, findings: Findings::of(films), marks }
}

fn past(name: PastName) -> Past {
    match name {
        PastName::Own => Past::Own,
        PastName::Zeroed => Past::Zeroed,
        PastName::Swapped => Past::Swapped,
    }
}

fn policy(name: MemoryName) -> MemoryPolicy {
    match name {
        MemoryName::Spread => MemoryPolicy::Spread,
        MemoryName::First => MemoryPolicy::First,
        MemoryName::FirstLast => MemoryPolicy::FirstLast,
        MemoryName::Anchor => MemoryPolicy::Anchor,
        MemoryName::Recent => MemoryPolicy::Recent,
    }
}
