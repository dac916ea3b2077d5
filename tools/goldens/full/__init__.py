"""Files of the published sizes with seeded values, and what PyTorch answers on them.

    python tools/goldens/published.py --full DIR dit vae text

A part is a network in the form Wan2.1 publishes it, with its configuration and a small tokenizer:
3 GB the transformer, 0.5 GB the VAE, 11 GB the text encoder. `student` is the transformer once more
as ShotStream publishes it, 6 GB. `answers-PART.safetensors` holds a question, the answer in float32
and the one in bf16, for `crates/models/examples/full_size.rs`. The text encoder is run block by
block, so that no more than one of its 24 is there in float32.

Letters: F latent frames, T frames, S tokens.
"""

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import load_file, save_file
from transformers import UMT5Config, UMT5EncoderModel

import dit
import text
import vae

PARTS = ["dit", "student", "vae", "text"]
DIT, VAE = "diffusion_pytorch_model.safetensors", "Wan2.1_VAE.pth"
TEXT = "models_t5_umt5-xxl-enc-bf16.pth"
# Small pictures; a caption longer than the farthest distance that is told apart.
LATENTS, TOKENS, TIMESTEP = (16, 3, 8, 10), 150, 737.5


def transformer():
    return WanTransformer3DModel(
        num_attention_heads=12, ffn_dim=8960, num_layers=30, qk_norm="rms_norm_across_heads"
    )


def encoder():
    return UMT5EncoderModel(UMT5Config(
        vocab_size=256384, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
        feed_forward_proj="gated-gelu", layer_norm_epsilon=1e-6,
    ))  # fmt: skip


def official_dit_names():
    layers, dit.LAYERS = dit.LAYERS, 30
    names = list(dit.seeded_weights(torch.Generator()))
    dit.LAYERS = layers
    return names


def seeded(parameters, name_of, seed):
    """Values in bf16 that keep signals near unit size."""
    values, generator = {}, torch.Generator().manual_seed(seed)
    for name, tensor in parameters:
        scale = 1.0 if tensor.ndim < 2 else tensor[0].numel() ** -0.5
        # Attention of umT5 is not scaled, so small queries stand in; diffusers clamps pixels.
        if name.endswith("SelfAttention.q.weight"):
            scale *= 0.125
        if name.startswith("decoder.conv_out"):
            scale *= 0.2
        fresh = torch.empty(tensor.shape, dtype=torch.bfloat16).normal_(generator=generator)
        fresh *= scale
        gain = name.endswith(("gamma", "norm_q.weight", "norm_k.weight", "layer_norm.weight"))
        values[name_of(name)] = (1 + 0.1 * fresh) if gain else fresh
    return values


def write_weights(folder, parts):
    """The files of some parts, one after the other."""
    if "dit" in parts or "student" in parts:
        with torch.device("meta"):
            network = transformer()
        official = {dit.diffusers_name(name): name for name in official_dit_names()}
        weights = seeded(network.state_dict().items(), official.__getitem__, 1)
        if "dit" in parts:
            save_file(weights, folder / DIT, metadata={"format": "pt"})
        if "student" in parts:
            of_generator = {f"model.{name}": weight.float() for name, weight in weights.items()}
            torch.save({"generator": of_generator}, folder / "shotstream_merged.pt")
            del of_generator
        del weights
    if "vae" in parts:
        with torch.device("meta"):
            network = AutoencoderKLWan()
        weights = seeded(network.state_dict().items(), lambda name: vae.official_name(name, 3), 2)
        torch.save({name: weight.float() for name, weight in weights.items()}, folder / VAE)
    if "text" in parts:
        with torch.device("meta"):
            network = encoder()
        torch.save(seeded(network.named_parameters(), text.official_name, 3), folder / TEXT)


def both(model, ask):
    """The answers of a network in float32, and in bf16."""
    in_full = ask(model.float(), torch.float32)
    return in_full, ask(model.bfloat16(), torch.bfloat16).float()


def dit_answers(folder):
    with torch.device("meta"):
        model = transformer()
    weights = load_file(folder / DIT)
    model.load_state_dict({dit.diffusers_name(n): w for n, w in weights.items()}, strict=True, assign=True)
    # A table that no file holds, so it is on the meta device still.
    table = model.rope
    model.rope = type(table)(table.attention_head_dim, table.patch_size, table.max_seq_len)
    generator = torch.Generator().manual_seed(4)
    noisy = torch.randn(1, *LATENTS, generator=generator)
    caption = torch.randn(1, 512, 4096, generator=generator).bfloat16().float()

    def ask(model, dtype):
        at = torch.tensor([TIMESTEP])
        return model(noisy.to(dtype), at, caption.to(dtype), return_dict=False)[0]

    velocity, rounded = both(model, ask)
    return {"noisy": noisy, "caption": caption, "velocity": velocity, "velocity_bf16": rounded}


def vae_answers(folder):
    model = AutoencoderKLWan().eval()
    stored = torch.load(folder / VAE)
    names = {vae.official_name(name, 3): name for name in model.state_dict()}
    model.load_state_dict({names[n]: w for n, w in stored.items()}, strict=True)
    mean, std = (torch.tensor(getattr(model.config, f"latents_{s}"))[:, None, None, None] for s in ("mean", "std"))
    generator = torch.Generator().manual_seed(5)
    channels, frames, height, width = LATENTS
    picture = torch.rand(1, 3, 1, 8 * height, 8 * width, generator=generator) * 2 - 1
    latents = torch.randn(1, *LATENTS, generator=generator)
    # Every answer twice: encoded, decoded.
    read = both(model, lambda model, dtype: model.encode(picture.to(dtype)).latent_dist.mean)
    made = both(model, lambda model, dtype: model.decode((latents * std + mean).to(dtype)).sample)
    assert made[0].abs().max() < 1, "a clamped answer hides differences"
    encoded, encoded_bf16 = ((latent - mean) / std for latent in read)
    return {
        "picture": picture, "encoded": encoded, "encoded_bf16": encoded_bf16,
        "latents": latents, "decoded": made[0], "decoded_bf16": made[1],
    }  # fmt: skip


def text_answers(folder):
    with torch.device("meta"):
        model = encoder()
    stored = torch.load(folder / TEXT, mmap=True)
    state = {text.transformers_name(name): weight for name, weight in stored.items()}
    missing, unexpected = model.load_state_dict(state, strict=False, assign=True)
    assert set(missing) <= {"encoder.embed_tokens.weight"} and not unexpected, (missing, unexpected)
    model.encoder.embed_tokens.weight = model.shared.weight
    model.eval()
    ids = torch.randint(2, 256384, (1, TOKENS), generator=torch.Generator().manual_seed(6))
    rounded = model(input_ids=ids).last_hidden_state.float()

    def widened(module, _):
        module.narrow = {name: p.data for name, p in module.named_parameters()}
        module.float()

    def narrowed(module, *_):
        for name, p in module.named_parameters():
            p.data = module.narrow[name]

    for module in [*model.encoder.block, model.encoder.final_layer_norm]:
        module.register_forward_pre_hook(widened)
        module.register_forward_hook(narrowed)
    model.shared.register_forward_hook(lambda *call: call[-1].float())
    if model.encoder.embed_tokens is not model.shared:
        model.encoder.embed_tokens.register_forward_hook(lambda *call: call[-1].float())
    embedding = model(input_ids=ids).last_hidden_state
    assert embedding.dtype == torch.float32
    return {"ids": ids.float(), "embedding": embedding, "embedding_bf16": rounded}


ANSWERS = {"dit": dit_answers, "vae": vae_answers, "text": text_answers}


@torch.no_grad()
def write(folder, parts):
    """The files of some parts, and what they answer."""
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder, parts)
    for part in [part for part in parts if part in ANSWERS]:
        answers = {name: tensor.contiguous() for name, tensor in ANSWERS[part](folder).items()}
        save_file(answers, folder / f"answers-{part}.safetensors")
