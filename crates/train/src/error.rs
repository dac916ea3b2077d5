//! Everything that can go wrong in training.

use std::path::PathBuf;

use thiserror::Error;

/// An error of a training run; nothing that was saved before it is lost.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TrainError {
    #[error("the recipe is not valid, {reason}: {}", path.display())]
    Recipe { reason: String, path: PathBuf },
    #[error("the folder holds {found}, {}: {}", if *.resumable { "resume it with --resume or choose another folder" } else { "choose another folder" }, path.display())]
    Occupied { found: &'static str, resumable: bool, path: PathBuf },
    #[error("the run cannot be resumed, {reason}: {}", path.display())]
    Resume { reason: String, path: PathBuf },
    #[error(
        "{what} is {found} in step {step}, the run stops here and the last checkpoint is intact"
    )]
    NotFinite { what: String, step: u64, found: f64 },
    #[error("cannot write ({source}), what was saved before is intact: {}", path.display())]
    Write { source: std::io::Error, path: PathBuf },
    #[error("cannot read ({source}): {}", path.display())]
    Read { source: std::io::Error, path: PathBuf },
    #[error(
        "{ranks} ranks cannot share loop.parts evenly, expected a multiple of {ranks}, found {parts}"
    )]
    Uneven { ranks: usize, parts: usize },
    /// What ranks agreed on: every one of them has this error.
    #[error("{reason}")]
    Ranks { reason: String },
    #[error("cannot start the worker threads: {0}")]
    Workers(#[from] rayon::ThreadPoolBuildError),
    #[error(transparent)]
    Bundle(#[from] shotstream_models::bundle::BundleError),
    #[error(transparent)]
    Court(#[from] crate::court::CourtError),
    #[error(transparent)]
    Lora(#[from] shotstream_models::lora::LoraError),
    #[error(transparent)]
    Tokenizer(#[from] shotstream_models::tokenizer::TokenizerError),
    #[error("the recipe asks for what cannot be done: {reason}")]
    Stage { reason: String },
    #[error("{reason}: {}", path.display())]
    Teacher { reason: String, path: PathBuf },
    #[error(transparent)]
    Refused(#[from] crate::data::table::Refusal),
    #[error("what is stored here is not usable, {reason}: {}", path.display())]
    Stored { reason: String, path: PathBuf },
}
