//! `shotstream world`: draw, tell and judge stories of StoryWorld.

use shotstream_world::{Story, StoryOptions};

use crate::cli::{StoryArgs, WorldCommand};

mod draw;
mod judge;
mod pictures;

/// Run what was asked for.
pub(crate) fn run(command: &WorldCommand) -> anyhow::Result<()> {
    match command {
        WorldCommand::Draw(args) => draw::film(args),
        WorldCommand::Story(args) => super::print(&crate::story::to_json(&story(args), args.seed)?),
        WorldCommand::Sheet(args) => draw::sheet(args),
        WorldCommand::Judge(args) => judge::run(args),
        WorldCommand::Pictures(args) => pictures::run(args),
    }
}

/// The random story that flags ask for.
fn story(args: &StoryArgs) -> Story {
    let mut options = StoryOptions::default();
    if let Some(shots) = args.shots.map(usize::from) {
        options.shots = shots..=shots;
    }
    Story::sample(args.seed, &options)
}
