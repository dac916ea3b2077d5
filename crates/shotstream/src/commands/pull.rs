//! `shotstream pull`: the published weights, from the hub or a mirror into a folder.

use std::{fmt::Write as _, path::PathBuf};

use shotstream_pull::{Found, Hub, PUBLISHERS, Part, PullError, Step, Wanted, check_space, folder};

use crate::{
    cli::{PartName, PullArgs},
    failure::{Blame as _, WrongUse},
    progress::{Progress, line},
};

/// Bytes of a unit of progress.
const MEGABYTE: u64 = 1_000_000;

/// Fetch what is missing and lay the folder out.
pub(crate) fn run(args: &PullArgs) -> anyhow::Result<()> {
    let wanted = wanted(args)?;
    folder::check(&args.folder, &wanted).wrong_use()?;
    let hub = blamed(Hub::from_env())?;
    let mut progress = Progress::new();
    let mut files = blamed(hub.look_up(&wanted, &mut |step| say(&progress, "the hub", &step)))?;
    let missing: u64 = files.iter().map(|found| found.size - found.here).sum();
    if args.dry_run {
        progress.clear();
        return super::print(&table(&hub, &files, missing)?);
    }
    let missing = missing + if args.verify { verify(&hub, &mut files, &mut progress)? } else { 0 };
    check_space(&hub.cache(), missing)?;
    let all: u64 = files.iter().map(|found| found.size).sum();
    let (mut before, mut laid) = (0, Vec::with_capacity(files.len()));
    for found in &files {
        laid.push((found, fetch(&hub, found, [before, all], &mut progress)?));
        before += found.size;
    }
    progress.clear();
    folder::lay_out(&args.folder, &laid)?;
    let (count, place) = (files.len(), args.folder.display());
    let [all, missing] = [all, missing].map(megabytes);
    line(&format!("{place}: {count} files, {all:.1} MB, of which {missing:.1} MB were fetched"));
    Ok(())
}

/// Check what is here, and return how many bytes of it have to come again.
fn verify(hub: &Hub, files: &mut [Found], progress: &mut Progress) -> anyhow::Result<u64> {
    let (mut again, count) = (0, files.len() as u64);
    for (index, found) in files.iter_mut().enumerate() {
        let file = found.wanted.file;
        progress.show(index as u64, count, &format!("files checked, now {file}"));
        if !hub.verify(found)? {
            progress.say(&format!("warning: {file}: damaged, it is fetched anew"));
            again += std::mem::take(&mut found.here);
        }
    }
    Ok(again)
}

/// Bring one file, `before` of `all` bytes of all files having come before it.
fn fetch(
    hub: &Hub,
    found: &Found,
    [before, all]: [u64; 2],
    progress: &mut Progress,
) -> anyhow::Result<PathBuf> {
    let file = found.wanted.file;
    let size = megabytes(found.size);
    let whole = found.is_whole();
    let fetched = hub.fetch(found, &mut |step| match step {
        Step::Here(here) => {
            let words = format!("MB  {file} {:.1} of {size:.1}", megabytes(here));
            let (done, all) = ((before + here) / MEGABYTE, all.div_ceil(MEGABYTE));
            progress.show(done, all, &words);
        }
        Step::Checking => {
            let [done, all] = [before + found.size, all].map(|bytes| bytes / MEGABYTE);
            progress.show(done, all + 1, &format!("MB  {file}, its digest is taken"));
        }
        step => say(progress, file, &step),
    });
    let path = blamed(fetched)?;
    if !whole {
        progress.say(&format!("{file}: {size:.1} MB"));
    }
    Ok(path)
}

/// What the user should know of a step.
fn say(progress: &Progress, what: &str, step: &Step<'_>) {
    match step {
        Step::Again { reason, wait } => {
            let wait = wait.as_secs_f64();
            progress.say(&format!("warning: {what}: {reason}, asked again in {wait:.1} s"));
        }
        Step::Anew => progress.say(&format!(
            "warning: {what}: what an earlier attempt left is damaged, it is fetched anew"
        )),
        Step::Here(_) | Step::Checking => {}
    }
}

/// The files that flags ask for.
fn wanted(args: &PullArgs) -> anyhow::Result<Vec<Wanted>> {
    let named = args.revisions.iter().filter_map(|revision| revision.repo.as_deref());
    for repo in named {
        if !PUBLISHERS.contains(&repo) {
            let known = PUBLISHERS.join(" or ");
            return Err(WrongUse::error(format!("expected {known} before a '=', found '{repo}'")));
        }
    }
    let parts: Vec<_> = match &args.only[..] {
        [] => Part::DEFAULT.to_vec(),
        only => only.iter().map(|&name| part(name)).collect(),
    };
    Ok(Wanted::of(&parts, |repo| {
        let own = args.revisions.iter().rev().find(|one| one.repo.as_deref() == Some(repo));
        let of_all = || args.revisions.iter().rev().find(|one| one.repo.is_none());
        own.or_else(of_all).map(|one| one.revision.clone())
    }))
}

fn part(name: PartName) -> Part {
    match name {
        PartName::Student => Part::Student,
        PartName::OdeInit => Part::OdeInit,
        PartName::Teacher => Part::Teacher,
        PartName::Wan => Part::Wan,
        PartName::Config => Part::Config,
        PartName::Vae => Part::Vae,
        PartName::TextEncoder => Part::TextEncoder,
        PartName::Tokenizer => Part::Tokenizer,
    }
}

/// A line for every file, and what is missing in all.
fn table(hub: &Hub, files: &[Found], missing: u64) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for Found { wanted, commit, size, here, .. } in files {
        let state = match (here, size) {
            (0, _) => "missing".to_owned(),
            (here, size) if here < size => format!("{:.1} MB here", megabytes(*here)),
            _ => "here".to_owned(),
        };
        let Wanted { repo, revision, file, .. } = wanted;
        let (size, commit) = (megabytes(*size), &commit[..8]);
        writeln!(text, "{size:>10.1} MB  {state:<16}{repo} {revision} ({commit})  {file}")?;
    }
    let (missing, cache) = (megabytes(missing), hub.cache());
    writeln!(text, "{missing:>10.1} MB  to fetch into {}", cache.display())?;
    Ok(text)
}

/// Wrong use where the user can mend it by asking differently.
fn blamed<T>(result: Result<T, PullError>) -> anyhow::Result<T> {
    match result {
        Err(
            error @ (PullError::Endpoint { .. }
            | PullError::Token { .. }
            | PullError::NoHome
            | PullError::Absent { .. }
            | PullError::Closed { .. }),
        ) => Err(error).wrong_use(),
        other => Ok(other?),
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / MEGABYTE as f64
}
