//! The mean over all parts of a batch, wherever they were computed.
//!
//! Sums run over the parts in their order, as if one process had them all, so that a run's numbers
//! do not depend on how many ranks it has. Every rank sums one slice of everybody's gradients and
//! hands the sum round: each gradient travels once, each sum once.

use crate::{error::TrainError, log::Metrics, params::Vectors, ranks::Ranks};

/// What one part of a batch comes to, or the mean of several.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The gradient.
    pub gradients: Vectors,
    /// The loss, and the other numbers of the log.
    pub metrics: Metrics,
}

/// Numbers of a gradient that travel at once: 16 MiB, far below the counts MPI can express.
const BLOCK: usize = 1 << 22;

impl dyn Ranks + '_ {
    /// Mean gradient and mean metrics over the parts of all ranks, in the update of `step`.
    ///
    /// # Errors
    /// If the loss of any part, on any rank, is not finite.
    pub fn mean(&self, step: u64, parts: Vec<Part>) -> Result<Part, TrainError> {
        let names: Vec<_> = parts[0].metrics.iter().map(|metric| metric.0).collect();
        let count = self.size() * parts.len();
        let (gradients, metrics): (Vec<_>, Vec<_>) =
            parts.into_iter().map(|part| (part.gradients, part.metrics)).unzip();
        let ours = metrics.iter().map(|metrics| {
            let loss = metrics[0].1;
            if !loss.is_finite() {
                let what = "the loss".into();
                return Err(TrainError::NotFinite { what, step, found: loss });
            }
            Ok(metrics.iter().map(|metric| metric.1).collect::<Vec<_>>())
        });
        let numbers =
            self.collect(ours.collect::<Result<Vec<_>, _>>().map(|rows| rows.concat()))?;
        let mut sums = sum(numbers.chunks(names.len()));
        let mut gradients = self.sum(gradients);
        let share = 1.0 / count as f32;
        gradients.iter_mut().flatten().for_each(|g| *g *= share);
        sums.iter_mut().for_each(|x| *x *= f64::from(share));
        Ok(Part { gradients, metrics: names.into_iter().zip(sums).collect() })
    }

    /// The numbers of all ranks, in the order of ranks.
    fn collect(&self, ours: Result<Vec<f64>, TrainError>) -> Result<Vec<f64>, TrainError> {
        if self.size() == 1 {
            return ours;
        }
        let bytes = ours.map(|numbers| numbers.iter().flat_map(|x| x.to_le_bytes()).collect());
        let all = self.meet(bytes.as_ref().map(Vec::clone))?.concat();
        let (numbers, _) = all.as_chunks();
        Ok(numbers.iter().map(|&bytes| f64::from_le_bytes(bytes)).collect())
    }

    /// The sum of all ranks' parts, the same numbers on every rank.
    fn sum(&self, parts: Vec<Vectors>) -> Vectors {
        if self.size() == 1 {
            let add = |mut sums: Vectors, part: Vectors| {
                for (sum, vector) in sums.iter_mut().zip(part) {
                    sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
                }
                sums
            };
            return parts.into_iter().reduce(add).unwrap_or_default();
        }
        let lengths: Vec<_> = parts[0].iter().map(Vec::len).collect();
        let parts: Vec<Vec<f32>> = parts.into_iter().map(|vectors| vectors.concat()).collect();
        let total = parts[0].len();
        let mut whole = Vec::with_capacity(total);
        for start in (0..total).step_by(BLOCK) {
            let end = total.min(start + BLOCK);
            let blocks: Vec<_> = parts.iter().map(|part| &part[start..end]).collect();
            whole.extend(self.sum_block(&blocks));
        }
        let mut rest = whole.as_slice();
        let vectors = lengths.into_iter().map(|length| {
            let vector;
            (vector, rest) = rest.split_at(length);
            vector.to_vec()
        });
        vectors.collect()
    }

    fn sum_block(&self, parts: &[&[f32]]) -> Vec<f32> {
        let total = parts[0].len();
        let slice = total.div_ceil(self.size());
        let mut outgoing = Vec::with_capacity(self.size() * parts.len() * slice);
        for rank in 0..self.size() {
            let [from, to] = [rank, rank + 1].map(|border| total.min(border * slice));
            for part in parts {
                let end = outgoing.len() + slice;
                outgoing.extend_from_slice(&part[from..to]);
                outgoing.resize(end, 0.0);
            }
        }
        let ours = sum(self.exchange(&outgoing).chunks(slice));
        let mut whole = self.gather(&ours);
        whole.truncate(total);
        whole
    }
}

/// The sum of rows, from the first to the last.
fn sum<'a, X: Copy + std::ops::AddAssign + 'a>(mut rows: impl Iterator<Item = &'a [X]>) -> Vec<X> {
    let mut sums = rows.next().map_or_else(Vec::new, <[X]>::to_vec);
    for row in rows {
        sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
    }
    sums
}
