//! `shotstream inspect`: what a file of weights holds.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use shotstream_models::{
    bundle::{BundleConfig, BundleError, read_header},
    checkpoint::Weights,
    tokenizer::Tokenizer,
};

use crate::{cli::InspectArgs, failure::Blame as _};

/// The networks of a model file, and what their tensors' names begin with.
const NETWORKS: [(&str, &str); 3] =
    [("dit.", "diffusion transformer"), ("vae.", "VAE"), ("text.", "text encoder")];

/// Print what the file holds.
pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<()> {
    let place = args.file.display();
    let bytes = fs::read(&args.file)
        .map_err(|error| format!("cannot read the file ({error}): {place}"))
        .wrong_use()?;
    let weights = Weights::parse(&bytes, &args.file).wrong_use()?;
    let mut text = describe(&weights, &args.file, bytes.len())?;
    if args.tensors {
        for (name, dtype, shape) in weights.tensors() {
            writeln!(text, "{name}  {dtype}  {shape:?}")?;
        }
    }
    super::print(&text)
}

fn describe(weights: &Weights<'_>, path: &Path, bytes: usize) -> anyhow::Result<String> {
    let (place, size) = (path.display(), bytes as f64 / 1e6);
    match read_header(weights, path) {
        Ok((config, tokenizer)) => {
            let head = format!("{place}: a shotstream model, {size:.1} MB\n");
            Ok(head + &networks(weights)? + &settings(&config, &tokenizer)?)
        }
        Err(BundleError::NoBundle { .. }) => {
            let total = Total::of(weights, "");
            Ok(format!("{place}: a safetensors file, {size:.1} MB\n{}\n", total.line("all")))
        }
        Err(error) => Err(error).wrong_use(),
    }
}

fn networks(weights: &Weights<'_>) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for (prefix, name) in NETWORKS {
        writeln!(text, "{}", Total::of(weights, prefix).line(name))?;
    }
    Ok(text)
}

fn settings(config: &BundleConfig, tokenizer: &Tokenizer) -> anyhow::Result<String> {
    let mut text = String::new();
    writeln!(text, "{:<24}{:>12} words", "vocabulary", tokenizer.vocab_size())?;
    let recipe = &config.recipe;
    let [height, width] = recipe.geometry().pixels;
    let (frames, fps) = (recipe.shot_frames().0, recipe.frames_per_second());
    writeln!(text, "{:<24}{width}x{height}, {frames} frames a shot, {fps} a second", "pictures")?;
    writeln!(text, "\n{}", toml::to_string(config)?.trim_end())?;
    Ok(text)
}

/// How much some tensors hold.
#[derive(Debug, Default)]
struct Total {
    parameters: usize,
    /// Tensors of every form.
    dtypes: BTreeMap<String, usize>,
}

impl Total {
    fn of(weights: &Weights<'_>, prefix: &str) -> Self {
        let mut total = Self::default();
        for (_, dtype, shape) in weights.tensors().filter(|(name, ..)| name.starts_with(prefix)) {
            total.parameters += shape.iter().product::<usize>();
            *total.dtypes.entry(dtype).or_default() += 1;
        }
        total
    }

    fn line(&self, name: &str) -> String {
        let tensors = |(dtype, count): (&String, &usize)| format!("{count} tensors of {dtype}");
        let tensors: Vec<_> = self.dtypes.iter().map(tensors).collect();
        let parameters = grouped(self.parameters);
        format!("{name:<24}{parameters:>12} parameters in {}", tensors.join(", "))
    }
}

/// A number with a space between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if 0 < index && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1 000", "1 234 567"]);
    }
}
