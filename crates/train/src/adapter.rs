//! Low-rank adapters that learn in place of the weights.
//!
//! | letter | means |
//! |---|---|
//! | `I`, `O` | inputs and outputs of a projection |
//! | `R` | rank of the adapter |
//!
//! LoRA (Hu et al. 2021, arXiv 2106.09685) as another way to write down parameters: what the
//! optimiser moves are the factors `A` `[R, I]` and `B` `[O, R]` of every adapted projection, and the
//! networks run on `W = W₀ + s·B·A` as on any other weights. The chain rule brings their gradients
//! back, `dA = s·Bᵀ·dW` and `dB = s·dW·Aᵀ`, so no network knows of adapters. What has no factors is
//! frozen. `A` starts Kaiming-uniform and `B` at zero, so training starts from the base itself.

use std::{borrow::Cow, collections::BTreeMap, path::Path};

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use shotstream_models::{
    checkpoint::{Network, parameters},
    lora::{Factors, Lora, LoraConfig, adapted, is_target, projection},
};

use crate::{
    check::{Check, SOME, above_zero, count},
    data::address::{rng_of, uniform},
    error::TrainError,
    params::{self, ParamSpec, Vectors, host},
    trainer::BatchAddress,
};

/// The adapter that learns, as written in a recipe's `[lora]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraRecipe {
    /// Rank `R` of every pair of factors.
    pub rank: usize,
    /// What the product of the factors is multiplied by, before the rank divides it.
    pub alpha: f32,
    /// Which projections of the transformer have factors: ends of their official names, such as
    /// `self_attn.q`, `cross_attn.o` or `ffn.0`.
    pub targets: Vec<String>,
}

impl Check for LoraRecipe {
    fn check(&self) -> Result<(), String> {
        count("lora.rank", self.rank as u64, SOME)?;
        above_zero("lora.alpha", self.alpha)?;
        match self.targets.is_empty() {
            true => Err("lora.targets is empty, expected ends of layers' names".into()),
            false => Ok(()),
        }
    }
}

/// What the optimiser moves.
#[derive(Debug)]
pub enum Space {
    /// The parameters of the networks themselves.
    Weights,
    /// Factors beside frozen parameters.
    Factors(Adapter),
}

/// Frozen parameters, and which of them have factors.
#[derive(Debug)]
pub struct Adapter {
    base: Vectors,
    config: LoraConfig,
    targets: Vec<Target>,
}

/// A projection with factors.
#[derive(Debug)]
struct Target {
    /// Its place among the parameters.
    param: usize,
    /// The transformer it belongs to, and its official name there.
    root: &'static str,
    layer: String,
    /// `[O, I]`.
    shape: [usize; 2],
}

impl Space {
    /// What learns of `model`: everything, or what `lora` says of the transformers that the model
    /// has as its fields `roots`. Comes with the names and first values of what learns.
    ///
    /// # Errors
    /// If there is no transformer, a target is none of its projections, or a layer is one that the
    /// stage never lets learn.
    pub fn open<M: Module>(
        model: &M,
        lora: Option<&LoraRecipe>,
        roots: &[&'static str],
        trainable: impl Fn(&str) -> bool,
        seed: u64,
    ) -> Result<(Self, Vec<ParamSpec>, Vectors), TrainError> {
        let (specs, base) = params::values(model);
        let Some(recipe) = lora else { return Ok((Self::Weights, specs, base)) };
        let targets = targets(model, recipe, roots)?;
        let config = LoraConfig::new(recipe.rank, recipe.alpha, recipe.targets.clone());
        let (mut specs, mut values) = (Vec::new(), Vectors::new());
        for Target { param, root, layer, shape: [outputs, inputs] } in &targets {
            let at = BatchAddress { seed, step: u64::MAX, part: 0, batch: 0 };
            let rng = &mut rng_of(at, *param);
            let bound = (*inputs as f32).sqrt().recip();
            let a = (0..recipe.rank * inputs).map(|_| bound * (2.0 * uniform(rng) - 1.0));
            values.extend([a.collect(), vec![0.0; outputs * recipe.rank]]);
            let spec =
                |factor, shape| ParamSpec { name: format!("{root}.{layer}.{factor}"), shape };
            specs.extend([
                spec("lora_A", vec![recipe.rank, *inputs]),
                spec("lora_B", vec![*outputs, recipe.rank]),
            ]);
        }
        if let Some(frozen) = specs.iter().find(|spec| !trainable(&spec.name)) {
            let reason = format!("lora.targets has what the stage keeps frozen: {}", frozen.name);
            return Err(TrainError::Stage { reason });
        }
        Ok((Self::Factors(Adapter { base, config, targets }), specs, values))
    }

    /// The parameters of the networks, from the values that learn.
    pub fn weights<'a>(&self, values: &'a Vectors) -> Cow<'a, Vectors> {
        let Self::Factors(adapter) = self else { return Cow::Borrowed(values) };
        let mut weights = adapter.base.clone();
        for (target, factors) in adapter.targets.iter().zip(values.chunks_exact(2)) {
            let weight = &mut weights[target.param];
            let [a, b] = adapter.factors(target, factors);
            *weight = host(adapted(target.matrix(weight), a, b, adapter.config.scale()));
        }
        Cow::Owned(weights)
    }

    /// The gradients of the values that learn, from those of the networks' parameters.
    pub fn gradients(&self, values: &Vectors, of_weights: Vectors) -> Vectors {
        let Self::Factors(adapter) = self else { return of_weights };
        let mut gradients = Vectors::new();
        for (target, factors) in adapter.targets.iter().zip(values.chunks_exact(2)) {
            let of_weight = target.matrix(&of_weights[target.param]);
            let [a, b] = adapter.factors(target, factors);
            let of_factors = [of_weight.clone().matmul(b), a.matmul(of_weight)];
            let scale = adapter.config.scale();
            gradients.extend(of_factors.map(|g| host(g.transpose().mul_scalar(scale))));
        }
        gradients
    }

    /// Write adapters into the run's folder as PEFT does: that of the first root into `adapter`,
    /// those of others into `adapter-` and their name.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn save(&self, dir: &Path, values: &Vectors) -> Result<(), TrainError> {
        let Self::Factors(adapter) = self else { return Ok(()) };
        let mut adapters: BTreeMap<&str, BTreeMap<String, Factors>> = BTreeMap::new();
        for (target, factors) in adapter.targets.iter().zip(values.chunks_exact(2)) {
            let [a, b] = [0, 1].map(|index| factors[index].clone());
            let factors = Factors { shape: target.shape, a, b };
            adapters.entry(target.root).or_default().insert(target.layer.clone(), factors);
        }
        for (root, factors) in adapters {
            let first = adapter.targets.first().is_some_and(|target| target.root == root);
            let folder = if first { "adapter".into() } else { format!("adapter-{root}") };
            Lora { config: adapter.config.clone(), factors }.write(&dir.join(folder))?;
        }
        Ok(())
    }
}

impl Adapter {
    /// `A` and `B` of a target, `[R, I]` and `[O, R]`.
    fn factors(&self, target: &Target, factors: &[Vec<f32>]) -> [Tensor<2>; 2] {
        let ([outputs, inputs], rank) = (target.shape, self.config.rank);
        [tensor(&factors[0], [rank, inputs]), tensor(&factors[1], [outputs, rank])]
    }
}

impl Target {
    /// A vector of the projection's own layout, `[I, O]`.
    fn matrix(&self, vector: &[f32]) -> Tensor<2> {
        let [outputs, inputs] = self.shape;
        tensor(vector, [inputs, outputs])
    }
}

fn tensor(values: &[f32], shape: [usize; 2]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &Device::flex())
}

/// The projections below `roots` that a recipe names, in the order of the parameters.
fn targets<M: Module>(
    model: &M,
    recipe: &LoraRecipe,
    roots: &[&'static str],
) -> Result<Vec<Target>, TrainError> {
    let wrong = |reason| TrainError::Stage { reason };
    if roots.is_empty() {
        return Err(wrong("it trains no transformer, so its recipe can have no [lora]".into()));
    }
    // Official names below a field are those of the transformer it holds, after the field's own.
    let names = parameters(model, Network::Dit);
    let mut targets = Vec::new();
    for (param, (name, shape)) in names.iter().enumerate() {
        let Some((layer, shape)) = projection(name, shape) else { continue };
        let Some((root, layer)) = layer.split_once('.') else { continue };
        let Some(&root) = roots.iter().find(|&&known| known == root) else { continue };
        if recipe.targets.iter().any(|end| is_target(layer, end)) {
            targets.push(Target { param, root, layer: layer.to_owned(), shape });
        }
    }
    let meant = |end: &&String| !targets.iter().any(|target| is_target(&target.layer, end));
    match recipe.targets.iter().find(meant) {
        Some(end) => Err(wrong(format!("lora.targets has {end}, the end of no projection's name"))),
        None => Ok(targets),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 2] = [3, 4];
    const RANK: usize = 2;

    /// One adapted projection of `SHAPE` over random weights, and random factors.
    fn space() -> (Space, Vectors) {
        let at = BatchAddress { seed: 1, step: 0, part: 0, batch: 0 };
        let [outputs, inputs] = SHAPE;
        let numbers = |index, count| crate::data::address::normals(&mut rng_of(at, index), count);
        let target = Target { param: 0, root: "dit", layer: "q".into(), shape: SHAPE };
        let config = LoraConfig::new(RANK, 3.0, vec!["q".into()]);
        let base = vec![numbers(0, outputs * inputs), vec![7.0]];
        let adapter = Adapter { base, config, targets: vec![target] };
        (Space::Factors(adapter), vec![numbers(1, RANK * inputs), numbers(2, outputs * RANK)])
    }

    #[test]
    fn gradients_of_factors_equal_finite_differences() {
        let (space, values) = space();
        // The loss is a weighted sum of the weights, so their gradient is the list of its weights,
        // and in each factor alone it is linear: differences are exact but for rounding.
        let share = |index: usize| ((index * 5 % 7) as f32 - 3.0) / 4.0;
        let loss = |values: &Vectors| -> f64 {
            let weights = space.weights(values);
            let terms = weights[0].iter().enumerate();
            terms.map(|(i, &w)| f64::from(w) * f64::from(share(i))).sum()
        };
        let of_weights = vec![(0..SHAPE[0] * SHAPE[1]).map(share).collect(), vec![1.0]];
        let gradients = space.gradients(&values, of_weights);
        assert_eq!(gradients.len(), 2);
        for factor in 0..2 {
            assert_eq!(gradients[factor].len(), values[factor].len());
            for index in 0..values[factor].len() {
                let moved = |by| {
                    let mut values = values.clone();
                    values[factor][index] += by;
                    loss(&values)
                };
                let slope = (moved(0.5) - moved(-0.5)) as f32;
                let error = (slope - gradients[factor][index]).abs();
                assert!(error < 1e-5, "factor {factor}, {index}: {error}");
            }
        }
    }

    #[test]
    fn weights_without_factors_stay_and_zero_factors_change_nothing() {
        let (space, mut values) = space();
        let Space::Factors(Adapter { base, .. }) = &space else { unreachable!() };
        assert_eq!(space.weights(&values)[1], base[1]);
        assert_ne!(space.weights(&values)[0], base[0]);
        values[1].fill(0.0);
        assert_eq!(&*space.weights(&values), base);
    }
}
