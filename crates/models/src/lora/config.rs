//! `adapter_config.json`, under the keys of PEFT.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What an adapter says about itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoraConfig {
    peft_type: PeftType,
    /// Rank `R` of every pair of factors.
    #[serde(rename = "r")]
    pub rank: usize,
    /// What the product of the factors is multiplied by, before the rank divides it.
    #[serde(rename = "lora_alpha")]
    pub alpha: f32,
    /// Whether the root of the rank divides, in place of the rank.
    #[serde(rename = "use_rslora", default)]
    pub rslora: bool,
    /// Which layers have factors.
    #[serde(rename = "target_modules")]
    pub targets: Targets,
    /// Everything else that PEFT writes.
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum PeftType {
    #[serde(rename = "LORA")]
    Lora,
}

/// How a configuration names its layers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Targets {
    /// By the last parts of their names: `self_attn.q` is that of every block.
    Ends(Vec<String>),
    /// By an expression, whose meaning is PEFT's affair.
    Pattern(String),
}

/// Keys that say how an adapter was made or which layers it has, and not what it does to them.
const HARMLESS: [&str; 15] = [
    "auto_mapping",
    "base_model_name_or_path",
    "ensure_weight_tying",
    "eva_config",
    "exclude_modules",
    "inference_mode",
    "layers_pattern",
    "layers_to_transform",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "task_type",
];

/// Ways to draw the first factors that leave the base as it is. The others subtract from the base
/// what the factors start with, and mean nothing without that other base.
const PLAIN_STARTS: [&str; 3] = ["gaussian", "orthogonal", "eva"];

impl LoraConfig {
    /// A plain adapter for the layers whose names end with one of `targets`.
    pub fn new(rank: usize, alpha: f32, targets: Vec<String>) -> Self {
        let others = [
            ("bias", json!("none")),
            ("inference_mode", json!(true)),
            ("init_lora_weights", json!(true)),
            ("lora_dropout", json!(0.0)),
        ];
        Self {
            peft_type: PeftType::Lora,
            rank,
            alpha,
            rslora: false,
            targets: Targets::Ends(targets),
            others: others.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        }
    }

    /// What the product of the factors is multiplied by.
    pub fn scale(&self) -> f32 {
        let rank = self.rank as f32;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// Whether this is a plain LoRA with numbers that make sense.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.rank == 0 {
            return Err("r is 0, expected at least 1".into());
        }
        if !self.alpha.is_finite() {
            return Err(format!("lora_alpha is {}", self.alpha));
        }
        let strange = |(key, value): &(&String, &Value)| !harmless(key, value);
        match self.others.iter().find(strange) {
            Some((key, value)) => {
                Err(format!("{} is {value}, which no plain LoRA has", key.escape_debug()))
            }
            None => Ok(()),
        }
    }

    /// Whether the layer of this name has factors, where the configuration tells.
    pub(super) fn changes(&self, layer: &str) -> Option<bool> {
        let narrowed = ["exclude_modules", "layers_to_transform"]
            .iter()
            .any(|&key| self.others.get(key).is_some_and(|value| !is_off(value)));
        match &self.targets {
            Targets::Ends(ends) => {
                let named = ends.iter().any(|end| is_target(layer, end));
                (!named || !narrowed).then_some(named)
            }
            Targets::Pattern(_) => None,
        }
    }
}

/// Whether `layer` is called `end`, or its name ends with `end` after a dot.
pub fn is_target(layer: &str, end: &str) -> bool {
    layer.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

fn harmless(key: &str, value: &Value) -> bool {
    is_off(value)
        || HARMLESS.contains(&key)
        || key == "init_lora_weights"
            && (value.is_boolean() || value.as_str().is_some_and(|way| PLAIN_STARTS.contains(&way)))
}

/// Whether a key might as well be absent.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::String(text) => text == "none",
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(more: &str) -> LoraConfig {
        let text = format!(
            r#"{{"peft_type": "LORA", "r": 4, "lora_alpha": 6, "target_modules": ["q", "ffn.0"]{more}}}"#
        );
        serde_json::from_str(&text).expect("a configuration")
    }

    #[test]
    fn a_layer_is_a_target_by_whole_parts_of_its_name() {
        assert!(is_target("blocks.3.ffn.0", "ffn.0") && is_target("ffn.0", "ffn.0"));
        assert!(!is_target("blocks.3.self_attn.q", "attn.q"));
    }

    #[test]
    fn the_rank_or_its_root_divides_alpha() {
        assert_eq!(config("").scale(), 1.5);
        assert_eq!(config(r#", "use_rslora": true"#).scale(), 3.0);
    }

    #[test]
    fn what_is_no_plain_lora_is_refused_by_its_key() {
        for more in [
            r#""use_dora": true"#,
            r#""rank_pattern": {"q": 8}"#,
            r#""bias": "all""#,
            r#""magic": 1"#,
        ] {
            let reason = config(&format!(", {more}")).check().unwrap_err();
            assert!(reason.ends_with("which no plain LoRA has"), "{reason}");
        }
        let pissa = config(r#", "init_lora_weights": "pissa""#);
        assert!(pissa.check().unwrap_err().contains("init_lora_weights"));
        assert_eq!(config(r#", "use_dora": false, "peft_version": "0.21""#).check(), Ok(()));
    }

    #[test]
    fn a_list_of_targets_tells_which_layers_have_factors_unless_it_is_narrowed() {
        assert_eq!(config("").changes("blocks.0.self_attn.q"), Some(true));
        assert_eq!(config("").changes("blocks.0.self_attn.k"), Some(false));
        let narrowed = config(r#", "layers_to_transform": [1]"#);
        assert_eq!(narrowed.changes("blocks.0.self_attn.q"), None);
        assert_eq!(narrowed.changes("blocks.0.self_attn.k"), Some(false));
    }
}
