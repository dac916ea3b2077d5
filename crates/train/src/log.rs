//! One JSON line per step, appended, and cut back to the checkpoint when a run resumes.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    path::Path,
};

use serde_json::{Map, Value};

/// The log in a run's folder.
pub const LOG: &str = "log.jsonl";

/// Named numbers of one step.
pub type Metrics = Vec<(&'static str, f64)>;

/// Named numbers of one kind: of validation, or of the judge.
pub type Group = (&'static str, Metrics);

/// The log of a run, which nobody else writes as long as it is open.
#[derive(Debug)]
pub struct Log {
    file: File,
}

impl Log {
    /// Open the log and keep only the lines of steps before `step`.
    ///
    /// What is kept is a beginning of the file, so a crash while it is cut loses nothing.
    ///
    /// # Errors
    /// If the file cannot be written, or another process is at work on it.
    pub fn open(path: &Path, step: u64) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => io::Error::other("another process is training here"),
            TryLockError::Error(error) => error,
        })?;
        let mut lines = Vec::new();
        file.read_to_end(&mut lines)?;
        file.set_len(beginning(&lines, step) as u64)?;
        Ok(Self { file })
    }

    /// Append one line, in one piece: the step's numbers, and every group of others as an object.
    ///
    /// # Errors
    /// If the system refuses; the line may then be there in part.
    pub fn write(&mut self, step: u64, metrics: &Metrics, groups: &[Group]) -> io::Result<()> {
        let mut line = object(metrics);
        line.insert("step".into(), step.into());
        line.extend(groups.iter().map(|(name, group)| ((*name).to_owned(), object(group).into())));
        let mut line = Value::Object(line).to_string();
        line.push('\n');
        self.file.write_all(line.as_bytes())
    }

    /// Bring everything to the disk: a checkpoint must not know more than its log.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// The loss of every step of a log.
///
/// # Errors
/// If it cannot be read.
pub fn losses(path: &Path) -> io::Result<Vec<f64>> {
    let text = fs::read_to_string(path)?;
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    Ok(lines.filter_map(|line| line["loss"].as_f64()).collect())
}

fn object(metrics: &Metrics) -> Map<String, Value> {
    metrics.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect()
}

/// Length in bytes of the whole lines at the beginning that are of steps before `step`.
fn beginning(lines: &[u8], step: u64) -> usize {
    let earlier = |line: &&[u8]| {
        let value: Option<Value> = serde_json::from_slice(line).ok();
        line.ends_with(b"\n")
            && value.and_then(|value| value["step"].as_u64()).is_some_and(|found| found < step)
    };
    lines.split_inclusive(|&byte| byte == b'\n').take_while(earlier).map(<[u8]>::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_whole_line_of_an_earlier_step_ends_the_log() {
        let two = "{\"step\":0}\n{\"step\":1}\n";
        for rest in ["", "{\"step\":2", "{\"step\":2}", "{\"step\":3}\n", "\0\0", "\u{fffd}\n{}"] {
            let log = format!("{two}{rest}");
            assert_eq!(beginning(log.as_bytes(), 3), two.len(), "{rest:?}");
            assert_eq!(beginning(log.as_bytes(), 1), two.len() / 2, "{rest:?}");
        }
    }

    #[test]
    fn a_log_has_one_writer() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("log.jsonl");
        let mut log = Log::open(&path, 0).unwrap();
        log.write(0, &vec![("loss", 0.5)], &[]).unwrap();
        assert!(Log::open(&path, 0).unwrap_err().to_string().contains("another process"));
        drop(log);
        drop(Log::open(&path, 1).unwrap());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{\"loss\":0.5,\"step\":0}\n");
    }
}
