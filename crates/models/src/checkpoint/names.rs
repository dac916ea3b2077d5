//! What the published checkpoints call the parameters of our networks.
//!
//! The only place that knows. A parameter's path is the names of the fields that lead to it, with
//! dots between; a table of fragments turns it into the official name.

/// A network whose official names are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// The diffusion transformer, as in Wan's `diffusion_pytorch_model.safetensors`.
    Dit,
    /// The VAE, as in `Wan2.1_VAE.pth`.
    Vae,
    /// The text encoder, as in `models_t5_umt5-xxl-enc-bf16.pth`.
    Umt5,
}

const DIT: &[(&str, &str)] =
    &[(".first.", ".0."), (".second.", ".2."), (".time_projection.", ".time_projection.1.")];

const VAE: &[(&str, &str)] = &[
    (".Residual.", "."),
    (".Resample.", "."),
    (".middle.first.", ".middle.0."),
    (".middle.attention.", ".middle.1."),
    (".middle.last.", ".middle.2."),
    (".norm_in.", ".residual.0."),
    (".conv_in.", ".residual.2."),
    (".norm_out.", ".residual.3."),
    (".conv_out.", ".residual.6."),
    (".resample.", ".resample.1."),
    (".head.norm.", ".head.0."),
    (".head.conv.", ".head.2."),
];

const UMT5: &[(&str, &str)] = &[
    (".gamma", ".weight"),
    (".attention.", ".attn."),
    (".positions.", ".pos_embedding.embedding."),
    (".gate.", ".gate.0."),
];

/// From official names to those of diffusers.
const DIT_HUGGING_FACE: &[(&str, &str)] = &[
    (".text_embedding.0.", ".condition_embedder.text_embedder.linear_1."),
    (".text_embedding.2.", ".condition_embedder.text_embedder.linear_2."),
    (".time_embedding.0.", ".condition_embedder.time_embedder.linear_1."),
    (".time_embedding.2.", ".condition_embedder.time_embedder.linear_2."),
    (".time_projection.1.", ".condition_embedder.time_proj."),
    (".head.modulation", ".scale_shift_table"),
    (".head.head.", ".proj_out."),
    (".self_attn.o.", ".attn1.to_out.0."),
    (".cross_attn.o.", ".attn2.to_out.0."),
    (".self_attn.norm_", ".attn1.norm_"),
    (".cross_attn.norm_", ".attn2.norm_"),
    (".self_attn.", ".attn1.to_"),
    (".cross_attn.", ".attn2.to_"),
    (".norm3.", ".norm2."), // theirs counts the norms that have weights
    (".ffn.0.", ".ffn.net.0.proj."),
    (".ffn.2.", ".ffn.net.2."),
    (".modulation", ".scale_shift_table"),
];

/// From official names to those of diffusers, but for the decoder's list, which theirs cuts into
/// stages.
const VAE_HUGGING_FACE: &[(&str, &str)] = &[
    (".encoder.conv1.", ".encoder.conv_in."),
    (".decoder.conv1.", ".decoder.conv_in."),
    (".middle.0.", ".mid_block.resnets.0."),
    (".middle.1.", ".mid_block.attentions.0."),
    (".middle.2.", ".mid_block.resnets.1."),
    (".downsamples.", ".down_blocks."),
    (".residual.0.", ".norm1."),
    (".residual.2.", ".conv1."),
    (".residual.3.", ".norm2."),
    (".residual.6.", ".conv2."),
    (".shortcut.", ".conv_shortcut."),
    (".head.0.", ".norm_out."),
    (".head.2.", ".conv_out."),
];

/// From official names to those of transformers.
const UMT5_HUGGING_FACE: &[(&str, &str)] = &[
    (".token_embedding.", ".shared."),
    (".blocks.", ".encoder.block."),
    (".norm1.", ".layer.0.layer_norm."),
    (".attn.", ".layer.0.SelfAttention."),
    (".pos_embedding.embedding.", ".layer.0.SelfAttention.relative_attention_bias."),
    (".norm2.", ".layer.1.layer_norm."),
    (".ffn.gate.0.", ".layer.1.DenseReluDense.wi_0."),
    (".ffn.fc1.", ".layer.1.DenseReluDense.wi_1."),
    (".ffn.fc2.", ".layer.1.DenseReluDense.wo."),
    (".norm.", ".encoder.final_layer_norm."),
];

/// From official names to those of llama.cpp.
const UMT5_LLAMA_CPP: &[(&str, &str)] = &[
    (".token_embedding.", ".token_embd."),
    (".blocks.", ".enc.blk."),
    (".norm1.", ".attn_norm."),
    (".attn.", ".attn_"),
    (".pos_embedding.embedding.", ".attn_rel_b."),
    (".norm2.", ".ffn_norm."),
    (".ffn.gate.0.", ".ffn_gate."),
    (".ffn.fc1.", ".ffn_up."),
    (".ffn.fc2.", ".ffn_down."),
    (".norm.", ".enc.output_norm."),
];

/// Whose names the tensors of a file have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// Those of the released checkpoints.
    Official,
    /// Those of diffusers and transformers.
    HuggingFace,
    /// Those of llama.cpp, which knows nothing but the text encoder.
    LlamaCpp,
}

impl Network {
    /// The three networks of a model, in the order of its file.
    pub const ALL: [Self; 3] = [Self::Dit, Self::Vae, Self::Umt5];

    /// What stands before the names of the network's tensors in a bundle.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Dit => "dit.",
            Self::Vae => "vae.",
            Self::Umt5 => "text.",
        }
    }

    /// A parameter whose name differs between all namings.
    pub(crate) fn telling_name(self) -> &'static str {
        match self {
            Self::Dit => "text_embedding.0.weight",
            Self::Vae => "encoder.conv1.weight",
            Self::Umt5 => "token_embedding.weight",
        }
    }

    /// The official name of the parameter behind a path of fields.
    pub(super) fn official_name(self, path: &[String]) -> String {
        let fragments = match self {
            Self::Dit => DIT,
            Self::Vae => VAE,
            Self::Umt5 => UMT5,
        };
        replaced(&path.join("."), fragments)
    }
}

impl Naming {
    /// What this naming calls all parameters of a network, given their official names, after
    /// `prefix`.
    #[must_use]
    pub fn names(self, network: Network, official: &[&str], prefix: &str) -> Vec<String> {
        let stage = stage(official);
        let name = |&name: &&str| match (self, network) {
            (Self::Official, _) | (Self::LlamaCpp, Network::Dit | Network::Vae) => name.to_owned(),
            (Self::LlamaCpp, Network::Umt5) => replaced(name, UMT5_LLAMA_CPP),
            (Self::HuggingFace, Network::Dit) => replaced(name, DIT_HUGGING_FACE),
            (Self::HuggingFace, Network::Umt5) => replaced(name, UMT5_HUGGING_FACE),
            (Self::HuggingFace, Network::Vae) => vae_name(name, stage),
        };
        official.iter().map(|official| format!("{prefix}{}", name(official))).collect()
    }
}

/// A name with fragments replaced one after the other; dots surround it while they are.
fn replaced(name: &str, fragments: &[(&str, &str)]) -> String {
    let name = format!(".{name}");
    let name = fragments.iter().fold(name, |name, (ours, theirs)| name.replace(ours, theirs));
    name[1..].to_owned()
}

const UPSAMPLES: &str = "decoder.upsamples.";

/// Place in the decoder's list, and what follows it.
fn upsample(name: &str) -> Option<(usize, &str)> {
    let (index, rest) = name.strip_prefix(UPSAMPLES)?.split_once('.')?;
    Some((index.parse().ok()?, rest))
}

/// Entries of the decoder's list that make up one stage: blocks, and the resampling after them.
fn stage(official: &[&str]) -> usize {
    let resamples = official.iter().filter_map(|name| upsample(name));
    let resamples = resamples.filter(|(_, rest)| rest.starts_with("resample."));
    resamples.map(|(index, _)| index + 1).min().unwrap_or(usize::MAX)
}

/// What diffusers calls a parameter of the VAE.
fn vae_name(name: &str, stage: usize) -> String {
    if let Some(end) = name.strip_prefix("conv1.") {
        return format!("quant_conv.{end}");
    }
    if let Some(end) = name.strip_prefix("conv2.") {
        return format!("post_quant_conv.{end}");
    }
    let Some((index, rest)) = upsample(name) else { return replaced(name, VAE_HUGGING_FACE) };
    let (block, inside) = (index / stage, index % stage);
    let list = match rest.starts_with("resample.") || rest.starts_with("time_conv.") {
        true => "upsamplers.0".to_owned(),
        false => format!("resnets.{inside}"),
    };
    replaced(&format!("decoder.up_blocks.{block}.{list}.{rest}"), VAE_HUGGING_FACE)
}
