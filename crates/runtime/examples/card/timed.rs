//! A card that takes the time of every launch.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use shotstream_runtime::{
    cuda::{Card, Driver, Launch},
    kernels::DeviceError,
};

/// A card that takes the time of every launch.
#[derive(Clone, Debug)]
pub(crate) struct Timed {
    pub(crate) card: Arc<Driver>,
    pub(crate) spent: Arc<Mutex<BTreeMap<String, Spent>>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Spent {
    pub(crate) calls: usize,
    pub(crate) seconds: f64,
    pub(crate) flops: f64,
    pub(crate) bytes: f64,
}

impl Card for Timed {
    type Graph = Vec<Launch>;

    fn beside(&self) -> Result<Self, DeviceError> {
        Ok(self.clone())
    }

    fn finish(&self) -> Result<(), DeviceError> {
        self.card.finish()
    }

    fn room(&self, bytes: usize) -> Result<u64, DeviceError> {
        self.card.room(bytes)
    }

    fn free(&self, start: u64) {
        self.card.free(start);
    }

    fn write(&self, to: u64, bytes: &[u8]) -> Result<(), DeviceError> {
        self.card.write(to, bytes)
    }

    fn read(&self, from: u64, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.card.read(from, bytes)
    }

    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), DeviceError> {
        self.card.copy(from, to, bytes)
    }

    fn zero(&self, start: u64, bytes: usize) -> Result<(), DeviceError> {
        self.card.zero(start, bytes)
    }

    fn launch(&self, launch: &Launch) -> Result<(), DeviceError> {
        let seconds = self.card.seconds(launch)?;
        let ([positions, made], terms) = (launch.work.size, launch.work.terms);
        let name = format!("{} {positions} × {made} × {terms}", launch.program.entry());
        let mut spent = self.spent.lock().expect("nobody panicked");
        let spent = spent.entry(name).or_default();
        spent.calls += 1;
        spent.seconds += seconds;
        spent.flops += launch.work.flops;
        spent.bytes += launch.work.bytes;
        Ok(())
    }

    fn record(&self, launches: Vec<Launch>) -> Result<Vec<Launch>, DeviceError> {
        Ok(launches)
    }

    fn repeat(&self, graph: &Vec<Launch>) -> Result<(), DeviceError> {
        graph.iter().try_for_each(|launch| self.launch(launch))
    }
}
