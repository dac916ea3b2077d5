"""A tiny model in every layout models are published in, and the story it tells.

    pip install -r tools/goldens/requirements.txt
    python tools/goldens/published.py      # writes testdata/published/* and testdata/names/*

The folders `shotstream`, `wan` and `diffusers` hold the same networks under other names, in other
forms and dtypes: a file of torch.save with what training leaves beside the weights, safetensors in
two pieces with an index, the folders of diffusers and transformers. All values are exact in bf16.
`noise.safetensors` and `expected.safetensors` are a story of three shots, told by PyTorch as
`rollout.py` tells it. `names/hugging_face.txt` lists what the libraries call the tensors of the
networks of the published sizes.

    python tools/goldens/published.py --full DIR dit vae text

writes files of the published sizes and what PyTorch answers on them: see `full`.
"""

import argparse
import json
import pathlib

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import save_file

import dit

dit.CHANNELS, dit.LAYERS = 16, 2

import full  # noqa: E402
import rollout  # noqa: E402
import text  # noqa: E402
import vae  # noqa: E402

TESTDATA = pathlib.Path(__file__).resolve().parents[2] / "testdata"
OUT = TESTDATA / "published"
TEXT_LEN = 512

WAN_STATISTICS = {
    "latents_mean": [
        -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
    ],
    "latents_std": [
        2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
        3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
    ],
}  # fmt: skip
VAE = WAN_STATISTICS | {
    "dim": 2,
    "decoder_dim": 2,
    "z_dim": 16,
    "dim_mult": [1, 2, 2, 2],
    "num_res_blocks": 1,
    "temporal_downsample": [False, True, True],
    "patch": 1,
}
rollout.VAE = VAE

OFFICIAL_CONFIG = {
    "_class_name": "WanModel",
    "model_type": "t2v",
    "dim": dit.DIM,
    "eps": dit.EPS,
    "ffn_dim": dit.FFN,
    "freq_dim": dit.FREQ,
    "in_dim": 16,
    "num_heads": dit.HEADS,
    "num_layers": dit.LAYERS,
    "out_dim": 16,
    "text_len": TEXT_LEN,
}


def bf16(tensors):
    """The same tensors, their values exact in bf16, stored in float32."""
    return {name: t.detach().bfloat16().float().contiguous() for name, t in tensors.items()}


def stored(tensors, dtype):
    return {name: tensor.to(dtype).contiguous() for name, tensor in tensors.items()}


def write_json(value, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1) + "\n")


def save(tensors, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"format": "pt"})


def save_in_two(tensors, path):
    """Safetensors in two pieces, and the index that says which piece holds a tensor."""
    names = sorted(tensors)
    halves, places = (names[::2], names[1::2]), {}
    for number, half in enumerate(halves, 1):
        file = path.with_name(f"{path.stem}-{number:05}-of-00002{path.suffix}")
        save({name: tensors[name] for name in half}, file)
        places |= {name: file.name for name in half}
    write_json({"metadata": {}, "weight_map": places}, path.with_name(path.name + ".index.json"))


def of_training(weights):
    """What ShotStream's training saves: the weights, and what it needs to go on."""
    moments = {"step": torch.tensor(7.0), "exp_avg": torch.ones(3)}
    groups = [{"lr": 2e-6, "betas": (0.0, 0.999), "amsgrad": False, "params": [0]}]
    state = torch.nn.Module()
    state.register_buffer("some", torch.ones(2))
    return {
        "generator": {f"model.{name}": tensor for name, tensor in weights.items()},
        "generator_optimizer": {"state": {0: moments}, "param_groups": groups},
        "fake_score": state.state_dict(),
        "step": 1000,
    }


def write_layouts(network, words, pictures, tokenizer):
    """Every layout; `pictures` has the names of diffusers, the others the official ones."""
    official = {
        vae.official_name(name, VAE["num_res_blocks"] + 1): tensor
        for name, tensor in pictures.items()
    }
    for folder in ("shotstream", "wan"):
        (OUT / folder / "google/umt5-xxl").mkdir(parents=True, exist_ok=True)
        tokenizer.save(str(OUT / folder / "google/umt5-xxl/tokenizer.json"), pretty=False)
        write_json(OFFICIAL_CONFIG, OUT / folder / "config.json")
        t5 = OUT / folder / "models_t5_umt5-xxl-enc-bf16.pth"
        torch.save(stored(words, torch.bfloat16), t5)
    torch.save(of_training(network), OUT / "shotstream/shotstream_merged.pt")
    torch.save(official, OUT / "shotstream/Wan2.1_VAE.pth")
    save_in_two(stored(network, torch.bfloat16), OUT / "wan/diffusion_pytorch_model.safetensors")
    torch.save(stored(official, torch.float16), OUT / "wan/Wan2.1_VAE.pth")

    there = OUT / "diffusers"
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=dit.HEADS,
        attention_head_dim=dit.DIM // dit.HEADS, in_channels=16, out_channels=16,
        text_dim=text.DIM, freq_dim=dit.FREQ, ffn_dim=dit.FFN, num_layers=dit.LAYERS,
        cross_attn_norm=True, qk_norm="rms_norm_across_heads", eps=dit.EPS,
    )  # fmt: skip
    weights = {dit.diffusers_name(name): tensor for name, tensor in network.items()}
    model.load_state_dict(weights, strict=True)
    write_json(plain(model.config), there / "transformer/config.json")
    save(
        stored(model.state_dict(), torch.bfloat16),
        there / "transformer/diffusion_pytorch_model.safetensors",
    )
    coder = vae.network(VAE)
    coder.load_state_dict(pictures, strict=True)
    write_json(plain(coder.config), there / "vae/config.json")
    save(coder.state_dict(), there / "vae/diffusion_pytorch_model.safetensors")
    encoder = text.encoder(words)
    write_json(encoder.config.to_diff_dict(), there / "text_encoder/config.json")
    weights = {text.transformers_name(name): tensor for name, tensor in words.items()}
    save_in_two(stored(weights, torch.bfloat16), there / "text_encoder/model.safetensors")
    (there / "tokenizer").mkdir(exist_ok=True)
    tokenizer.save(str(there / "tokenizer/tokenizer.json"), pretty=False)


def plain(config):
    return {name: value for name, value in config.items() if not name.startswith("_name")}


def captions(tokenizer, encoder):
    """Embeddings of every shot's prompt, `[1, S, L, D]`; rows past its end are zero."""
    story = rollout.STORY
    prompts = [f"{story['global_caption']}shot{n}:{story[f'shot{n + 1}']}" for n in range(3)]
    tokenizer.enable_padding(length=TEXT_LEN)
    read = tokenizer.encode_batch([text.clean(prompt) for prompt in prompts])
    ids = torch.tensor([encoding.ids for encoding in read])
    mask = torch.tensor([encoding.attention_mask for encoding in read])
    hidden = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    tokenizer.no_padding()
    return (hidden * mask[..., None])[None]


def write_names():
    """Official name and name in the library, of every tensor of the published sizes."""
    with torch.device("meta"):
        transformer = full.transformer()
        coder = AutoencoderKLWan()
        encoder = full.encoder()
    official = {dit.diffusers_name(name): name for name in full.official_dit_names()}
    lines = []
    for name in transformer.state_dict():
        lines.append(f"dit {official.pop(name)} {name}")
    assert not official, official
    for name in coder.state_dict():
        lines.append(f"vae {vae.official_name(name, 3)} {name}")
    for name in encoder.state_dict():
        if name != "encoder.embed_tokens.weight":
            lines.append(f"umt5 {text.official_name(name)} {name}")
    (TESTDATA / "names/hugging_face.txt").write_text("\n".join(lines) + "\n")


def write_full(folder, parts):
    """Parts of a model of the published sizes, with what stands beside them."""
    full.write(folder, parts)
    sizes = {"dim": 1536, "ffn_dim": 8960, "freq_dim": 256, "num_heads": 12, "num_layers": 30}
    write_json(OFFICIAL_CONFIG | sizes, folder / "config.json")
    (folder / "google/umt5-xxl").mkdir(parents=True, exist_ok=True)
    rollout.word_tokenizer().save(str(folder / "google/umt5-xxl/tokenizer.json"), pretty=False)


@torch.no_grad()
def main():
    generator = torch.Generator().manual_seed(20260325)
    network = bf16(dit.seeded_weights(generator, text_dim=text.DIM))
    words = bf16(text.seeded_weights(generator))
    coder = vae.network(VAE)
    vae.seed(coder, generator)
    coder.load_state_dict(bf16(coder.state_dict()), strict=True)
    tokenizer, noise = rollout.word_tokenizer(), rollout.given_noise(generator)
    noise = {name: tensor.half() for name, tensor in noise.items()}
    OUT.mkdir(parents=True, exist_ok=True)
    write_layouts(network, words, bf16(coder.state_dict()), tokenizer)
    write_names()

    doubles = {name: tensor.double() for name, tensor in network.items()}
    read = captions(tokenizer, text.encoder(words))
    story = rollout.Story(dit.Network(doubles), coder.double(), read, noise)
    told = rollout.tell(story)
    told = {name: t.contiguous() for name, t in told.items() if name.endswith(("latents", "context"))}
    save_file(noise, OUT / "noise.safetensors")
    save_file(told, OUT / "expected.safetensors")
    write_json(rollout.STORY, OUT / "story.json")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--full", type=pathlib.Path, metavar="DIR")
    parser.add_argument("parts", nargs="*", choices=[[], *full.PARTS])
    asked = parser.parse_args()
    if asked.full:
        write_full(asked.full, asked.parts)
    else:
        main()
