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
    record: Arc<Mutex<Record>>,
}

#[derive(Debug, Default)]
struct Record {
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

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was launched since this was asked last.
    #[must_use]
    pub fn launches(&self) -> Vec<Launch> {
        std::mem::take(&mut self.record().launches)
    }

    /// Bytes that are taken now, and bytes that were at the most.
    #[must_use]
    pub fn bytes(&self) -> [usize; 2] {
        let record = self.record();
        [record.bytes, record.most]
    }
}

impl Card for Dry {
    fn beside(&self) -> Result<Self, DeviceError> {
        Ok(self.clone())
    }

    fn room(&self, bytes: usize) -> Result<u64, DeviceError> {
        let mut record = self.record();
        let start = record.next;
        record.next += bytes.next_multiple_of(256) as u64;
        record.rooms.insert(start, bytes);
        record.bytes += bytes;
        record.most = record.most.max(record.bytes);
        Ok(start)
    }

    fn free(&self, start: u64) {
        let mut record = self.record();
        if let Some(bytes) = record.rooms.remove(&start) {
            record.bytes -= bytes;
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
        self.record().launches.push(launch.clone());
        Ok(())
    }
}
