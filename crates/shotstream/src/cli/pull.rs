//! Flags of `pull`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Flags of `pull`.
#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// The folder to lay out, which `--model` takes then.
    #[arg(value_name = "DIR", default_value = "models")]
    pub(crate) folder: PathBuf,
    /// Fetch only this part; may be given several times, or as a list with commas.
    #[arg(long, value_enum, value_name = "PART", value_delimiter = ',')]
    pub(crate) only: Vec<PartName>,
    /// A branch, a tag or a commit instead of `main`: of all repositories, or of the one that is
    /// named before it.
    #[arg(long = "revision", value_name = "[REPO=]REVISION", value_parser = revision)]
    pub(crate) revisions: Vec<Revision>,
    /// Also check what is here already against its digest, and fetch anew what is damaged.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) verify: bool,
    /// Tell what would be fetched, and fetch nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The parts of the published models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PartName {
    /// ShotStream's causal few-step student, which makes the films.
    Student,
    /// The student after its first stage; only where it is named.
    OdeInit,
    /// ShotStream's bidirectional teacher; only where it is named.
    Teacher,
    /// Wan's own transformer, which training starts from.
    Wan,
    /// Wan's configuration.
    Config,
    /// The VAE.
    Vae,
    /// The text encoder.
    TextEncoder,
    /// The tokenizer.
    Tokenizer,
}

/// A revision, perhaps of one repository only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revision {
    pub(crate) repo: Option<String>,
    pub(crate) revision: String,
}

/// `main` or `owner/name=main`.
fn revision(text: &str) -> Result<Revision, String> {
    let (repo, revision) = match text.split_once('=') {
        Some((repo, revision)) => (Some(repo.to_owned()), revision),
        None => (None, text),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    let climbs = revision.split('/').any(|step| matches!(step, "" | "." | ".."));
    if revision.is_empty() || climbs || !revision.chars().all(plain) {
        return Err("expected a branch, a tag or a commit".to_owned());
    }
    Ok(Revision { repo, revision: revision.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_a_name_and_perhaps_whose_it_is() {
        let repo = Some("a/b".to_owned());
        let named = |repo, revision: &str| Ok(Revision { repo, revision: revision.to_owned() });
        assert_eq!(revision("refs/pr/1"), named(None, "refs/pr/1"));
        assert_eq!(revision("a/b=v1.0"), named(repo, "v1.0"));
        let refused = ["", "a/b=", "../x", "a//b", "a b", "/a", "a?b"];
        assert!(refused.iter().all(|text| revision(text).is_err()));
    }
}
