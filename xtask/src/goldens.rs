//! Make every golden again with its script, and tell whether that changed one.

use std::{io, path::Path, process::Command};

/// Where the scripts are, and where they write.
const SCRIPTS: &str = "tools/goldens";
const GOLDENS: &str = "testdata";

/// Run every script and tell whether all goldens are the committed ones.
pub(crate) fn regenerate(root: &Path) -> bool {
    match scripts(root) {
        Ok(scripts) => {
            let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
            scripts.iter().all(|script| {
                println!("== {script}");
                let status = Command::new(&python).args(["-B", script]).current_dir(root).status();
                status.is_ok_and(|status| status.success()) || failed(script)
            }) && unchanged(root)
        }
        Err(error) => {
            eprintln!("error: cannot list the scripts ({error}): {SCRIPTS}");
            false
        }
    }
}

/// The scripts in order of their names, relative to the root.
fn scripts(root: &Path) -> io::Result<Vec<String>> {
    let mut scripts = Vec::new();
    for entry in std::fs::read_dir(root.join(SCRIPTS))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.ends_with(".py") {
            scripts.push(format!("{SCRIPTS}/{name}"));
        }
    }
    scripts.sort();
    Ok(scripts)
}

fn failed(script: &str) -> bool {
    eprintln!("error: the script did not run to its end: {script}");
    false
}

/// Ask git whether the goldens are as committed.
fn unchanged(root: &Path) -> bool {
    let status = ["status", "--porcelain", "--", GOLDENS];
    let output = match Command::new("git").args(status).current_dir(root).output() {
        Ok(output) if output.status.success() => output,
        _ => {
            eprintln!("error: git does not say whether a golden changed: {GOLDENS}");
            return false;
        }
    };
    let changes = String::from_utf8_lossy(&output.stdout);
    if changes.is_empty() {
        println!("every golden is the committed one");
    } else {
        eprintln!("error: goldens differ from the committed ones:\n{}", changes.trim_end());
    }
    changes.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_names_the_folder_it_writes_to_and_how_it_is_run() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in a folder");
        let scripts = scripts(root).expect("the scripts can be listed");
        assert!(!scripts.is_empty());
        for script in scripts {
            let text = std::fs::read_to_string(root.join(&script)).expect("a script");
            assert!(text.contains(&format!("python {script}")), "{script}");
            let stem = script.rsplit('/').next().and_then(|name| name.strip_suffix(".py"));
            let folder = format!("{GOLDENS}/{}", stem.expect("a name"));
            assert!(text.contains(&folder), "{script} does not name {folder}");
            assert!(root.join(&folder).is_dir(), "{folder}");
        }
    }
}
