//! AdamW for vectors, Muon for matrices, global-norm clipping, and the running average of weights.
//!
//! Muon (Jordan et al. 2024, "Muon: an optimizer for hidden layers") replaces the momentum of a
//! matrix by the nearest orthogonal matrix, found with five Newton–Schulz steps. Convolution
//! kernels count as matrices of output channels × everything else. Embeddings, the first and last
//! layers, biases, gains and modulation tables take AdamW (Loshchilov & Hutter 2019).

use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::{
    check::{Check, NOT_NEGATIVE, SHARE, above_zero, within},
    params::{ParamSpec, Vectors, host},
};

/// What the optimiser needs to know, as written in a recipe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerRecipe {
    /// Learning rate of AdamW.
    pub adamw_lr: f32,
    /// Learning rate of Muon; 0 gives every parameter to AdamW.
    pub muon_lr: f32,
    /// AdamW's decay rates of the two moments.
    #[serde(default = "default_betas")]
    pub betas: [f32; 2],
    /// Decoupled weight decay of matrices.
    #[serde(default)]
    pub weight_decay: f32,
    /// Largest global norm of the gradient.
    #[serde(default = "default_clip")]
    pub clip: f32,
    /// Decay of the running average of the weights.
    #[serde(default = "default_ema")]
    pub ema: f32,
}

impl Check for OptimizerRecipe {
    fn check(&self) -> Result<(), String> {
        within("optimizer.adamw_lr", self.adamw_lr, NOT_NEGATIVE)?;
        within("optimizer.muon_lr", self.muon_lr, NOT_NEGATIVE)?;
        for beta in self.betas {
            // At 1 a moment never forgets, and its bias cannot be removed.
            within("optimizer.betas", beta, [0.0, 0.999_999])?;
        }
        within("optimizer.weight_decay", self.weight_decay, NOT_NEGATIVE)?;
        above_zero("optimizer.clip", self.clip)?;
        within("optimizer.ema", self.ema, SHARE)
    }
}

fn default_betas() -> [f32; 2] {
    [0.9, 0.99]
}

fn default_clip() -> f32 {
    1.0
}

fn default_ema() -> f32 {
    0.995
}

const MUON_MOMENTUM: f32 = 0.95;
const ADAM_EPSILON: f32 = 1e-8;
/// Coefficients of the quintic Newton–Schulz iteration, tuned by Muon's author for fast growth of
/// small singular values.
const NEWTON_SCHULZ: [f32; 3] = [3.4445, -4.775, 2.0315];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    AdamW,
    Muon { rows: usize },
    Frozen,
}

/// A parameter's part in an update.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turn {
    /// Updates it has had before.
    pub updates: u64,
    /// Its learning rate over the recipe's.
    pub rate: f32,
}

/// The optimiser's memory: moments and averages beside the parameters they belong to.
#[derive(Debug)]
pub struct Optimizer {
    recipe: OptimizerRecipe,
    rules: Vec<Rule>,
    /// First moment, or Muon's momentum.
    pub first: Vectors,
    /// Second moment; empty for Muon.
    pub second: Vectors,
    /// Running average of the weights.
    pub ema: Vectors,
    device: Device,
}

impl Optimizer {
    /// Memory for `values`; parameters that `trainable` refuses never change.
    pub fn new(
        recipe: OptimizerRecipe,
        specs: &[ParamSpec],
        values: &Vectors,
        trainable: impl Fn(&str) -> bool,
    ) -> Self {
        let rules: Vec<_> =
            specs.iter().map(|spec| rule_of(spec, recipe.muon_lr, &trainable)).collect();
        let sized = |keep: &dyn Fn(Rule) -> bool| -> Vectors {
            let lengths = values.iter().zip(&rules);
            lengths.map(|(v, &r)| vec![0.0; if keep(r) { v.len() } else { 0 }]).collect()
        };
        let first = sized(&|rule| rule != Rule::Frozen);
        let second = sized(&|rule| rule == Rule::AdamW);
        Self { recipe, rules, first, second, ema: values.clone(), device: Device::flex() }
    }

    /// One update of `values` by `gradients` at `scale` times the recipe's rates.
    ///
    /// `turns` has an entry for every parameter; those without a turn, and what is remembered of
    /// them, stay as they are. Returns the global norm of the gradient before clipping; if it is
    /// not finite, nothing has changed.
    pub fn step(
        &mut self,
        values: &mut Vectors,
        gradients: &Vectors,
        scale: f32,
        turns: &[Option<Turn>],
    ) -> f32 {
        let norm = global_norm(gradients, turns);
        if !norm.is_finite() {
            return norm;
        }
        let shrink = (self.recipe.clip / norm.max(f32::MIN_POSITIVE)).min(1.0);
        for (index, turn) in turns.iter().enumerate() {
            let Some(Turn { updates, rate }) = *turn else { continue };
            let (value, gradient) = (&mut values[index], &gradients[index]);
            let scale = scale * rate;
            match self.rules[index] {
                Rule::Frozen => continue,
                Rule::AdamW => self.adamw(index, value, gradient, [scale, shrink], updates),
                Rule::Muon { rows } => self.muon(index, value, gradient, scale, rows),
            }
            // A young average follows closely, an old one slowly.
            let decay = self.recipe.ema.min((1.0 + updates as f32) / (10.0 + updates as f32));
            for (a, &v) in self.ema[index].iter_mut().zip(value.iter()) {
                *a = decay * *a + (1.0 - decay) * v;
            }
        }
        norm
    }

    fn adamw(
        &mut self,
        index: usize,
        value: &mut [f32],
        gradient: &[f32],
        [scale, shrink]: [f32; 2],
        updates: u64,
    ) {
        let [beta1, beta2] = self.recipe.betas;
        let steps = i32::try_from(updates + 1).unwrap_or(i32::MAX);
        let (unbias1, unbias2) = (1.0 - beta1.powi(steps), 1.0 - beta2.powi(steps));
        let rate = self.recipe.adamw_lr * scale;
        let keep = 1.0 - rate * self.recipe.weight_decay;
        let (first, second) = (&mut self.first[index], &mut self.second[index]);
        for (((v, &g), m), s) in value.iter_mut().zip(gradient).zip(first).zip(second) {
            let g = g * shrink;
            *m = beta1 * *m + (1.0 - beta1) * g;
            *s = beta2 * *s + (1.0 - beta2) * g * g;
            *v = *v * keep - rate * (*m / unbias1) / ((*s / unbias2).sqrt() + ADAM_EPSILON);
        }
    }

    /// The update has unit spectral norm, so clipping the gradient would not change it.
    fn muon(&mut self, index: usize, value: &mut [f32], gradient: &[f32], scale: f32, rows: usize) {
        let momentum = &mut self.first[index];
        let columns = value.len() / rows;
        let mut nesterov = vec![0.0; value.len()];
        for ((n, m), &g) in nesterov.iter_mut().zip(momentum.iter_mut()).zip(gradient) {
            *m = MUON_MOMENTUM * *m + (1.0 - MUON_MOMENTUM) * g;
            *n = MUON_MOMENTUM * *m + (1.0 - MUON_MOMENTUM) * g;
        }
        let direction = orthogonal(nesterov, [rows, columns], &self.device);
        // An orthogonal matrix has root mean square 1/√max(rows, columns); 0.2 is AdamW's usual one,
        // so that both rules share the meaning of a learning rate (Liu et al. 2025, "Muon is
        // scalable for LLM training").
        let rate = self.recipe.muon_lr * scale * 0.2 * (rows.max(columns) as f32).sqrt();
        let keep = 1.0 - self.recipe.muon_lr * scale * self.recipe.weight_decay;
        for (v, d) in value.iter_mut().zip(direction) {
            *v = *v * keep - rate * d;
        }
    }
}

/// Which rule a parameter follows. First and last layers and tables keep AdamW, as Muon advises.
fn rule_of(spec: &ParamSpec, muon_lr: f32, trainable: &impl Fn(&str) -> bool) -> Rule {
    const ADAMW: [&str; 6] = ["embedding", "head", "modulation", "gamma", "conv1", "conv2"];
    if !trainable(&spec.name) {
        return Rule::Frozen;
    }
    let matrix = spec.shape.iter().filter(|&&axis| axis > 1).count() >= 2;
    let boundary = ADAMW.iter().any(|part| spec.name.contains(part));
    if muon_lr > 0.0 && matrix && !boundary {
        Rule::Muon { rows: spec.shape[0] }
    } else {
        Rule::AdamW
    }
}

fn global_norm(gradients: &Vectors, turns: &[Option<Turn>]) -> f32 {
    let learning = gradients.iter().zip(turns).filter(|(_, turn)| turn.is_some());
    let squares =
        learning.map(|(g, _)| g.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>());
    squares.sum::<f64>().sqrt() as f32
}

/// The orthogonal matrix nearest to `values`, roughly: singular values end up near 1.
fn orthogonal(values: Vec<f32>, shape: [usize; 2], device: &Device) -> Vec<f32> {
    let [a, b, c] = NEWTON_SCHULZ;
    let matrix = Tensor::<2>::from_data(TensorData::new(values, shape), device);
    let tall = shape[0] > shape[1];
    let mut x = if tall { matrix.transpose() } else { matrix };
    let norm = x.clone().square().sum().sqrt().add_scalar(1e-7).reshape([1, 1]);
    x = x / norm;
    for _ in 0..5 {
        let gram = x.clone().matmul(x.clone().transpose());
        let poly = gram.clone().mul_scalar(b) + gram.clone().matmul(gram).mul_scalar(c);
        x = x.clone().mul_scalar(a) + poly.matmul(x);
    }
    host(if tall { x.transpose() } else { x })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newton_schulz_brings_singular_values_near_one() {
        let x = orthogonal(vec![3.0, 0.0, 0.0, 0.5, 0.1, 0.0], [2, 3], &Device::flex());
        for row in x.chunks(3) {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            assert!((0.6..1.3).contains(&norm), "row norm {norm}");
        }
    }

    #[test]
    fn frozen_parameters_do_not_move_and_adamw_steps_by_its_rate() {
        let specs =
            ["a.bias", "b.bias"].map(|name| ParamSpec { name: name.into(), shape: vec![2] });
        let mut values = vec![vec![1.0, -1.0], vec![1.0, -1.0]];
        let recipe = OptimizerRecipe {
            adamw_lr: 0.1,
            muon_lr: 0.0,
            betas: default_betas(),
            weight_decay: 0.0,
            clip: 1.0,
            ema: 0.9,
        };
        let mut optimizer = Optimizer::new(recipe, &specs, &values, |name| name.starts_with('a'));
        let turns = [Some(Turn { updates: 0, rate: 1.0 }), None];
        optimizer.step(&mut values, &vec![vec![5.0, -5.0]; 2], 1.0, &turns);
        assert!((values[0][0] - 0.9).abs() < 1e-4 && (values[0][1] + 0.9).abs() < 1e-4);
        assert_eq!(values[1], [1.0, -1.0]);
    }
}
