//! Parts of a batch side by side, one thread each, with results in a fixed order.
//!
//! Small networks gain nothing from many threads inside one operation, and everything from each
//! core running its own part of the batch. How many parts there are is the recipe's choice, not the
//! machine's, so the sum of their gradients is the same on any number of cores.

use rayon::prelude::*;

/// One single-threaded pool per part: tensor operations stay on the thread that asked for them.
#[derive(Debug)]
pub struct Workers {
    outer: rayon::ThreadPool,
    inner: Vec<rayon::ThreadPool>,
}

impl Workers {
    /// `parts` parts on at most `threads` threads at a time.
    pub fn new(parts: usize, threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        let pool = |name: String, threads| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .thread_name(move |thread| format!("{name}-{thread}"))
                .build()
        };
        Ok(Self {
            outer: pool("parts".into(), threads.clamp(1, parts.max(1)))?,
            inner: (0..parts)
                .map(|part| pool(format!("part-{part}"), 1))
                .collect::<Result<_, _>>()?,
        })
    }

    /// How many parts there are.
    pub fn parts(&self) -> usize {
        self.inner.len()
    }

    /// Call `work(part)` for every part; results in part order.
    pub fn map<T: Send>(&self, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
        self.outer.install(|| {
            self.inner
                .par_iter()
                .enumerate()
                .with_max_len(1)
                .map(|(part, pool)| pool.install(|| work(part)))
                .collect()
        })
    }
}
