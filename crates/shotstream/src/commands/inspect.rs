//! `shotstream inspect`: what a model or a file of weights holds.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use shotstream_models::{
    bundle::BundleError,
    checkpoint::{Network, Weights},
    stored::{StoredModel, StoredNetwork},
};

use crate::{cli::InspectArgs, failure::Blame as _, model::ModelFile};

mod plan;

/// Print what the model or the file holds.
pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<()> {
    if args.plan {
        return super::print(&plan::text(&ModelFile::open(&args.file)?, args.size)?);
    }
    let path = Path::new(&args.file);
    let opened = match args.file.as_str() {
        crate::model::TINY_NAME => Ok(ModelFile::open(&args.file)?.stored),
        _ => StoredModel::open(path),
    };
    let mut text = match opened {
        Ok(model) => model_text(&model, &args.file, args.tensors)?,
        Err(BundleError::NoBundle { .. } | BundleError::NoPart { .. }) if !path.is_dir() => {
            let weights = Weights::open(path).wrong_use()?;
            let total = Total::of(weights.tensors());
            let size = weights.size_bytes() as f64 / 1e6;
            let head = format!("{}: a file of weights, {size:.1} MB\n", args.file);
            head + &total.line("all") + "\n" + &listed(args.tensors, weights.tensors())?
        }
        Err(error) => return Err(error).wrong_use(),
    };
    text.truncate(text.trim_end().len());
    super::print(&(text + "\n"))
}

fn model_text(model: &StoredModel<'_>, place: &str, tensors: bool) -> anyhow::Result<String> {
    let size = model.size_bytes() as f64 / 1e6;
    let mut text = format!("{place}: a shotstream model, {size:.1} MB\n");
    let one_file = Path::new(place).is_file()
        || model.networks().iter().all(|n| n.path() == model.networks()[0].path());
    for stored in model.networks() {
        let line = Total::of(stored.tensors()).line(name(stored));
        match one_file {
            true => writeln!(text, "{line}")?,
            false => writeln!(text, "{line}: {}", stored.path().display())?,
        }
    }
    text += &settings(model)?;
    for stored in model.networks() {
        text += &listed(tensors, stored.tensors())?;
    }
    Ok(text)
}

/// What a network is called.
fn name(stored: &StoredNetwork<'_>) -> &'static str {
    match stored.network() {
        Network::Dit => "diffusion transformer",
        Network::Vae => "VAE",
        Network::Umt5 => "text encoder",
    }
}

fn settings(model: &StoredModel<'_>) -> anyhow::Result<String> {
    let (config, mut text) = (model.config(), String::new());
    writeln!(text, "{:<24}{:>12} words", "vocabulary", model.tokenizer().vocab_size())?;
    let recipe = &config.recipe;
    let [height, width] = recipe.geometry().pixels;
    let (frames, fps) = (recipe.shot_frames().0, recipe.frames_per_second());
    writeln!(text, "{:<24}{width}x{height}, {frames} frames a shot, {fps} a second", "pictures")?;
    writeln!(text, "\n{}\n", toml::to_string(config)?.trim_end())?;
    Ok(text)
}

/// A line for every tensor, if they are asked for.
fn listed<'t>(
    asked: bool,
    tensors: impl Iterator<Item = (&'t str, String, &'t [usize])>,
) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for (name, dtype, shape) in tensors.take_while(|_| asked) {
        writeln!(text, "{name}  {dtype}  {shape:?}")?;
    }
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
    fn of<'t>(tensors: impl Iterator<Item = (&'t str, String, &'t [usize])>) -> Self {
        let mut total = Self::default();
        for (_, dtype, shape) in tensors {
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
