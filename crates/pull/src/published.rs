//! What was published, where, and where it belongs in the folder of a model.

/// Whose repositories the files come from: ShotStream's, and Wan's, which the rest is from.
pub const PUBLISHERS: [&str; 2] = ["KlingTeam/ShotStream", "Wan-AI/Wan2.1-T2V-1.3B"];

/// What is fetched where nothing else is said.
const DEFAULT_REVISION: &str = "main";

/// A part of the published models that can be fetched on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// ShotStream's causal few-step student: what films are made with.
    Student,
    /// The student after its first stage.
    OdeInit,
    /// ShotStream's bidirectional teacher.
    Teacher,
    /// Wan's own transformer, from which training starts.
    Wan,
    /// Wan's configuration of the transformer.
    Config,
    /// The VAE.
    Vae,
    /// The text encoder.
    TextEncoder,
    /// The tokenizer.
    Tokenizer,
}

/// A part with its repository, its file there, and the file's place in the folder of a model.
type Published = (Part, usize, &'static str, &'static str);

const FILES: [Published; 8] = [
    (Part::Config, 1, "config.json", "wan_models/Wan2.1-T2V-1.3B/config.json"),
    (
        Part::Tokenizer,
        1,
        "google/umt5-xxl/tokenizer.json",
        "wan_models/Wan2.1-T2V-1.3B/google/umt5-xxl/tokenizer.json",
    ),
    (Part::Vae, 1, "Wan2.1_VAE.pth", "wan_models/Wan2.1-T2V-1.3B/Wan2.1_VAE.pth"),
    (Part::Student, 0, "shotstream_merged.pt", "ckpts/shotstream_merged.pt"),
    (Part::OdeInit, 0, "ode_init.pt", "ckpts/ode_init.pt"),
    (Part::Teacher, 0, "bidirectional_teacher.pt", "ckpts/bidirectional_teacher.pt"),
    (
        Part::Wan,
        1,
        "diffusion_pytorch_model.safetensors",
        "wan_models/Wan2.1-T2V-1.3B/diffusion_pytorch_model.safetensors",
    ),
    (
        Part::TextEncoder,
        1,
        "models_t5_umt5-xxl-enc-bf16.pth",
        "wan_models/Wan2.1-T2V-1.3B/models_t5_umt5-xxl-enc-bf16.pth",
    ),
];

impl Part {
    /// What is fetched where no part is named: Wan's release, and the student.
    pub const DEFAULT: [Self; 6] =
        [Self::Config, Self::Tokenizer, Self::Vae, Self::Student, Self::Wan, Self::TextEncoder];
}

/// A file to be fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The repository, `owner/name`.
    pub repo: &'static str,
    /// A branch, a tag or a commit of it.
    pub revision: String,
    /// The file's path in the repository.
    pub file: &'static str,
    /// The file's path in the folder of a model.
    pub place: &'static str,
}

impl Wanted {
    /// The files of some parts, small ones first, each at the revision of its repository.
    #[must_use]
    pub fn of(parts: &[Part], revision: impl Fn(&str) -> Option<String>) -> Vec<Self> {
        let wanted = FILES.iter().filter(|(part, ..)| parts.contains(part));
        let wanted = wanted.map(|&(_, publisher, file, place)| {
            let repo = PUBLISHERS[publisher];
            let revision = revision(repo).unwrap_or_else(|| DEFAULT_REVISION.to_owned());
            Self { repo, revision, file, place }
        });
        wanted.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_files_share_a_place_and_every_part_has_one() {
        let mut places: Vec<_> = FILES.iter().map(|(.., place)| place).collect();
        places.sort();
        places.dedup();
        assert_eq!(places.len(), FILES.len());
        let all = Wanted::of(&Part::DEFAULT, |_| None);
        assert_eq!(all.len(), Part::DEFAULT.len());
        assert!(all.iter().all(|wanted| wanted.revision == DEFAULT_REVISION));
    }

    #[test]
    fn a_revision_is_that_of_its_repository() {
        let revision = |repo: &str| (repo == PUBLISHERS[0]).then(|| "v2".to_owned());
        let wanted = Wanted::of(&[Part::Student, Part::Vae], revision);
        let revisions: Vec<_> = wanted.iter().map(|wanted| wanted.revision.as_str()).collect();
        assert_eq!(revisions, ["main", "v2"]);
    }
}
