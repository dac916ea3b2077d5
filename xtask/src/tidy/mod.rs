//! Rules two reviewers would otherwise say twice, kept by a program.
//!
//! A *refusal* fails the check. A *notice* is listed and left to judgement: budgets are there to be
//! noticed when they break, not to be met by cutting a file in the wrong place.

mod files;
mod markdown;
mod rust;
mod source;

use std::{fmt, path::Path};

/// A place in the repository and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// Counted from 1; 0 where the whole file is meant.
    line: usize,
    weight: Weight,
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    Notice,
    Refusal,
}

impl Finding {
    fn refusal(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, weight: Weight::Refusal, message: message.into() }
    }

    fn notice(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { weight: Weight::Notice, ..Self::refusal(path, line, message) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.weight {
            Weight::Notice => "notice",
            Weight::Refusal => "refused",
        };
        match self.line {
            0 => write!(f, "{word}: {}: {}", self.path, self.message),
            line => write!(f, "{word}: {}:{line}: {}", self.path, self.message),
        }
    }
}

/// Print every finding, refusals last, and tell whether nothing was refused.
pub(crate) fn print_report(root: &Path) -> bool {
    println!("== cargo xtask tidy");
    let files = match files::read(root) {
        Ok(files) => files,
        Err(error) => {
            eprintln!("error: cannot read the repository: {error}: {}", root.display());
            return false;
        }
    };
    let mut findings = findings(&files);
    findings.sort_by_key(|finding| finding.weight);
    for finding in &findings {
        println!("{finding}");
    }
    let refused = findings.iter().filter(|finding| finding.weight == Weight::Refusal).count();
    println!("{} files, {refused} refused, {} noticed", files.len(), findings.len() - refused);
    refused == 0
}

fn findings(files: &[files::File]) -> Vec<Finding> {
    let mut findings = files::check(files);
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    for file in files {
        if let Some(text) = &file.text {
            match file.path.rsplit('.').next() {
                Some("rs") => findings.extend(rust::check(&file.path, text)),
                Some("md") => findings.extend(markdown::check(&file.path, text, &paths)),
                _ => {}
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{files::File, *};

    #[test]
    fn every_file_is_read_by_the_rules_of_its_kind() {
        let file = |path: &str, text: &str| File {
            path: path.to_owned(),
            bytes: text.len() as u64,
            text: Some(text.to_owned()),
        };
        let files = [
            file("crates/plan/src/utils.rs", "fn f() {}\n"),
            file("docs/A.md", "See `crates/plan/src/gone.rs`.\n"),
            file("recipes/a.toml", "# let a = 1;\n"),
        ];
        let said: Vec<_> = findings(&files).iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [
                "refused: crates/plan/src/utils.rs: a file named `utils` says nothing about its contents",
                "refused: crates/plan/src/utils.rs:1: a module opens with a `//!` line that says what it is for",
                "refused: docs/A.md:1: no such path: crates/plan/src/gone.rs",
            ]
        );
    }
}
