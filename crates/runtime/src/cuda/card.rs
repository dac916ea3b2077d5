//! What carries out a plan.

use std::{fmt::Debug, ops::Range, sync::Arc};

use super::plan::Launch;
use crate::kernels::DeviceError;

/// Memory, programs, and work that is done in the order in which it was asked for.
pub trait Card: Debug + Send + Sync {
    /// Launches, to be repeated at once.
    type Graph: Debug + Send;

    /// The same card, with an order of work of its own.
    ///
    /// # Errors
    /// As of everything below: when there is no room left, or the card is lost.
    fn beside(&self) -> Result<Self, DeviceError>
    where
        Self: Sized;

    /// Wait until all work is done.
    ///
    /// # Errors
    /// When a program failed, or the card is lost.
    fn finish(&self) -> Result<(), DeviceError>;

    /// Room for so many bytes; where it begins, which is a multiple of 256.
    ///
    /// # Errors
    /// As of [`Self::beside`].
    fn room(&self, bytes: usize) -> Result<u64, DeviceError>;

    /// Give room back once all work that was asked for is done.
    fn free(&self, start: u64);

    /// Write bytes of the host, which may change once this returns.
    ///
    /// # Errors
    /// As of [`Self::beside`].
    fn write(&self, to: u64, bytes: &[u8]) -> Result<(), DeviceError>;

    /// Read bytes when all work that was asked for is done.
    ///
    /// # Errors
    /// As of [`Self::beside`].
    fn read(&self, from: u64, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Copy bytes that do not overlap where they go.
    ///
    /// # Errors
    /// As of [`Self::beside`].
    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), DeviceError>;

    /// Set bytes to zero.
    ///
    /// # Errors
    /// As of [`Self::beside`].
    fn zero(&self, start: u64, bytes: usize) -> Result<(), DeviceError>;

    /// Run a program.
    ///
    /// # Errors
    /// As of [`Self::beside`], or when the program cannot be compiled.
    fn launch(&self, launch: &Launch) -> Result<(), DeviceError>;

    /// Make one thing of launches of programs that ran before, without running any.
    ///
    /// # Errors
    /// As of [`Self::launch`].
    fn record(&self, launches: Vec<Launch>) -> Result<Self::Graph, DeviceError>;

    /// Run what was recorded.
    ///
    /// # Errors
    /// As of [`Self::launch`].
    fn repeat(&self, graph: &Self::Graph) -> Result<(), DeviceError>;
}

/// Room of a card that is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Room<C: Card> {
    card: Arc<C>,
    start: u64,
    len: usize,
}

impl<C: Card> Room<C> {
    /// Room for so many bytes.
    pub(super) fn new(card: &Arc<C>, len: usize) -> Result<Self, DeviceError> {
        let start = card.room(len.max(1))?;
        Ok(Self { card: card.clone(), start, len })
    }

    pub(super) fn start(&self) -> u64 {
        self.start
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn at(&self, range: &Range<usize>) -> u64 {
        assert!(range.start <= range.end && range.end <= self.len, "a range of this room");
        self.start + range.start as u64
    }

    pub(super) fn write(&self, start: usize, bytes: &[u8]) -> Result<(), DeviceError> {
        self.card.write(self.at(&(start..start + bytes.len())), bytes)
    }

    pub(super) fn read(&self, start: usize, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.card.read(self.at(&(start..start + bytes.len())), bytes)
    }

    pub(super) fn zero(&self, range: Range<usize>) -> Result<(), DeviceError> {
        self.card.zero(self.at(&range), range.len())
    }

    /// Copy bytes to where they may overlap themselves, which is before them: piece by piece, none
    /// longer than the way.
    pub(super) fn shift(&self, from: Range<usize>, to: usize) -> Result<(), DeviceError> {
        let way = from.start.checked_sub(to).expect("bytes go to before them");
        if way == 0 {
            return Ok(());
        }
        let (first, mut done) = (self.at(&from), 0);
        while done < from.len() {
            let bytes = way.min(from.len() - done);
            self.card.copy(first + done as u64, self.start + (to + done) as u64, bytes)?;
            done += bytes;
        }
        Ok(())
    }
}

impl<C: Card> Drop for Room<C> {
    fn drop(&mut self) {
        self.card.free(self.start);
    }
}
