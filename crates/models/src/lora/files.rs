//! Adapters in and out of files, strictly.
//!
//! PEFT's own layout is a folder with `adapter_config.json` and `adapter_model.safetensors`. The
//! reference keeps the adapters of student and critic in one file, under `generator_lora` and
//! `critic_lora` and without a configuration; it is read as well, the student's part of it, with an
//! alpha that equals the rank, which is how it was trained.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use crate::{
    checkpoint::{
        CheckpointError, Network, StoredDtype, Weights, WeightsWriter, parameters, replace,
    },
    dit::Dit,
};

use super::{Factors, Lora, LoraConfig, LoraError, projection};

const CONFIG: &str = "adapter_config.json";
const MODEL: &str = "adapter_model.safetensors";

/// What PEFT calls the network under the adapter.
const BASE: &str = "base_model.model.";
const A: &str = ".lora_A.weight";
const B: &str = ".lora_B.weight";

/// The parts of the reference's file.
const STUDENT: &str = "generator_lora.";
const CRITIC: &str = "critic_lora.";

impl Lora {
    /// The adapter in a folder of PEFT's, or in a safetensors file, for `dit`.
    ///
    /// # Errors
    /// If a file cannot be read, is no plain LoRA, or does not fit the transformer or itself.
    pub fn read(path: &Path, dit: &Dit) -> Result<Self, LoraError> {
        let path = if path.is_dir() { path.join(MODEL) } else { path.to_owned() };
        let weights = Weights::open(&path)?;
        let shapes: BTreeMap<&str, &[usize]> =
            weights.tensors().map(|(name, _, shape)| (name, shape)).collect();
        let prefix = match shapes.keys().any(|name| name.starts_with(STUDENT)) {
            true => format!("{STUDENT}{BASE}"),
            false => BASE.to_owned(),
        };
        let layers = layers(shapes.keys().copied(), &prefix, &path)?;
        let config = match prefix == BASE {
            true => read_config(&path.with_file_name(CONFIG))?,
            false => config_of(&layers, &shapes, &prefix),
        };
        config
            .check()
            .map_err(|reason| LoraError::Config { reason, path: path.with_file_name(CONFIG) })?;
        let projections = projections(dit);
        check_layers(&layers, &config, &projections, &path)?;
        let factors = layers.into_iter().map(|layer| {
            let shape @ [outputs, inputs] = projections[layer];
            let read = |end, expected| {
                let name = format!("{prefix}{layer}{end}");
                values(&weights, shapes[name.as_str()], name, expected, &path)
            };
            let (a, b) = (read(A, [config.rank, inputs])?, read(B, [outputs, config.rank])?);
            Ok((layer.to_owned(), Factors { shape, a, b }))
        });
        let factors = factors.collect::<Result<_, LoraError>>()?;
        Ok(Self { config, factors })
    }

    /// Write the adapter into `folder` in PEFT's layout, making the folder if there is none.
    ///
    /// # Errors
    /// If a factor is not finite, or the folder cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), LoraError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| CheckpointError::Unwritable { source, path }
        };
        fs::create_dir_all(folder).map_err(failed(folder))?;
        let mut writer = WeightsWriter::new(StoredDtype::F32);
        for (layer, Factors { shape: [outputs, inputs], a, b }) in &self.factors {
            let rank = self.config.rank;
            writer.add_tensor(format!("{BASE}{layer}{A}"), vec![rank, *inputs], a.clone());
            writer.add_tensor(format!("{BASE}{layer}{B}"), vec![*outputs, rank], b.clone());
        }
        writer.write(&folder.join(MODEL), &[("format", "pt".to_owned())])?;
        let path = folder.join(CONFIG);
        let config = serde_json::to_string_pretty(&self.config)
            .map_err(|error| LoraError::Config { reason: error.to_string(), path: path.clone() })?;
        Ok(replace(&path, |part| fs::write(part, config + "\n")).map_err(failed(&path))?)
    }
}

/// The layers that tensors of these names are factors of.
fn layers<'a>(
    names: impl Iterator<Item = &'a str>,
    prefix: &str,
    path: &Path,
) -> Result<BTreeSet<&'a str>, LoraError> {
    let mut halves = [BTreeSet::new(), BTreeSet::new()];
    for name in names.filter(|name| prefix == BASE || !name.starts_with(CRITIC)) {
        let stranger = || LoraError::Stranger { name: name.to_owned(), path: path.to_owned() };
        let layer = name.strip_prefix(prefix).ok_or_else(stranger)?;
        let [a, b] = [A, B].map(|end| layer.strip_suffix(end));
        let (half, layer) =
            a.map(|layer| (0, layer)).or(b.map(|layer| (1, layer))).ok_or_else(stranger)?;
        halves[half].insert(layer);
    }
    let [a, b] = halves;
    if let Some(layer) = a.symmetric_difference(&b).next() {
        let (found, absent) = if a.contains(layer) { (A, B) } else { (B, A) };
        let found = format!("{prefix}{layer}{found}");
        let absent = format!("{prefix}{layer}{absent}");
        return Err(LoraError::Half { found, absent, path: path.to_owned() });
    }
    Ok(a)
}

fn read_config(path: &Path) -> Result<LoraConfig, LoraError> {
    let unusable = |reason| LoraError::Config { reason, path: path.to_owned() };
    let text = fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))
}

/// What the reference's training says about its layers: nothing is multiplied by anything.
fn config_of(
    layers: &BTreeSet<&str>,
    shapes: &BTreeMap<&str, &[usize]>,
    prefix: &str,
) -> LoraConfig {
    let rank =
        layers.first().and_then(|layer| shapes[format!("{prefix}{layer}{A}").as_str()].first());
    let rank = rank.copied().unwrap_or(0);
    LoraConfig::new(rank, rank as f32, layers.iter().map(|&layer| layer.to_owned()).collect())
}

/// Every projection of a transformer: its name, and `O` and `I`.
fn projections(dit: &Dit) -> BTreeMap<String, [usize; 2]> {
    let parameters = parameters(dit, Network::Dit);
    let projections = parameters.iter().filter_map(|(name, shape)| projection(name, shape));
    projections.map(|(layer, shape)| (layer.to_owned(), shape)).collect()
}

/// Whether the transformer has the layers, and the configuration means the same ones.
fn check_layers(
    layers: &BTreeSet<&str>,
    config: &LoraConfig,
    projections: &BTreeMap<String, [usize; 2]>,
    path: &Path,
) -> Result<(), LoraError> {
    let path = || path.to_owned();
    if let Some(&layer) = layers.iter().find(|&&layer| !projections.contains_key(layer)) {
        return Err(LoraError::UnknownLayer { layer: layer.to_owned(), path: path() });
    }
    for layer in projections.keys() {
        let changed = layers.contains(layer.as_str());
        if config.changes(layer).is_some_and(|says| says != changed) {
            return Err(LoraError::Contradiction { layer: layer.clone(), changed, path: path() });
        }
    }
    Ok(())
}

/// The numbers of a tensor of the expected shape, all finite.
fn values(
    weights: &Weights<'_>,
    found: &[usize],
    name: String,
    expected: [usize; 2],
    path: &Path,
) -> Result<Vec<f32>, CheckpointError> {
    let path: PathBuf = path.to_owned();
    if found != expected {
        let (expected, found) = (expected.to_vec(), found.to_vec());
        return Err(CheckpointError::ShapeMismatch { name, expected, found, path });
    }
    let values = weights.values(&name)?;
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(values),
        false => Err(CheckpointError::NotFinite { name, path }),
    }
}
