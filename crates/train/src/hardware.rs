//! What the program runs on, as far as the system tells.

use std::{fs, thread, time::Duration};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// The processor's name, where the system tells it.
    pub cpu: Option<String>,
    /// Cores this program may use.
    pub cores: usize,
}

impl Hardware {
    /// This machine.
    pub fn here() -> Self {
        Self { cpu: value_of("/proc/cpuinfo", "model name"), cores: cores() }
    }
}

/// Cores this program may use; one where the system does not tell.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The most memory the program has held so far, in bytes, where the system tells.
pub fn peak_rss_bytes() -> Option<u64> {
    bytes_of("/proc/self/status", "VmHWM")
}

/// What all threads of the program have taken of the processor so far.
pub fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// The memory that programs may still take, in bytes, where the system tells.
pub fn free_memory_bytes() -> Option<u64> {
    bytes_of("/proc/meminfo", "MemAvailable")
}

/// A value that is written in kibibytes.
fn bytes_of(path: &str, key: &str) -> Option<u64> {
    let text = value_of(path, key)?;
    let kibibytes: u64 = text.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// The first value of a key in a file of `key: value` lines.
fn value_of(path: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let values = text.lines().filter_map(|line| line.split_once(':'));
    let mut found = values.filter(|(name, _)| name.trim() == key);
    found.next().map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_what_the_program_has_held() {
        if cfg!(target_os = "linux") {
            assert!(1 << 20 < peak_rss_bytes().unwrap());
            assert!(1 << 20 < free_memory_bytes().unwrap());
        }
        assert!(0 < cores());
    }
}
