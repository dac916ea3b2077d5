//! Ranks that are threads: messages in memory instead of MPI.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use shotstream_train::{error::TrainError, ranks::Ranks};

#[derive(Debug)]
struct Thread {
    rank: usize,
    to: Vec<SyncSender<Vec<u8>>>,
    from: Vec<Receiver<Vec<u8>>>,
}

impl Thread {
    /// `words(r)` to rank `r`; returns what every rank has for this one.
    fn post(&self, words: impl Fn(usize) -> Vec<u8>) -> Vec<Vec<u8>> {
        for (rank, to) in self.to.iter().enumerate() {
            to.send(words(rank)).expect("every rank is there");
        }
        self.from.iter().map(|from| from.recv().expect("every rank is there")).collect()
    }
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn numbers(bytes: &[Vec<u8>]) -> Vec<f32> {
    bytes.concat().as_chunks().0.iter().map(|&word| f32::from_le_bytes(word)).collect()
}

impl Ranks for Thread {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.to.len()
    }

    fn gather_bytes(&self, ours: &[u8]) -> Vec<Vec<u8>> {
        self.post(|_| ours.to_vec())
    }

    fn gather(&self, ours: &[f32]) -> Vec<f32> {
        numbers(&self.post(|_| bytes(ours)))
    }

    fn exchange(&self, ours: &[f32]) -> Vec<f32> {
        let piece = ours.len() / self.size();
        numbers(&self.post(|rank| bytes(&ours[rank * piece..][..piece])))
    }
}

/// Let `size` ranks do the same work; their results in order, errors agreed on.
pub(crate) fn together<T: Send>(
    size: usize,
    work: impl Fn(&dyn Ranks) -> Result<T, TrainError> + Sync,
) -> Vec<Result<T, TrainError>> {
    let mut ranks: Vec<_> =
        (0..size).map(|rank| Thread { rank, to: Vec::new(), from: Vec::new() }).collect();
    for from in 0..size {
        for to in 0..size {
            let (sender, receiver) = sync_channel(1);
            ranks[from].to.push(sender);
            ranks[to].from.push(receiver);
        }
    }
    thread::scope(|scope| {
        let work = &work;
        let start = |rank: Thread| {
            scope.spawn(move || {
                let ranks: &dyn Ranks = &rank;
                ranks.agree(work(ranks))
            })
        };
        let running: Vec<_> = ranks.into_iter().map(start).collect();
        running.into_iter().map(|rank| rank.join().expect("no rank panics")).collect()
    })
}
