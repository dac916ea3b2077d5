//! A folder of its own for every test, and the program run in it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use serde_json::Value;
use shotstream_media::{Frame, decode::read_film};
use tempfile::TempDir;

/// Two shots of one and of two chunks.
pub(crate) const STORY: &str = r#"
global = "A red fox with a top hat."
[[shots]]
caption = "Wide shot: the red fox waves in the snow by day."
frames = 9
[[shots]]
caption = "Close-up of the fox at night."
frames = 21
"#;

/// Frames of [`STORY`].
pub(crate) const STORY_FRAMES: usize = 30;

/// A folder that is gone after the test.
pub(crate) struct Home(TempDir);

/// What the program left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A home with [`STORY`] in `story.toml`.
    pub(crate) fn with_story() -> Self {
        let home = Self::new();
        home.write("story.toml", STORY);
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap()
    }

    pub(crate) fn film(&self, name: &str) -> Vec<Frame> {
        read_film(&self.path(name)).unwrap()
    }

    /// Names of all files, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shotstream"));
        command.current_dir(self.0.path()).args(arguments).stdin(Stdio::null());
        // What a test makes is its own.
        command.env("SHOTSTREAM_TEXT_CACHE", "off");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        Run { code: status.code(), stdout, stderr }
    }

    /// Run what must succeed.
    pub(crate) fn done(&self, arguments: &[&str]) -> Run {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
        run
    }

    /// Run what must be refused with one line, and return the line.
    pub(crate) fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let before = self.files();
        let run = self.run(arguments);
        assert_eq!(run.code, Some(code), "{arguments:?}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.starts_with("error: "), "{}", run.stderr);
        assert_eq!(run.stdout, b"", "{arguments:?}");
        assert_eq!(self.files(), before, "{arguments:?}");
        run.stderr.trim_end().to_owned()
    }

    /// Start the program with all three pipes held by the test.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let pipe = Stdio::piped;
        let mut command = self.command(arguments);
        command.stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().unwrap()
    }
}

impl Run {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }
}

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
