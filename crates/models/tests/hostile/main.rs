//! Files of weights that want to do harm, or are broken: each is refused with one sentence, and
//! none makes the reader panic or take more memory than the file is long.

#![expect(clippy::unwrap_used, reason = "a test stops where its promise is broken")]

mod damaged;
mod fuzz;
mod ggufs;
mod zips;
