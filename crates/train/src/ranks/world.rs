//! The ranks of MPI's world: the processes that `mpirun`, or Slurm's `srun`, started together.

use std::fmt;

use mpi::{
    Count, Threading,
    datatype::PartitionMut,
    environment::Universe,
    topology::SimpleCommunicator,
    traits::{Communicator as _, CommunicatorCollectives as _},
};

use crate::{error::TrainError, ranks::Ranks};

/// MPI, from its initialisation to its end.
pub(super) struct World {
    world: SimpleCommunicator,
    _universe: Universe,
}

impl World {
    /// Initialise MPI; only the calling thread uses it.
    ///
    /// # Errors
    /// If MPI has been initialised before, or cannot be used by a program of several threads.
    pub(super) fn join() -> Result<Self, TrainError> {
        let refuse = |reason: &str| TrainError::Ranks { reason: reason.into() };
        let (universe, threading) = mpi::initialize_with_threading(Threading::Funneled)
            .ok_or_else(|| refuse("MPI is in use already, it is initialised once a process"))?;
        if threading < Threading::Funneled {
            return Err(refuse("this MPI library is not for programs of several threads"));
        }
        Ok(Self { world: universe.world(), _universe: universe })
    }
}

impl Drop for World {
    /// A rank that panics would be waited for; it ends them all.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.world.abort(1);
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rank {} of {}", self.rank(), self.size())
    }
}

impl Ranks for World {
    fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    fn size(&self) -> usize {
        self.world.size() as usize
    }

    fn gather_bytes(&self, ours: &[u8]) -> Vec<Vec<u8>> {
        let mut counts: Vec<Count> = vec![0; self.size()];
        self.world.all_gather_into(&(ours.len() as Count), &mut counts[..]);
        let starts: Vec<Count> = counts
            .iter()
            .scan(0, |end, count| {
                *end += count;
                Some(*end - count)
            })
            .collect();
        let mut all = vec![0; counts.iter().sum::<Count>() as usize];
        let mut pieces = PartitionMut::new(&mut all[..], &counts[..], &starts[..]);
        self.world.all_gather_varcount_into(ours, &mut pieces);
        let piece = |(&start, &count)| all[start as usize..][..count as usize].to_vec();
        starts.iter().zip(&counts).map(piece).collect()
    }

    fn gather(&self, ours: &[f32]) -> Vec<f32> {
        let mut all = vec![0.0; self.size() * ours.len()];
        self.world.all_gather_into(ours, &mut all[..]);
        all
    }

    fn exchange(&self, ours: &[f32]) -> Vec<f32> {
        let mut theirs = vec![0.0; ours.len()];
        self.world.all_to_all_into(ours, &mut theirs[..]);
        theirs
    }
}
