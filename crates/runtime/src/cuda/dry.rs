//! A card that writes down what it is asked for, and does nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{card::Card, plan::Launch};
use crate::kernels::DeviceError;

/// No card at all: what would be launched, and how much room it would take.
#[derive(Clone, Debug, Default)]
pub struct Dry {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    next: u64,
    rooms: BTreeMap<u64, usize>,
    bytes: usize,
    most: usize,
    launches: Vec<Launch>,
}

impl Dry {
    /// With nothing written down.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was launched since this was asked last.
    #[must_use]
    pub fn launches(&self) -> Vec<Launch> {
        std::mem::take(&mut self.book().launches)
    }

    /// Bytes that are taken now, and bytes that were at the most.
    #[must_use]
    pub fn bytes(&self) -> [usize; 2] {
        let book = self.book();
        [book.bytes, book.most]
    }
}

impl Card for Dry {
    type Graph = Vec<Launch>;

    fn beside(&self) -> Result<Self, DeviceError> {
        Ok(self.clone())
    }

    fn finish(&self) -> Result<(), DeviceError> {
        Ok(())
    }

    fn room(&self, bytes: usize) -> Result<u64, DeviceError> {
        let mut book = self.book();
        let start = book.next;
        book.next += bytes.next_multiple_of(256) as u64;
        book.rooms.insert(start, bytes);
        book.bytes += bytes;
        book.most = book.most.max(book.bytes);
        Ok(start)
    }

    fn free(&self, start: u64) {
        let mut book = self.book();
        if let Some(bytes) = book.rooms.remove(&start) {
            book.bytes -= bytes;
        }
    }

    fn write(&self, _to: u64, _bytes: &[u8]) -> Result<(), DeviceError> {
        Ok(())
    }

    fn read(&self, _from: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        bytes.fill(0);
        Ok(())
    }

    fn copy(&self, _from: u64, _to: u64, _bytes: usize) -> Result<(), DeviceError> {
        Ok(())
    }

    fn zero(&self, _start: u64, _bytes: usize) -> Result<(), DeviceError> {
        Ok(())
    }

    fn launch(&self, launch: &Launch) -> Result<(), DeviceError> {
        self.book().launches.push(launch.clone());
        Ok(())
    }

    fn record(&self, launches: Vec<Launch>) -> Result<Vec<Launch>, DeviceError> {
        Ok(launches)
    }

    fn repeat(&self, graph: &Vec<Launch>) -> Result<(), DeviceError> {
        graph.iter().try_for_each(|launch| self.launch(launch))
    }
}
