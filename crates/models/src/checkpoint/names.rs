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

impl Network {
    /// The official name of the parameter behind a path of fields.
    pub(super) fn official_name(self, path: &[String]) -> String {
        let fragments = match self {
            Self::Dit => DIT,
            Self::Vae => VAE,
            Self::Umt5 => UMT5,
        };
        let path = format!(".{}", path.join("."));
        let name = fragments.iter().fold(path, |name, (ours, theirs)| name.replace(ours, theirs));
        name[1..].to_owned()
    }
}
