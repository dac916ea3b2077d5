//! `shotstream story`: what can be done with directed stories without a server.

use std::{
    fmt::Write as _,
    fs::File,
    io::BufReader,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::anyhow;
use shotstream_plan::recipe::Recipe;
use shotstream_story::{
    StoryError,
    memory::trace_of,
    replay::{Replayed, replay},
    shotstory::{export, import},
    store::{Entry, Store},
};

use super::{print, serve::ModelTeller};
use crate::{
    cli::{ExportStoryArgs, FolderArgs, ImportStoryArgs, MemoryArgs, ReplayArgs, StoryCommand},
    device::with_kernels,
    failure::Blame as _,
    model,
    whole_file::WholeFile,
};

/// Do what was asked.
pub(crate) fn run(command: &StoryCommand) -> anyhow::Result<()> {
    match command {
        StoryCommand::List(args) => list(args),
        StoryCommand::Export(args) => write_file(args),
        StoryCommand::Import(args) => read_file(args),
        StoryCommand::Memory(args) => memory(args),
        StoryCommand::Replay(args) => make_again(args),
        StoryCommand::Gc(args) => collect(args),
    }
}

fn list(args: &FolderArgs) -> anyhow::Result<()> {
    let store = Store::open(&args.stories)?;
    let mut text = String::new();
    for listed in store.list()? {
        let Entry { title, shots, takes, .. } = listed.entry;
        let title = title.escape_debug();
        writeln!(text, "{}  {shots} shots  {takes} takes  {title}", listed.id)?;
    }
    print(&text)
}

fn write_file(args: &ExportStoryArgs) -> anyhow::Result<()> {
    let store = Store::open(&args.folder.stories)?;
    let file = export(&store, &args.story, Vec::new()).map_err(blame)?;
    WholeFile::create(&args.file)?.finish(&file)
}

fn read_file(args: &ImportStoryArgs) -> anyhow::Result<()> {
    let file = File::open(&args.file);
    let place = args.file.display();
    let file =
        file.map_err(|e| format!("cannot read the story file ({e}): {place}")).wrong_use()?;
    let store = Store::open(&args.folder.stories)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let id = import(&store, BufReader::new(file), now).map_err(blame)?;
    print(&format!("{id}\n"))
}

fn memory(args: &MemoryArgs) -> anyhow::Result<()> {
    let story = Store::open(&args.folder.stories)?.load(&args.story).map_err(blame)?;
    let recipe = Recipe::from_toml(&story.premise.recipe)?;
    let mut text = String::new();
    for take in story.line().iter().filter_map(|&take| story.take(take)) {
        text += &trace_of(&story, take, &recipe)?;
    }
    print(&text)
}

fn make_again(args: &ReplayArgs) -> anyhow::Result<()> {
    let store = Store::open(&args.folder.stories)?;
    let story = store.load(&args.story).map_err(blame)?;
    let file = model::open(&args.model)?;
    let replayed = with_kernels!(file.device.clone(), kernels => {
        let teller = ModelTeller::open(file, kernels, (&args.text, &args.decoder), args.size)?;
        replay(&story, store.blobs(), &teller)?
    });
    let Replayed { takes, chunks, differing } = replayed;
    match &differing[..] {
        [] => print(&format!("{takes} takes made again, {chunks} chunks, every one the same\n")),
        [(take, chunk), ..] => Err(anyhow!(
            "{} of {chunks} chunks differ, the first is chunk {chunk} of take {take}",
            differing.len()
        )),
    }
}

fn collect(args: &FolderArgs) -> anyhow::Result<()> {
    let collected = Store::open(&args.stories)?.collect_garbage()?;
    let (kept, removed, bytes) = (collected.kept, collected.removed, collected.removed_bytes);
    print(&format!("{removed} blobs removed, {bytes} bytes, {kept} kept\n"))
}

/// Wrong use, if what was asked for was at fault.
fn blame(error: StoryError) -> anyhow::Error {
    match error.is_refusal() {
        true => crate::failure::WrongUse::error(error.to_string()),
        false => error.into(),
    }
}
