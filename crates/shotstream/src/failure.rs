//! How the program says that it could not do what was asked.

use std::{error::Error, fmt};

use crate::progress::line;

/// An error the user can mend by asking differently; it ends the program with exit code 2.
#[derive(Debug)]
pub(crate) struct WrongUse(String);

impl fmt::Display for WrongUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for WrongUse {}

impl WrongUse {
    /// Wrong use, in a sentence.
    pub(crate) fn error(sentence: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self(sentence.into()))
    }
}

/// An error that was said where it happened; it ends the program silently.
#[derive(Debug)]
pub(crate) struct Said;

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reason was given before")
    }
}

impl Error for Said {}

/// Say what went wrong, if nobody has.
pub(crate) fn say(error: &anyhow::Error) {
    if !error.is::<Said>() {
        line(&format!("error: {}", one_line(error)));
    }
}

/// Calls an error wrong use.
pub(crate) trait Blame<T> {
    /// The same result, with its error as [`WrongUse`].
    fn wrong_use(self) -> anyhow::Result<T>;
}

impl<T, E: fmt::Display> Blame<T> for Result<T, E> {
    fn wrong_use(self) -> anyhow::Result<T> {
        self.map_err(|error| WrongUse::error(error.to_string()))
    }
}

/// An error as one line; libraries below ours sometimes use several.
fn one_line(error: &anyhow::Error) -> String {
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_several_lines_becomes_one() {
        let error = anyhow::anyhow!("cannot read it\n  | x = 1\n\nunknown field");
        assert_eq!(one_line(&error), "cannot read it, | x = 1, unknown field");
    }

    #[test]
    fn wrong_use_can_be_told_from_failure() {
        let read: Result<(), _> = Err("the story is empty");
        let error = read.wrong_use().unwrap_err();
        assert!(error.is::<WrongUse>());
        assert!(!anyhow::anyhow!("the disk is full").is::<WrongUse>());
    }
}
