//! The files of the repository, and rules about their names and sizes.

use std::{fs, io, path::Path};

use super::Finding;

/// Endings of a copy that should have been a commit.
const COPY_ENDINGS: [&str; 6] = ["_ori", "_old", "_new", "_v2", "_copy", "_backup"];

/// Names under which anything could be kept.
const DRAWERS: [&str; 4] = ["utils", "misc", "helpers", "common"];

/// One golden file.
const MAX_TEST_DATA_BYTES: u64 = 1 << 20;

/// All golden files together.
const TEST_DATA_BUDGET_BYTES: u64 = 10 << 20;

/// A file of the repository.
#[derive(Debug)]
pub(super) struct File {
    /// Relative to the root, with forward slashes.
    pub(super) path: String,
    pub(super) bytes: u64,
    /// Present for Rust and Markdown.
    pub(super) text: Option<String>,
}

/// Every file below `root` except what `.gitignore` names at the top level, in order of path.
pub(super) fn read(root: &Path) -> io::Result<Vec<File>> {
    let ignore_file = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    let mut ignored: Vec<_> =
        ignore_file.lines().filter_map(|line| line.trim().strip_prefix('/')).collect();
    ignored.push(".git");
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let kind = entry.file_type()?;
            if ignored.contains(&path.as_str()) || path.ends_with(".tmp") {
                continue;
            }
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file() {
                let is_text = path.ends_with(".rs") || path.ends_with(".md");
                let text = if is_text { Some(fs::read_to_string(entry.path())?) } else { None };
                files.push(File { path, bytes: entry.metadata()?.len(), text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut test_data_bytes = 0;
    for file in files {
        findings.extend(name_finding(&file.path));
        if is_test_data(&file.path) {
            test_data_bytes += file.bytes;
            if MAX_TEST_DATA_BYTES < file.bytes {
                let message = format!("test data of {} bytes, at most 1 MiB is kept", file.bytes);
                findings.push(Finding::refusal(&file.path, 0, message));
            }
        }
    }
    if TEST_DATA_BUDGET_BYTES < test_data_bytes {
        let message = format!("{test_data_bytes} bytes of test data, the budget is 10 MiB");
        findings.push(Finding::notice("testdata", 0, message));
    }
    findings
}

fn name_finding(path: &str) -> Option<Finding> {
    path.split('/').find_map(|part| {
        let stem = part.split('.').next().unwrap_or(part);
        if DRAWERS.contains(&stem) {
            let message = format!("a file named `{stem}` says nothing about its contents");
            return Some(Finding::refusal(path, 0, message));
        }
        let ending = COPY_ENDINGS.iter().find(|ending| stem.ends_with(**ending))?;
        let message =
            format!("a name ending in `{ending}` is a second version, git keeps the first");
        Some(Finding::refusal(path, 0, message))
    })
}

fn is_test_data(path: &str) -> bool {
    path.split('/').any(|part| part == "testdata" || part == "tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &str) -> Vec<Finding> {
        check(&[File { path: path.to_owned(), bytes: 10, text: None }])
    }

    #[test]
    fn second_versions_and_drawers_are_refused() {
        for path in [
            "crates/plan/src/model_ori.rs",
            "crates/plan/src/layout_v2.rs",
            "docs/PLAN_old.md",
            "crates/plan/src/helpers/mod.rs",
            "testdata/common.json",
        ] {
            assert_eq!(named(path).len(), 1, "{path}");
        }
    }

    #[test]
    fn ordinary_names_are_not() {
        for path in ["crates/plan/src/common_shots.rs", "docs/NEW.md", "copy.rs", ".ci/run"] {
            assert_eq!(named(path), [], "{path}");
        }
    }

    #[test]
    fn large_test_data_is_refused_and_large_assets_are_not() {
        let sized =
            |path: &str, bytes| check(&[File { path: path.to_owned(), bytes, text: None }]).len();
        assert_eq!(sized("testdata/a.safetensors", MAX_TEST_DATA_BYTES), 0);
        assert_eq!(sized("testdata/a.safetensors", MAX_TEST_DATA_BYTES + 1), 1);
        assert_eq!(sized("crates/models/tests/a.bin", MAX_TEST_DATA_BYTES + 1), 1);
        assert_eq!(sized("crates/shotstream/assets/tiny.safetensors", 5 << 20), 0);
    }

    #[test]
    fn much_test_data_is_noticed_as_a_whole() {
        let file = |index: usize| File {
            path: format!("testdata/{index}.bin"),
            bytes: MAX_TEST_DATA_BYTES,
            text: None,
        };
        let files: Vec<_> = (0..11).map(file).collect();
        assert_eq!(check(&files).len(), 1);
    }

    #[test]
    fn this_repository_is_read_without_what_git_ignores() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in a folder");
        let files = read(root).expect("the repository can be read");
        let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert!(paths.contains(&"xtask/src/tidy/files.rs"));
        assert!(paths.contains(&"Cargo.toml"));
        assert!(!paths.iter().any(|path| path.starts_with(".git/") || path.starts_with("target/")));
    }
}
