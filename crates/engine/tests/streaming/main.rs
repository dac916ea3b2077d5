//! A session as its client sees it, over networks that are arithmetic instead of weights.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

mod channels;
mod failures;
mod fake;
mod memory;
mod order;
mod recipes;
mod rewriting;
mod rollout;
