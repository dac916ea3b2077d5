//! One JSON line per step, appended, and cut back to the checkpoint when a run resumes.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::Path,
};

use serde_json::{Map, Value};

/// The log in a run's folder.
pub const LOG: &str = "log.jsonl";

/// Named numbers of one step.
pub type Metrics = Vec<(&'static str, f64)>;

/// Named numbers of one kind: of validation, or of the judge.
pub type Group = (&'static str, Metrics);

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

    /// Append one line: the step's numbers, and every group of others as an object.
    pub fn write(&mut self, step: u64, metrics: &Metrics, groups: &[Group]) -> io::Result<()> {
        let mut line = object(metrics);
        line.insert("step".into(), step.into());
        line.extend(groups.iter().map(|(name, group)| ((*name).to_owned(), object(group).into())));
        writeln!(self.file, "{}", Value::Object(line))
    }
}

fn object(metrics: &Metrics) -> Map<String, Value> {
    metrics.iter().map(|&(name, value)| (name.to_owned(), value.into())).collect()
}
