//! Rules for Markdown files: every path a document names exists.
//!
//! A link must lead somewhere. In code spans and code blocks a word counts as a path of ours if it
//! starts with a top-level entry of the repository that holds sources or documents, or ends in
//! `.rs` or `.md`. A document may leave out `crates/` and `src/`, as in `plan/script.rs`.

use super::Finding;

/// Top-level entries that documents point into.
const ROOTS: [&str; 8] =
    [".cargo/", ".ci/", "crates/", "docs/", "examples/", "recipes/", "testdata/", "xtask/"];

pub(super) fn check(path: &str, text: &str, paths: &[&str]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut fenced = false;
    for (line, words) in (1..).zip(text.lines()) {
        if words.trim_start().starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let mut named = Vec::new();
        if fenced {
            named.extend(words.split_whitespace().filter_map(own_path));
        } else {
            named.extend(code_spans(words).flat_map(str::split_whitespace).filter_map(own_path));
            named.extend(link_targets(words));
        }
        let missing = named.into_iter().filter(|named| !exists(path, named, paths));
        findings.extend(
            missing.map(|named| Finding::refusal(path, line, format!("no such path: {named}"))),
        );
    }
    findings
}

fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// Where the links of a line lead inside the repository.
fn link_targets(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', ' ', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://"))
}

/// The path of ours that a word of code names, if it names one.
fn own_path(word: &str) -> Option<&str> {
    let word = word.trim_matches(|c| "\"'()[]<>,;:`".contains(c)).trim_end_matches('.');
    // `file.rs:12` names a line of the file.
    let word = word.split(':').next().unwrap_or(word);
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let ours = ROOTS.iter().any(|root| word.starts_with(root))
        || word.ends_with(".rs")
        || word.ends_with(".md");
    (ours && word.chars().all(plain)).then_some(word)
}

/// Whether a path is a file or a folder of the repository, as seen from `document`.
fn exists(document: &str, named: &str, paths: &[&str]) -> bool {
    let named = named.trim_start_matches("./").trim_end_matches('/');
    let folder = document.rsplit_once('/').map_or("", |(folder, _)| folder);
    let near = resolve(folder, named);
    paths.iter().any(|path| {
        let is_it = |path: &str, named: &str| {
            path.strip_prefix(named).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let short = path.trim_start_matches("crates/").replace("/src/", "/");
        is_it(path, named)
            || is_it(path, &near)
            || is_it(&short, named)
            || ends_with_part(path, named)
    })
}

/// `named` as seen from `folder`, with `..` taken out.
fn resolve(folder: &str, named: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in named.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

fn ends_with_part(path: &str, named: &str) -> bool {
    path.strip_suffix(named).is_some_and(|before| before.is_empty() || before.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: [&str; 5] = [
        "README.md",
        "docs/GLOSSARY.md",
        "crates/plan/src/script/mod.rs",
        "crates/plan/src/layout.rs",
        "recipes/tiny.toml",
    ];

    /// The paths a document names in vain.
    fn missing(text: &str) -> Vec<String> {
        let findings = check("docs/A.md", text, &PATHS).into_iter();
        findings.map(|finding| finding.message.replace("no such path: ", "")).collect()
    }

    #[test]
    fn paths_that_exist_may_be_named_in_full_and_in_short() {
        for path in [
            "crates/plan/src/layout.rs",
            "crates/plan",
            "crates/plan/",
            "plan/layout.rs",
            "plan/script/mod.rs",
            "layout.rs",
            "recipes/tiny.toml",
            "GLOSSARY.md",
            "layout.rs:12",
        ] {
            assert_eq!(missing(&format!("See `{path}`.")), [""; 0], "{path}");
        }
    }

    #[test]
    fn a_path_that_does_not_exist_is_refused() {
        assert_eq!(missing("See `crates/gone` and `gone.rs`."), ["crates/gone", "gone.rs"]);
        assert_eq!(missing("See `recipes/gone.toml`."), ["recipes/gone.toml"]);
        assert_eq!(missing("`out.rs` is not `layout.rs`"), ["out.rs"]);
    }

    #[test]
    fn links_lead_somewhere() {
        assert_eq!(missing("[a](GLOSSARY.md) [b](../README.md#top) [c](https://x.org/y)"), [""; 0]);
        assert_eq!(missing("[here](#below)"), [""; 0]);
        assert_eq!(missing("![picture](pictures/gone.png)"), ["pictures/gone.png"]);
    }

    #[test]
    fn code_blocks_are_read_for_paths_of_ours() {
        assert_eq!(
            missing("```\nshotstream plan examples/gone.toml -o film.mp4\n```\n"),
            ["examples/gone.toml"]
        );
        assert_eq!(missing("```\nscript/mod.rs   the captions\n```\n"), [""; 0]);
    }

    #[test]
    fn words_that_are_no_paths_of_ours_are_left_alone() {
        assert_eq!(missing("`--size WxH`, `a/b`, `film.mp4`, `model.pt`, and/or x.rs"), [""; 0]);
        assert_eq!(missing("`recipes/*.toml` and `docs/{a,b}`"), [""; 0]);
    }
}
