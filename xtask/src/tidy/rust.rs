//! Rules for Rust files.

use super::{Finding, source::Source};

/// Lines of a file, tests included.
const FILE_BUDGET: usize = 400;

/// Lines of a function.
const FUNCTION_BUDGET: usize = 70;

/// Foreign names for things the glossary names, and the glossary's word.
const DENIED: [(&str, &str); 18] = [
    ("change_rope", "shot_phase"),
    ("ckpt", "checkpoint"),
    ("crossattn_cache", "TextCache"),
    ("denoised_pred", "clean"),
    ("fake_score", "critic"),
    ("flow_pred", "velocity"),
    ("kv_cache1", "LocalCache"),
    ("kv_cache1_context", "ContextCache"),
    ("local_attn_size", "window"),
    ("max_attention_size", "window"),
    ("noise_pred", "velocity"),
    ("num_frame_per_block", "chunk"),
    ("prompts_list", "script"),
    ("real_score", "teacher"),
    ("shot_flags_for_rope", "shot_phase"),
    ("timestep_shift", "shift"),
    ("warp_denoising_step", "shift"),
    ("x0_pred", "clean"),
];

pub(super) fn check(path: &str, text: &str) -> Vec<Finding> {
    let source = Source::new(text);
    let mut findings = Vec::new();
    if !text.trim_start().starts_with("//!") {
        let message = "a module opens with a `//!` line that says what it is for";
        findings.push(Finding::refusal(path, 1, message));
    }
    findings.extend(legend_finding(path, text, &source));
    findings.extend(commented_out_code(path, &source));
    findings.extend(denied_identifiers(path, &source));
    findings.extend(unnumbered_tasks(path, &source));
    let lines = text.lines().count();
    if FILE_BUDGET < lines {
        let message = format!("{lines} lines, the budget of a file is {FILE_BUDGET}");
        findings.push(Finding::notice(path, 0, message));
    }
    findings.extend(long_functions(path, &source.code));
    findings
}

/// A module that takes tensors says what its dimension letters mean.
fn legend_finding(path: &str, text: &str, source: &Source) -> Option<Finding> {
    let code = source.code.split("#[cfg(test)]").next().unwrap_or_default();
    let in_scope = path.starts_with("crates/models/src/") && !path.ends_with("/tests.rs");
    if !in_scope || !code.contains("Tensor<") {
        return None;
    }
    let mut header = text.lines().take_while(|line| line.starts_with("//!") || line.is_empty());
    if header.any(|line| line.contains("| letter |")) {
        return None;
    }
    let message = "a module with tensors opens with a table of its letters, `//! | letter | …`";
    Some(Finding::refusal(path, 1, message))
}

/// Two comment lines in a row that would compile as code.
fn commented_out_code(path: &str, source: &Source) -> Option<Finding> {
    let is_code: Vec<_> = source.comments.lines().map(looks_like_code).collect();
    let first = is_code.windows(2).position(|pair| pair[0] && pair[1])?;
    let message = "commented-out code: delete it, git remembers";
    Some(Finding::refusal(path, first + 1, message))
}

fn looks_like_code(comment: &str) -> bool {
    let Some(words) = comment.trim_start().strip_prefix("//") else { return false };
    if words.starts_with(['/', '!']) {
        return false;
    }
    let words = words.trim();
    let ends = words.ends_with([';', '{', '}']) || words == ")" || words.ends_with(");");
    let starts = ["let ", "pub ", "fn ", "use ", "#[", "} ", "return "];
    ends || (starts.iter().any(|start| words.starts_with(start)) && words.contains(['(', '=', ':']))
}

fn denied_identifiers(path: &str, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, code) in (1..).zip(source.code.lines()) {
        for word in code.split(|c: char| !c.is_alphanumeric() && c != '_') {
            if let Some((_, ours)) = DENIED.iter().find(|(denied, _)| *denied == word) {
                let message = format!("`{word}` is called {ours} here, see docs/GLOSSARY.md");
                findings.push(Finding::refusal(path, line, message));
            }
        }
    }
    findings
}

/// A task in a comment carries the number of its issue, as `TODO(#12)`.
fn unnumbered_tasks(path: &str, source: &Source) -> Vec<Finding> {
    let lines = (1..).zip(source.comments.lines());
    let is_unnumbered = |comment: &str| {
        let mut parts = comment.split("TODO").skip(1);
        parts.any(|after| {
            let number = after.strip_prefix("(#").and_then(|after| after.split(')').next());
            number.is_none_or(|number| number.parse::<u32>().is_err())
        })
    };
    let message = "a task without the number of its issue, expected (#12) behind it";
    lines
        .filter(|(_, comment)| is_unnumbered(comment))
        .map(|(line, _)| Finding::refusal(path, line, message))
        .collect()
}

fn long_functions(path: &str, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut searched = 0;
    while let Some(found) = code[searched..].find("fn ") {
        let start = searched + found;
        searched = start + "fn ".len();
        let preceded = code[..start].chars().next_back();
        if preceded.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let lines = body(&code[start..]).lines().count();
        if FUNCTION_BUDGET < lines {
            let line = 1 + code[..start].matches('\n').count();
            let name: String =
                code[searched..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let message = format!(
                "`{name}` has {lines} lines, the budget of a function is {FUNCTION_BUDGET}"
            );
            findings.push(Finding::notice(path, line, message));
        }
    }
    findings
}

/// A function from its keyword to its closing brace; empty if it has no body.
fn body(code: &str) -> &str {
    let mut depth = 0usize;
    for (at, c) in code.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ';' if depth == 0 => return "",
            ')' | ']' => depth = depth.saturating_sub(1),
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return &code[..=at];
                }
            }
            _ => {}
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "//! A module.\n";

    /// What the rules say about a body under a proper header, refusals and notices alike.
    fn said(path: &str, body: &str) -> Vec<(usize, String)> {
        let findings = check(path, &format!("{HEADER}{body}"));
        findings.into_iter().map(|finding| (finding.line, finding.message)).collect()
    }

    fn count(body: &str) -> usize {
        said("crates/plan/src/a.rs", body).len()
    }

    #[test]
    fn a_module_without_a_purpose_is_refused() {
        assert_eq!(check("a.rs", "use std::fmt;\n").len(), 1);
        assert_eq!(check("a.rs", "/// Not the module's.\nfn f() {}\n").len(), 1);
        assert_eq!(check("a.rs", "//! What it is for.\n").len(), 0);
    }

    #[test]
    fn a_tensor_module_without_a_legend_is_refused() {
        let body = "fn f(x: Tensor<3>) {}\n";
        assert_eq!(said("crates/models/src/dit/block.rs", body).len(), 1);
        assert_eq!(said("crates/plan/src/a.rs", body).len(), 0);
        let legend = format!("//!\n//! | letter | means |\n//! |---|---|\n{body}");
        assert_eq!(said("crates/models/src/dit/block.rs", &legend).len(), 0);
    }

    #[test]
    fn modules_that_only_mention_tensors_or_test_them_need_no_legend() {
        let path = "crates/models/src/lib.rs";
        assert_eq!(said(path, "pub mod dit; // hands out a Tensor<3>\n").len(), 0);
        assert_eq!(said(path, "#[cfg(test)]\nmod tests { fn f(x: Tensor<3>) {} }\n").len(), 0);
    }

    #[test]
    fn commented_out_code_is_refused_where_it_starts() {
        let body = "fn f() {}\n// let a = g();\n// h(a);\n";
        let message = "commented-out code: delete it, git remembers".to_owned();
        assert_eq!(said("crates/plan/src/a.rs", body), [(3, message)]);
        assert_eq!(count("// if a {\n//     b\n// }\n"), 0);
        assert_eq!(count("// if a {\n//     b();\n// }\n"), 1);
    }

    #[test]
    fn prose_examples_and_strings_are_not_code() {
        assert_eq!(
            count("// Use the floor; it is exact.\n// So is the shift;\n// they agree.\n"),
            0
        );
        assert_eq!(count("/// let a = 1;\n/// let b = 2;\nfn f() {}\n"), 0);
        assert_eq!(count("const A: &str = \"\n// let a = 1;\n// let b = 2;\n\";\n"), 0);
    }

    #[test]
    fn a_denied_word_is_refused_as_an_identifier_only() {
        let body = "fn f(x0_pred: f32) {}\n";
        let message = "`x0_pred` is called clean here, see docs/GLOSSARY.md".to_owned();
        assert_eq!(said("crates/plan/src/a.rs", body), [(2, message)]);
        assert_eq!(count("fn f(max_x0_preds: f32) {}\n"), 0);
        assert_eq!(count("// The reference calls it x0_pred.\nconst A: &str = \"x0_pred\";\n"), 0);
    }

    #[test]
    fn a_task_needs_a_number() {
        assert_eq!(count("// TODO: later\n"), 1);
        assert_eq!(count("// TODO(someone)\n"), 1);
        assert_eq!(count("// TODO(#12): later\n"), 0);
        assert_eq!(count("const A: &str = \"TODO\";\n"), 0);
    }

    #[test]
    fn budgets_are_noticed() {
        let long = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(69));
        let message = "`f` has 71 lines, the budget of a function is 70".to_owned();
        assert_eq!(said("crates/plan/src/a.rs", &long), [(2, message)]);
        let fits = format!("fn f() {{\n{}}}\n", "    g();\n".repeat(68));
        assert_eq!(count(&fits), 0);
        assert_eq!(count(&"const A: u8 = 1;\n".repeat(400)), 1);
    }

    #[test]
    fn a_declaration_without_a_body_does_not_swallow_what_follows() {
        let body = format!("trait T {{ fn f(a: [u8; 2]);\n{}}}\n", "const A: u8 = 1;\n".repeat(80));
        assert_eq!(count(&body), 0);
    }
}
