//! Stories that are directed: made, changed, interrupted, carried away and made again.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

mod edits;
mod fake;
mod fuzz;
mod held;
mod keeping;
mod making;
mod rewriting;
