"""Models to be measured: the embedded one, and ones of other sizes with weights that are made up."""

import json
import pathlib

import torch
from safetensors import safe_open
from safetensors.torch import save_file

ROOT = pathlib.Path(__file__).resolve().parents[1]
TINY = ROOT / "weights" / "tiny.safetensors"


def configured(name):
    """The configuration of a model: the embedded one's, with other sizes."""
    with safe_open(TINY, "pt") as file:
        config = json.loads(file.metadata()["config"])
    if name == "wide":
        config["dit"] |= {"dim": 1280, "ffn_dim": 5120, "freq_dim": 256, "num_heads": 10, "text_dim": 960}
        config["vae"] |= {"dim": 96, "decoder_dim": 96}
    if name == "large":
        config["dit"] |= {"dim": 1536, "ffn_dim": 8960, "freq_dim": 256, "num_heads": 12,
                          "num_layers": 30, "text_dim": 4096, "text_len": 512}  # fmt: skip
        config["vae"] |= {"dim": 96, "decoder_dim": 96, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2,
                          "temporal_downsample": [False, True, True], "patch": 1}  # fmt: skip
        config["recipe"] |= {"window_latent_frames": 21}
        config["recipe"]["geometry"] |= {"pixels": [480, 832]}
    return config


def invented(config):
    """Weights for a configuration, small enough that nothing overflows."""
    generator = torch.Generator().manual_seed(2603)
    d, v, weights = config["dit"], config["vae"], {}

    def tensor(name, *shape):
        into = max(1, torch.Size(shape[1:]).numel())
        values = torch.randn(*shape, generator=generator) * into**-0.5
        weights[name] = (values if name.endswith(("weight", "modulation")) and len(shape) > 1 else 1 + 0.1 * values
                         if name.endswith(("weight", "gamma")) else 0.1 * values).bfloat16()  # fmt: skip

    def layer(name, out, *into):
        tensor(f"{name}.weight", out, *into)
        tensor(f"{name}.bias", out)

    width = d["dim"]
    layer("dit.patch_embedding", width, d["in_dim"], *d["patch_size"])
    for part, into in [("text", d["text_dim"]), ("time", d["freq_dim"])]:
        layer(f"dit.{part}_embedding.0", width, into)
        layer(f"dit.{part}_embedding.2", width, width)
    layer("dit.time_projection.1", 6 * width, width)
    for n in range(d["num_layers"]):
        block = f"dit.blocks.{n}"
        tensor(f"{block}.modulation", 1, 6, width)
        for attention in ("self_attn", "cross_attn"):
            for part in "qkvo":
                layer(f"{block}.{attention}.{part}", width, width)
            for part in "qk":
                tensor(f"{block}.{attention}.norm_{part}.weight", width)
        layer(f"{block}.norm3", width)
        layer(f"{block}.ffn.0", d["ffn_dim"], width)
        layer(f"{block}.ffn.2", width, d["ffn_dim"])
    tensor("dit.head.modulation", 1, 2, width)
    layer("dit.head.head", 4 * d["out_dim"], width)

    def residual(name, into, out):
        tensor(f"{name}.residual.0.gamma", into, 1, 1, 1)
        layer(f"{name}.residual.2", out, into, 3, 3, 3)
        tensor(f"{name}.residual.3.gamma", out, 1, 1, 1)
        layer(f"{name}.residual.6", out, out, 3, 3, 3)
        if into != out:
            layer(f"{name}.shortcut", out, into, 1, 1, 1)

    z, colours = v["z_dim"], 3 * v["patch"] ** 2
    layer("vae.conv1", 2 * z, 2 * z, 1, 1, 1)
    layer("vae.conv2", z, z, 1, 1, 1)
    for half, base, first, last in [
        ("encoder", v["dim"], colours, 2 * z), ("decoder", v["decoder_dim"], z, colours)
    ]:  # fmt: skip
        widths, up = [base * m for m in v["dim_mult"]], half == "decoder"
        into, at, list_name = (widths[-1] if up else base), 0, "upsamples" if up else "downsamples"
        layer(f"vae.{half}.conv1", into, first, 3, 3, 3)
        for n in reversed(range(len(widths))) if up else range(len(widths)):
            for _ in range(v["num_res_blocks"] + up):
                residual(f"vae.{half}.{list_name}.{at}", into, widths[n])
                into, at = widths[n], at + 1
            if (n > 0) if up else (n + 1 < len(widths)):
                name, out = f"vae.{half}.{list_name}.{at}", into // 2 if up else into
                layer(f"{name}.resample.1", out, into, 3, 3)
                if v["temporal_downsample"][n - up]:
                    layer(f"{name}.time_conv", into * (1 + up), into, 3, 1, 1)
                into, at = out, at + 1
        deep = widths[-1]
        for n in (0, 2):
            residual(f"vae.{half}.middle.{n}", deep, deep)
        tensor(f"vae.{half}.middle.1.norm.gamma", deep, 1, 1)
        layer(f"vae.{half}.middle.1.to_qkv", 3 * deep, deep, 1, 1)
        layer(f"vae.{half}.middle.1.proj", deep, deep, 1, 1)
        tensor(f"vae.{half}.head.0.gamma", into, 1, 1, 1)
        layer(f"vae.{half}.head.2", last, into, 3, 3, 3)
    return weights


def save(config, path):
    """A model file of this configuration."""
    save_file(invented(config), path, metadata={"config": json.dumps(config)})
