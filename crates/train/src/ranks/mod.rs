//! Several processes that train one model together, each with a share of every batch.
//!
//! Batches are functions of their address, so no data travels: gradients and losses do, and what
//! went wrong. Every rank holds the whole model and makes the same update; the first alone writes.
//!
//! An error must not leave the others waiting for ever. So ranks only ever wait for each other in a
//! *meeting*, where each brings its result or its error, or right after one, when all are known to
//! be well. Whatever fails on one rank between two meetings is brought to its last one,
//! [`Ranks::agree`] around the whole stage; the others hear of it at whichever meeting is their next.

use std::{fmt::Debug, ops::Range};

use crate::error::TrainError;

mod mean;
#[cfg(feature = "mpi")]
mod world;

pub use mean::Part;

/// What all ranks must have in common: its name and its value.
pub type Fact = (&'static str, String);

/// The processes that train one model together, as one of them sees them.
///
/// The four transports are collective: every rank calls the same ones in the same order.
pub trait Ranks: Debug {
    /// Which one this is, from 0.
    fn rank(&self) -> usize;

    /// How many there are.
    fn size(&self) -> usize;

    /// What every rank says, in the order of ranks; lengths may differ.
    fn gather_bytes(&self, ours: &[u8]) -> Vec<Vec<u8>>;

    /// The numbers of every rank, in the order of ranks; all ranks bring equally many.
    fn gather(&self, ours: &[f32]) -> Vec<f32>;

    /// The first of `size` equal pieces goes to the first rank, and so on; returns the piece that
    /// every rank has for this one, in the order of ranks.
    fn exchange(&self, ours: &[f32]) -> Vec<f32>;
}

/// A process that trains by itself.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Ranks for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn gather_bytes(&self, ours: &[u8]) -> Vec<Vec<u8>> {
        vec![ours.to_vec()]
    }

    fn gather(&self, ours: &[f32]) -> Vec<f32> {
        ours.to_vec()
    }

    fn exchange(&self, ours: &[f32]) -> Vec<f32> {
        ours.to_vec()
    }
}

/// The ranks that an MPI launcher started together with this process; none others without one.
///
/// To be called once, by the thread that trains. The ranks part when the value is dropped; if that
/// happens in a panic, all of them end at once.
///
/// # Errors
/// If the MPI library cannot be used.
#[cfg(feature = "mpi")]
pub fn join() -> Result<Box<dyn Ranks>, TrainError> {
    Ok(Box::new(world::World::join()?))
}

/// This process alone, for a program built without the feature `mpi`.
///
/// # Errors
/// If a launcher started several processes, which would all write the same files.
#[cfg(not(feature = "mpi"))]
pub fn join() -> Result<Box<dyn Ranks>, TrainError> {
    /// Where Open MPI, the launchers of MPICH's family and Slurm say how many they started.
    const SIZES: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"];
    let size = |name| std::env::var(name).ok()?.parse::<usize>().ok();
    match SIZES.into_iter().find_map(|name| size(name).filter(|&size| 1 < size)) {
        None => Ok(Box::new(Alone)),
        Some(size) => Err(TrainError::Ranks {
            reason: format!(
                "{size} processes were started together, and this program was built without MPI; \
                 start one, or build it with `--features mpi`"
            ),
        }),
    }
}

impl dyn Ranks + '_ {
    /// Whether this is the rank that writes.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// Whether this rank makes file `index` of a series.
    pub fn makes(&self, index: usize) -> bool {
        index % self.size() == self.rank()
    }

    /// This rank's share of a batch's parts.
    ///
    /// # Errors
    /// If the ranks cannot share them evenly.
    pub fn share(&self, parts: usize) -> Result<Range<usize>, TrainError> {
        let size = self.size();
        if !parts.is_multiple_of(size) {
            return Err(TrainError::Uneven { ranks: size, parts });
        }
        let share = parts / size;
        Ok(self.rank() * share..(self.rank() + 1) * share)
    }

    /// The same result if it is well on every rank, and otherwise the same error on every rank.
    ///
    /// An error that the ranks agreed on before needs no second meeting.
    ///
    /// # Errors
    /// The result's own where it is alone or all ranks have it; else [`TrainError::Ranks`], which
    /// names who failed.
    pub fn agree<T>(&self, result: Result<T, TrainError>) -> Result<T, TrainError> {
        if self.size() == 1 || matches!(result, Err(TrainError::Ranks { .. })) {
            return result;
        }
        match result {
            Ok(value) => self.meet(Ok(Vec::new())).map(|_| value),
            Err(error) => Err(self.meet(Err(&error)).err().unwrap_or(error)),
        }
    }

    /// That all ranks have the same facts, which are only asked for where there are several.
    ///
    /// # Errors
    /// As [`Ranks::agree`], and if a rank has another value; it is named with both values.
    pub fn same(
        &self,
        facts: impl FnOnce() -> Result<Vec<Fact>, TrainError>,
    ) -> Result<(), TrainError> {
        if self.size() == 1 {
            return Ok(());
        }
        let facts = self.agree(facts())?;
        for (name, value) in &facts {
            let values = self.meet(Ok(value.clone().into_bytes()))?;
            let Some(rank) = values.iter().position(|theirs| *theirs != values[0]) else {
                continue;
            };
            let [found, expected] = first_difference([&values[rank], &values[0]]);
            let reason = format!(
                "{} has another {name} than rank 0: expected {expected}, found {found}",
                self.name_of(rank)
            );
            return Err(TrainError::Ranks { reason });
        }
        Ok(())
    }

    /// Everyone's words, in the order of ranks.
    fn meet(&self, ours: Result<Vec<u8>, &TrainError>) -> Result<Vec<Vec<u8>>, TrainError> {
        let (mark, words) = match ours {
            Ok(words) => (WELL, words),
            Err(error) => (FAILED, error.to_string().into_bytes()),
        };
        let mut all = self.gather_bytes(&[&[mark], words.as_slice()].concat());
        let marks: Vec<u8> = all.iter_mut().map(|words| words.remove(0)).collect();
        let failed: Vec<_> = (0..all.len()).filter(|&rank| marks[rank] == FAILED).collect();
        let Some(&first) = failed.first() else { return Ok(all) };
        let said = |rank: usize| String::from_utf8_lossy(&all[rank]).into_owned();
        let everyone = failed.len() == all.len() && all.iter().all(|words| *words == all[0]);
        let reason = if everyone {
            said(first)
        } else {
            let each = failed.iter().map(|&rank| format!("{}: {}", self.name_of(rank), said(rank)));
            each.collect::<Vec<_>>().join("; ")
        };
        Err(TrainError::Ranks { reason })
    }

    fn name_of(&self, rank: usize) -> String {
        format!("rank {rank} of {}", self.size())
    }
}

const WELL: u8 = 0;
const FAILED: u8 = 1;

/// The first lines in which two texts differ.
fn first_difference(texts: [&[u8]; 2]) -> [String; 2] {
    let texts = texts.map(String::from_utf8_lossy);
    let [mut a, mut b] = [texts[0].lines(), texts[1].lines()];
    loop {
        let lines = [a.next(), b.next()];
        if lines[0] != lines[1] || lines == [None, None] {
            return lines.map(|line| line.map_or("nothing".into(), |line| format!("`{line}`")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_differ_where_their_lines_do() {
        let found = first_difference([b"seed = 1\nsteps = 2\n", b"seed = 1\nsteps = 3\n"]);
        assert_eq!(found, ["`steps = 2`", "`steps = 3`"]);
        assert_eq!(first_difference([b"a\nb", b"a"]), ["`b`", "nothing"]);
    }

    #[test]
    fn a_process_alone_keeps_its_errors_as_they_are() {
        let ranks: &dyn Ranks = &Alone;
        let error = TrainError::NotFinite { what: "the loss".into(), step: 3, found: f64::NAN };
        let kept = ranks.agree::<()>(Err(error)).unwrap_err();
        assert!(matches!(kept, TrainError::NotFinite { step: 3, .. }), "{kept:?}");
        assert_eq!(ranks.share(3).unwrap(), 0..3);
    }
}
