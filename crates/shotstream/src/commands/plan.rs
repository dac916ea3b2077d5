//! `shotstream plan`: what would happen for a story, as text, without weights.

use shotstream_plan::{plan::Plan, trace::trace};

use crate::{cli::PlanArgs, failure::Blame as _, model::ModelFile, story};

/// Print the plan.
pub(crate) fn run(args: &PlanArgs) -> anyhow::Result<()> {
    let file = ModelFile::open(&args.model)?.by_recipe(args.recipe.as_deref())?;
    let recipe = file.recipe(args.size)?;
    let script = story::read(&args.story, &recipe)?;
    let plan = Plan::of(recipe, &script).wrong_use()?;
    super::print(&trace(&script, &plan))
}
