//! Networks of the published sizes have the published tensors: every name, every shape, no more.

use std::collections::BTreeMap;

use burn::{module::Module, tensor::Device};
use shotstream_models::{
    checkpoint::{Naming, Network, parameters},
    dit::{Dit, DitConfig},
    umt5::{Umt5, Umt5Config},
    vae::{Vae, VaeConfig},
};

type Tensors = BTreeMap<String, Vec<usize>>;

/// Tensors from one name and its shape a line.
fn tensors(lines: impl IntoIterator<Item = String>) -> Tensors {
    let tensor = |line: String| {
        let (name, shape) = line.split_once(' ').expect("a name and a shape");
        let shape = shape.split(' ').map(|size| size.parse().expect("a size")).collect();
        (name.to_owned(), shape)
    };
    lines.into_iter().map(tensor).collect()
}

#[track_caller]
fn check<M: Module>(module: &M, network: Network, expected: &Tensors) {
    let found = parameters(module, network);
    let count = found.len();
    let found: Tensors = found.into_iter().collect();
    assert_eq!(found.len(), count, "a name stands for two parameters");
    assert_eq!(&found, expected);
}

#[test]
fn the_vae_has_the_194_tensors_of_wan_2_1() {
    let lines = include_str!("../../../testdata/names/wan_vae.txt").lines();
    let expected = tensors(lines.map(str::to_owned));
    assert_eq!(expected.len(), 194);
    check(&Vae::new(&VaeConfig::wan(), &Device::flex()), Network::Vae, &expected);
}

#[test]
fn the_transformer_has_the_825_tensors_of_wan_2_1_1_3b() {
    let linear = |name: &str, shape: [usize; 2]| {
        let [outputs, inputs] = shape;
        [format!("{name}.weight {outputs} {inputs}"), format!("{name}.bias {outputs}")]
    };
    let mut lines = vec![
        "patch_embedding.weight 1536 16 1 2 2".to_owned(),
        "patch_embedding.bias 1536".to_owned(),
        "head.modulation 1 2 1536".to_owned(),
    ];
    lines.extend(linear("text_embedding.0", [1536, 4096]));
    lines.extend(linear("text_embedding.2", [1536, 1536]));
    lines.extend(linear("time_embedding.0", [1536, 256]));
    lines.extend(linear("time_embedding.2", [1536, 1536]));
    lines.extend(linear("time_projection.1", [9216, 1536]));
    lines.extend(linear("head.head", [64, 1536]));
    for block in 0..30 {
        let block = format!("blocks.{block}");
        lines.push(format!("{block}.modulation 1 6 1536"));
        for attention in ["self_attn", "cross_attn"] {
            for part in ["q", "k", "v", "o"] {
                lines.extend(linear(&format!("{block}.{attention}.{part}"), [1536, 1536]));
            }
            lines.push(format!("{block}.{attention}.norm_q.weight 1536"));
            lines.push(format!("{block}.{attention}.norm_k.weight 1536"));
        }
        lines.push(format!("{block}.norm3.weight 1536"));
        lines.push(format!("{block}.norm3.bias 1536"));
        lines.extend(linear(&format!("{block}.ffn.0"), [8960, 1536]));
        lines.extend(linear(&format!("{block}.ffn.2"), [1536, 8960]));
    }
    let expected = tensors(lines);
    assert_eq!(expected.len(), 825);
    check(&Dit::new(&DitConfig::wan_1_3b(), &Device::flex()), Network::Dit, &expected);
}

#[test]
fn the_text_encoder_has_the_242_tensors_of_umt5_xxl() {
    let mut lines = vec!["token_embedding.weight 256384 4096".to_owned()];
    for block in 0..24 {
        let block = format!("blocks.{block}");
        for part in ["q", "k", "v", "o"] {
            lines.push(format!("{block}.attn.{part}.weight 4096 4096"));
        }
        lines.push(format!("{block}.norm1.weight 4096"));
        lines.push(format!("{block}.norm2.weight 4096"));
        lines.push(format!("{block}.pos_embedding.embedding.weight 32 64"));
        lines.push(format!("{block}.ffn.gate.0.weight 10240 4096"));
        lines.push(format!("{block}.ffn.fc1.weight 10240 4096"));
        lines.push(format!("{block}.ffn.fc2.weight 4096 10240"));
    }
    lines.push("norm.weight 4096".to_owned());
    let expected = tensors(lines);
    assert_eq!(expected.len(), 242);
    check(&Umt5::new(&Umt5Config::wan(), &Device::flex()), Network::Umt5, &expected);
}

/// What Hugging Face's libraries call the tensors of a network, by their official names.
fn hugging_face(network: &str) -> BTreeMap<&'static str, &'static str> {
    let lines = include_str!("../../../testdata/names/hugging_face.txt").lines();
    let names = lines.filter_map(|line| line.strip_prefix(network)?.trim().split_once(' '));
    names.collect()
}

#[track_caller]
fn check_hugging_face<M: Module>(module: &M, network: Network, expected: &str) {
    let expected = hugging_face(expected);
    let official: Vec<String> =
        parameters(module, network).into_iter().map(|(name, _)| name).collect();
    assert_eq!(official.len(), expected.len());
    let official: Vec<&str> = official.iter().map(String::as_str).collect();
    let found = Naming::HuggingFace.names(network, &official, "");
    for (official, found) in official.iter().zip(&found) {
        assert_eq!(expected.get(official), Some(&found.as_str()), "{official}");
    }
}

#[test]
fn tensors_are_called_in_diffusers_and_transformers_as_the_libraries_call_them() {
    let device = Device::flex();
    check_hugging_face(&Dit::new(&DitConfig::wan_1_3b(), &device), Network::Dit, "dit ");
    check_hugging_face(&Vae::new(&VaeConfig::wan(), &device), Network::Vae, "vae ");
    check_hugging_face(&Umt5::new(&Umt5Config::wan(), &device), Network::Umt5, "umt5 ");
}
