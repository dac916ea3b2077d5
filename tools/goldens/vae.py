"""Goldens of the causal VAE: two tiny networks with seeded weights, and what they answer.

    pip install -r tools/goldens/requirements.txt
    python tools/goldens/vae.py            # writes testdata/vae/*.safetensors

`plain` is laid out as Wan 2.1: three halvings of space, two of time. `patched` folds squares of
pixels into channels in place of one halving and has a decoder of another width. Both are run by
diffusers; weights are stored under the names of the official checkpoint.

Letters: B clips, T frames, F latent frames, z latent channels.
"""

import json
import pathlib
import re

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file

FRAMES, HEIGHT, WIDTH = 9, 16, 24
OUT = pathlib.Path(__file__).resolve().parents[2] / "testdata" / "vae"

STATISTICS = {
    "z_dim": 3,
    "latents_mean": [0.25, -0.5, 0.125],
    "latents_std": [1.5, 0.75, 1.25],
}
CONFIGS = {
    "plain": {
        "dim": 4,
        "decoder_dim": 4,
        "dim_mult": [1, 2, 2, 2],
        "num_res_blocks": 1,
        "temporal_downsample": [False, True, True],
        "patch": 1,
    },
    "patched": {
        "dim": 4,
        "decoder_dim": 6,
        "dim_mult": [1, 2, 2],
        "num_res_blocks": 1,
        "temporal_downsample": [True, True],
        "patch": 2,
    },
}

# What diffusers calls the parts of a residual block, and where the official list has them.
RESIDUAL = {
    "norm1": "residual.0",
    "conv1": "residual.2",
    "norm2": "residual.3",
    "conv2": "residual.6",
    "conv_shortcut": "shortcut",
}
TOP = {
    "quant_conv": "conv1",
    "post_quant_conv": "conv2",
    "conv_in": "conv1",
    "norm_out": "head.0",
    "conv_out": "head.2",
}


def official_name(name, blocks_per_stage):
    """The official name of a parameter of diffusers' AutoencoderKLWan."""
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"middle.{2 * int(m[1])}", name)
    name = name.replace("mid_block.attentions.0", "middle.1")
    name = name.replace("down_blocks", "downsamples")
    stage = blocks_per_stage + 1  # the blocks and the resampling after them share one list
    name = re.sub(
        r"up_blocks\.(\d+)\.resnets\.(\d+)",
        lambda m: f"upsamples.{int(m[1]) * stage + int(m[2])}",
        name,
    )
    name = re.sub(
        r"up_blocks\.(\d+)\.upsamplers\.0",
        lambda m: f"upsamples.{int(m[1]) * stage + blocks_per_stage}",
        name,
    )
    parts = name.split(".")
    inside_block = any(part in ("middle", "downsamples", "upsamples") for part in parts)
    table = RESIDUAL if inside_block else TOP
    return ".".join(table.get(part, part) for part in parts)


def network(config):
    colours = 3 * config["patch"] ** 2
    return AutoencoderKLWan(
        base_dim=config["dim"],
        decoder_base_dim=config["decoder_dim"],
        z_dim=config["z_dim"],
        dim_mult=config["dim_mult"],
        num_res_blocks=config["num_res_blocks"],
        temperal_downsample=config["temporal_downsample"],
        latents_mean=config["latents_mean"],
        latents_std=config["latents_std"],
        in_channels=colours,
        out_channels=colours,
        patch_size=config["patch"] if config["patch"] > 1 else None,
    ).eval()


def seed(vae, generator):
    """Weights that keep signals near unit size, so that no part of the network hides another."""
    for name, parameter in vae.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("gamma"):
            value = 1 + 0.3 * noise
        elif name.endswith("bias"):
            value = 0.2 * noise
        else:
            value = noise / parameter[0].numel() ** 0.5
        if name.startswith("decoder.conv_out"):
            value = 0.2 * value  # diffusers clamps pixels; these stay inside
        parameter.data.copy_(value)


def cases(vae, config, generator):
    video = torch.rand(2, 3, FRAMES, HEIGHT, WIDTH, generator=generator) * 2 - 1
    latents = torch.randn(2, config["z_dim"], 3, HEIGHT // 8, WIDTH // 8, generator=generator)
    mean, std = (torch.tensor(config[f"latents_{s}"])[:, None, None, None] for s in ("mean", "std"))
    posterior = vae.encode(video).latent_dist
    frames = video[:, :, 3:5].permute(0, 2, 1, 3, 4).reshape(4, 3, HEIGHT, WIDTH)
    alone = vae.encode(frames[:, :, None]).latent_dist.mean
    decoded = vae.decode(latents * std + mean).sample
    assert decoded.abs().max() < 1, "a clamped golden hides differences"
    return {
        "video": video,
        "latents": latents,
        "mean": posterior.mean,
        "log_variance": posterior.logvar,
        "encoded": (posterior.mean - mean) / std,
        "frames": frames,
        "encoded_frames": ((alone - mean) / std)[:, :, 0],
        "decoded": decoded,
    }


@torch.no_grad()
def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for index, (name, config) in enumerate(CONFIGS.items()):
        config = config | STATISTICS
        generator = torch.Generator().manual_seed(20260325 + index)
        vae = network(config)
        seed(vae, generator)
        answers = cases(vae, config, generator)
        weights = {
            official_name(key, config["num_res_blocks"] + 1): value
            for key, value in vae.state_dict().items()
        }
        assert len(weights) == len(vae.state_dict())
        contiguous = lambda tensors: {key: value.contiguous() for key, value in tensors.items()}
        save_file(contiguous(weights), OUT / f"{name}-weights.safetensors")
        metadata = {"config": json.dumps(config)}
        save_file(contiguous(answers), OUT / f"{name}-cases.safetensors", metadata=metadata)


if __name__ == "__main__":
    main()
