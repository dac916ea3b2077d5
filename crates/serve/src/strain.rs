//! How near a session is to falling behind its viewer: what admission goes by.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How long chunks take, beside how long they are shown.
#[derive(Debug, Default)]
pub(crate) struct Strain {
    /// Since when there is room for the next chunk.
    pub(crate) room_since: Option<Instant>,
    newest: VecDeque<f64>,
}

impl Strain {
    /// As many chunks as are remembered.
    const KEPT: usize = 8;

    /// A chunk came that is shown for so long; the mean share of the newest, in thousandths.
    pub(crate) fn note(&mut self, shown: Duration) -> u32 {
        let took = self.room_since.take().map_or(Duration::ZERO, |since| since.elapsed());
        if self.newest.len() == Self::KEPT {
            self.newest.pop_front();
        }
        self.newest.push_back(took.as_secs_f64() / shown.as_secs_f64());
        (1e3 * self.newest.iter().sum::<f64>() / self.newest.len() as f64) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strain_is_the_mean_share_of_the_newest_chunks() {
        let mut strain = Strain::default();
        let chunk = |strain: &mut Strain, took: u64| {
            strain.room_since = Instant::now().checked_sub(Duration::from_millis(took));
            strain.note(Duration::from_secs(1))
        };
        let first = chunk(&mut strain, 500);
        assert!((500..600).contains(&first), "{first}");
        assert!((250..350).contains(&strain.note(Duration::from_secs(1))), "no time is no strain");
        let newest = (0..Strain::KEPT).map(|_| chunk(&mut strain, 2000)).last().unwrap();
        assert!((2000..2100).contains(&newest), "{newest}");
    }
}
