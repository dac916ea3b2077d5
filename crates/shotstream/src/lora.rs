//! Adapters on the command line, and their way into a model.

use std::{fmt, path::PathBuf};

use clap::Args;
use shotstream_models::{dit::Dit, lora::Lora};

use crate::failure::Blame as _;

/// What changes a model.
#[derive(Debug, Args)]
pub(crate) struct LoraArgs {
    /// Merge an adapter into the weights before anything runs: SCALE times, once by default.
    ///
    /// PATH is a folder of PEFT's or the safetensors file in it. May be given several times; all
    /// are merged, one after the other.
    #[arg(long = "lora", value_name = "PATH[:SCALE]", value_parser = lora)]
    pub(crate) loras: Vec<LoraArg>,
}

/// An adapter and how often it is taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LoraArg {
    path: PathBuf,
    scale: f32,
}

impl fmt::Display for LoraArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.scale)
    }
}

/// `style:0.5` to an adapter and its scale; what follows a colon and is no number belongs to the
/// path.
fn lora(text: &str) -> Result<LoraArg, String> {
    let tail = text.rsplit_once(':').and_then(|(path, tail)| Some((path, tail.parse().ok()?)));
    let (path, scale): (&str, f32) = tail.unwrap_or((text, 1.0));
    match (path, scale.is_finite()) {
        ("", _) => Err("expected a path before the scale".to_owned()),
        (_, false) => Err(format!("expected a finite scale, found {scale}")),
        _ => Ok(LoraArg { path: path.into(), scale }),
    }
}

/// The transformer with adapters merged into it.
///
/// # Errors
/// When one cannot be read or does not fit.
pub(crate) fn merged(mut dit: Dit, loras: &[LoraArg]) -> anyhow::Result<Dit> {
    for LoraArg { path, scale } in loras {
        let lora = Lora::read(path, &dit).wrong_use()?;
        dit = lora.merge(dit, *scale).wrong_use()?;
    }
    Ok(dit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_a_path_and_perhaps_a_scale() {
        let arg = |path: &str, scale| Ok(LoraArg { path: path.into(), scale });
        assert_eq!(lora("style"), arg("style", 1.0));
        assert_eq!(lora("style:-0.5"), arg("style", -0.5));
        assert_eq!(lora("C:/style"), arg("C:/style", 1.0));
        assert_eq!(lora("a:b:2"), arg("a:b", 2.0));
        assert!(["", ":2", "style:inf", "style:NaN"].iter().all(|text| lora(text).is_err()));
    }
}
