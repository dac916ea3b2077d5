//! A model from any layout into any other, bit for bit: values are copied as they are stored.

use std::{
    fs,
    path::{Path, PathBuf},
};

use burn::{module::Module, tensor::Device};
use serde_json::{Value, json};

use super::{StoredModel, StoredNetwork};
use crate::{
    bundle::{BundleError, metadata},
    checkpoint::{Copied, Naming, Network, copy},
    dit::{Dit, DitConfig},
    umt5::{Umt5, Umt5Config},
    vae::{Vae, VaeConfig},
};

/// How the files of a model are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// One file of ours.
    Bundle,
    /// A folder with the names of Wan2.1's release, safetensors throughout.
    Official,
    /// A folder of diffusers and transformers.
    HuggingFace,
}

/// One file of a layout: its place in the folder, and the networks' tensors or a text.
type File = (&'static str, Content);

enum Content {
    Weights(Network),
    Text(String),
}

impl StoredModel<'_> {
    /// Write the model to `to`, a new file or a new folder, which appears when it is whole.
    ///
    /// # Errors
    /// When the tensors are not those of the networks, something is in the way, or the system
    /// refuses.
    pub fn write(&self, to: &Path, layout: Layout) -> Result<(), BundleError> {
        let unwritable = |source| BundleError::Unwritable { source, path: to.to_owned() };
        if to.exists() {
            return Err(unwritable(std::io::ErrorKind::AlreadyExists.into()));
        }
        if layout == Layout::Bundle {
            let metadata = metadata(&self.config, &self.tokenizer, to)?;
            let mut tensors = Vec::new();
            for network in Network::ALL {
                tensors.extend(self.copied(network, Naming::Official, network.prefix())?);
            }
            return Ok(copy(&tensors, to, &metadata)?);
        }
        let mut part = to.as_os_str().to_owned();
        part.push(".tmp");
        let part = PathBuf::from(part);
        // What an interrupted copy left would be taken for a part of this model.
        match fs::remove_dir_all(&part) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(unwritable(source));
            }
            _ => {}
        }
        let written = self.write_folder(&part, layout);
        written.and_then(|()| fs::rename(&part, to).map_err(unwritable)).inspect_err(|_| {
            // The error that matters is the first one; a part that cannot be removed stays.
            let _ = fs::remove_dir_all(&part);
        })
    }

    fn write_folder(&self, folder: &Path, layout: Layout) -> Result<(), BundleError> {
        let naming = match layout {
            Layout::HuggingFace => Naming::HuggingFace,
            Layout::Official | Layout::Bundle => Naming::Official,
        };
        for (name, content) in self.files(layout)? {
            let path = folder.join(name);
            let unwritable = |source| BundleError::Unwritable { source, path: path.clone() };
            fs::create_dir_all(super::folder::of(&path)).map_err(unwritable)?;
            match content {
                Content::Text(text) => fs::write(&path, text).map_err(unwritable)?,
                Content::Weights(network) => {
                    let tensors = self.copied(network, naming, "")?;
                    copy(&tensors, &path, &[("format", "pt".to_owned())])?;
                }
            }
        }
        Ok(())
    }

    fn files(&self, layout: Layout) -> Result<Vec<File>, BundleError> {
        let pretty = |value: Value| Content::Text(format!("{value:#}\n"));
        let json = self.tokenizer.to_json();
        let tokenizer = Content::Text(json.map_err(|source| BundleError::Tokenizer {
            source,
            path: self.dit.path().to_owned(),
        })?);
        let recipe = ("recipe.toml", Content::Text(self.config.recipe.to_toml()));
        let [dit, vae, text] = Network::ALL.map(Content::Weights);
        Ok(match layout {
            Layout::Official | Layout::Bundle => vec![
                ("diffusion_pytorch_model.safetensors", dit),
                ("config.json", pretty(self.official_settings())),
                ("Wan2.1_VAE.safetensors", vae),
                ("models_t5_umt5-xxl-enc-bf16.safetensors", text),
                ("google/umt5-xxl/tokenizer.json", tokenizer),
                recipe,
            ],
            Layout::HuggingFace => vec![
                ("transformer/diffusion_pytorch_model.safetensors", dit),
                ("transformer/config.json", pretty(self.diffusers_transformer())),
                ("vae/diffusion_pytorch_model.safetensors", vae),
                ("vae/config.json", pretty(self.diffusers_vae())),
                ("text_encoder/model.safetensors", text),
                ("text_encoder/config.json", pretty(self.transformers_text())),
                ("tokenizer/tokenizer.json", tokenizer),
                recipe,
            ],
        })
    }

    /// The tensors of a network under the names of `naming` after `prefix`, and where they are.
    fn copied(
        &self,
        network: Network,
        naming: Naming,
        prefix: &str,
    ) -> Result<Vec<Copied<'_>>, BundleError> {
        let device = Device::flex();
        let config = &self.config;
        match network {
            Network::Dit => self.dit.copied(&Dit::new(&config.dit, &device), naming, prefix),
            Network::Vae => self.vae.copied(&Vae::new(&config.vae, &device), naming, prefix),
            Network::Umt5 => self.text.copied(&Umt5::new(&config.text, &device), naming, prefix),
        }
    }

    /// Wan's own configuration, and what the other two networks have that was never published.
    fn official_settings(&self) -> Value {
        let mut settings = json!(self.config.dit);
        settings["_class_name"] = "WanModel".into();
        settings["model_type"] = "t2v".into();
        let (vae, published) = (&self.config.vae, VaeConfig::wan());
        if (&vae.latents_mean, &vae.latents_std)
            != (&published.latents_mean, &published.latents_std)
        {
            settings["latents_mean"] = json!(vae.latents_mean);
            settings["latents_std"] = json!(vae.latents_std);
        }
        if self.config.text.max_distance != Umt5Config::wan().max_distance {
            settings["relative_attention_max_distance"] = self.config.text.max_distance.into();
        }
        settings
    }

    fn diffusers_transformer(&self) -> Value {
        let dit = &self.config.dit;
        let mut settings = json!({
            "_class_name": "WanTransformer3DModel",
            "added_kv_proj_dim": null,
            "attention_head_dim": dit.head_dim(),
            "cross_attn_norm": true,
            "eps": dit.eps,
            "ffn_dim": dit.ffn_dim,
            "freq_dim": dit.freq_dim,
            "image_dim": null,
            "in_channels": dit.in_channels,
            "num_attention_heads": dit.num_heads,
            "num_layers": dit.num_layers,
            "out_channels": dit.out_channels,
            "patch_size": dit.patch,
            "qk_norm": "rms_norm_across_heads",
            "rope_max_seq_len": 1024,
            "text_dim": dit.text_dim,
        });
        if dit.text_len != DitConfig::wan_1_3b().text_len {
            settings["text_len"] = dit.text_len.into();
        }
        settings
    }

    fn diffusers_vae(&self) -> Value {
        let vae = &self.config.vae;
        let mut settings = json!({
            "_class_name": "AutoencoderKLWan",
            "attn_scales": [],
            "base_dim": vae.dim,
            "decoder_base_dim": vae.decoder_dim,
            "dim_mult": vae.dim_mult,
            "dropout": 0.0,
            "latents_mean": vae.latents_mean,
            "latents_std": vae.latents_std,
            "num_res_blocks": vae.num_res_blocks,
            "temperal_downsample": vae.temporal_downsample,
            "z_dim": vae.z_dim,
        });
        if 1 < vae.patch {
            let colours = 3 * vae.patch * vae.patch;
            settings["patch_size"] = vae.patch.into();
            settings["in_channels"] = colours.into();
            settings["out_channels"] = colours.into();
        }
        settings
    }

    fn transformers_text(&self) -> Value {
        let text = &self.config.text;
        json!({
            "architectures": ["UMT5EncoderModel"],
            "d_ff": text.dim_ffn,
            "d_kv": text.dim_attn / text.num_heads,
            "d_model": text.dim,
            "dropout_rate": 0.1,
            "feed_forward_proj": "gated-gelu",
            "layer_norm_epsilon": 1e-6,
            "model_type": "umt5",
            "num_heads": text.num_heads,
            "num_layers": text.num_layers,
            "relative_attention_max_distance": text.max_distance,
            "relative_attention_num_buckets": text.num_buckets,
            "vocab_size": text.vocab_size,
        })
    }
}

impl StoredNetwork<'_> {
    fn copied<M: Module>(
        &self,
        module: &M,
        naming: Naming,
        prefix: &str,
    ) -> Result<Vec<Copied<'_>>, BundleError> {
        let Self { weights, network, .. } = self;
        let stored = weights.fitting(module, *network, self.naming, &self.prefix)?;
        let official: Vec<&str> = stored.iter().map(|(official, _)| official.as_str()).collect();
        let names = naming.names(*network, &official, prefix);
        let copied = names.into_iter().zip(&stored).map(|(name, (_, from))| Copied {
            name,
            weights,
            from: from.clone(),
        });
        Ok(copied.collect())
    }
}
