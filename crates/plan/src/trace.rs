//! A plan as text: what `shotstream plan` prints, and what golden tests compare.

use crate::{plan::Plan, script::Script};

/// The plan of a script, to be read by a person.
pub fn trace(script: &Script, plan: &Plan) -> String {
    format!("story: {} shots, {} frames\n", script.shots.len(), plan.timeline().total().0)
}
