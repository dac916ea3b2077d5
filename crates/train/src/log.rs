//! One JSON line per step, appended, and cut back to the checkpoint when a run resumes.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use serde_json::{Map, Value};

/// Named numbers of one step.
pub type Metrics = Vec<(&'static str, f64)>;

/// The log of a run.
#[derive(Debug)]
pub struct Log {
    file: File,
}

impl Log {
    /// Open the log and keep only the lines of steps before `step`.
    pub fn open(path: &Path, step: u64) -> io::Result<Self> {
        if path.exists() {
            let text = std::fs::read_to_string(path)?;
            let earlier = |line: &&str| {
                let value: Option<Value> = serde_json::from_str(line).ok();
                value.and_then(|v| v["step"].as_u64()).is_some_and(|s| s < step)
            };
            let kept: String = text.lines().filter(earlier).flat_map(|line| [line, "\n"]).collect();
            std::fs::write(path, kept)?;
        }
        Ok(Self { file: OpenOptions::new().create(true).append(true).open(path)? })
    }

    /// Append one line.
    pub fn write(&mut self, step: u64, metrics: &Metrics) -> io::Result<()> {
        let mut line = Map::new();
        line.insert("step".into(), step.into());
        line.extend(metrics.iter().map(|&(name, value)| (name.to_owned(), value.into())));
        writeln!(self.file, "{}", Value::Object(line))
    }
}
