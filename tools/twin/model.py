"""The three networks in plain PyTorch, under the names of the model file, and the file itself.

A model file is a safetensors file: tensors after `dit.`, `vae.` and `text.`, and in its header the
configuration and the tokenizer as JSON. What is read here was written by `shotstream`, and what is
written here it reads.

Letters: B samples, F latent frames, S tokens of a frame, L = F*S, H heads, D width, K captions,
T tokens of a caption, C channels.
"""

import functools
import html
import itertools
import json
import os

import torch
import torch.nn.functional as f
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import nn


def rms(x, weight, eps):
    y = x.float()
    return (y * torch.rsqrt(y.square().mean(-1, keepdim=True) + eps) * weight.float()).to(x.dtype)


class Rms(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return rms(x, self.weight, self.eps)


# ---- the transformer ------------------------------------------------------------------------


def attend(q, k, v):
    """Attention of `[B, L, H, D/H]`."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return f.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def rotate(x, rope):
    """Turn the pairs of `[B, L, H, D/H]` by the angles whose cosines and sines `rope` holds."""
    cosine, sine = rope
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1)
    return turned.flatten(-2).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads = c["num_heads"]
        self.q, self.k, self.v, self.o = (nn.Linear(c["dim"], c["dim"]) for _ in "qkvo")
        self.norm_q, self.norm_k = Rms(c["dim"], c["eps"]), Rms(c["dim"], c["eps"])

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1))

    def query(self, x):
        return self.split(self.norm_q(self.q(x)))

    def key_value(self, x):
        return self.split(self.norm_k(self.k(x))), self.split(self.v(x))


class Block(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.eps = c["eps"]
        self.modulation = nn.Parameter(torch.zeros(1, 6, c["dim"]))
        self.self_attn, self.cross_attn = Attention(c), Attention(c)
        self.norm3 = nn.LayerNorm(c["dim"], c["eps"])
        widths = c["dim"], c["ffn_dim"]
        self.ffn = nn.Sequential(nn.Linear(*widths), nn.GELU("tanh"), nn.Linear(*widths[::-1]))

    def norm(self, x):
        return f.layer_norm(x.float(), x.shape[-1:], eps=self.eps)

    def forward(self, x, asked, rope, text, memory, spans):
        """Tokens `[B, F, S, D]` through the block, and their own keys and values.

        `asked` is `[B, F, 6, D]`; `text` keys and values of every frame's caption,
        `[B, F, T, H, D/H]`; `memory` keys and values of what came before, if anything did; `spans`
        where runs of tokens end: a token sees the memory and its own up to the end of its run.
        """
        frames = x.shape[1]
        m = (self.modulation[:, None] + asked).unsqueeze(3).unbind(2)
        h = (self.norm(x) * (1 + m[1]) + m[0]).flatten(1, 2)
        q = rotate(self.self_attn.query(h), rope)
        k, v = self.self_attn.key_value(h)
        own = rotate(k, rope), v
        k, v = (torch.cat(pair, 1) for pair in zip(memory, own)) if memory else own
        past, starts = k.shape[1] - q.shape[1], [0, *spans[:-1]]
        seen = [attend(q[:, a:b], k[:, : past + b], v[:, : past + b]) for a, b in zip(starts, spans)]
        seen = torch.cat(seen, 1).flatten(2).unflatten(1, (frames, -1))
        x = x + self.self_attn.o(seen) * m[2]
        q = self.cross_attn.query(self.norm3(x)).flatten(0, 1)
        seen = attend(q, *(t.flatten(0, 1) for t in text)).flatten(2)
        x = x + self.cross_attn.o(seen.unflatten(0, (-1, frames)))
        h = self.norm(x) * (1 + m[4]) + m[3]
        return x + self.ffn(h) * m[5], own


class Head(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.modulation = nn.Parameter(torch.zeros(1, 2, c["dim"]))
        self.head = nn.Linear(c["dim"], c["out_dim"] * c["patch_size"][1] * c["patch_size"][2])


class Dit(nn.Module):
    """Noisy latents, timesteps, places and captions to velocity."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        d, mlp = c["dim"], lambda a, act: nn.Sequential(nn.Linear(a, d), act, nn.Linear(d, d))
        self.patch_embedding = nn.Conv3d(c["in_dim"], d, c["patch_size"], c["patch_size"])
        self.text_embedding = mlp(c["text_dim"], nn.GELU("tanh"))
        self.time_embedding = mlp(c["freq_dim"], nn.SiLU())
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(d, 6 * d))
        self.blocks = nn.ModuleList(Block(c) for _ in range(c["num_layers"]))
        self.head = Head(c)

    @functools.lru_cache(maxsize=64)
    def rope(self, slots, rows, columns, device):
        """Cosines and sines `[L, 1, D/H/2]` of frames at (position, phase, caption)."""
        pairs = self.c["dim"] // self.c["num_heads"] // 2
        space = pairs // 3
        ladder = lambda n: 10000.0 ** (-torch.arange(n, dtype=torch.float64) / n)
        place = torch.tensor([slot[:2] for slot in slots])
        theta = torch.tensor(self.c.get("shot_phase", 1 / 6), dtype=torch.float32)
        phase = (place[:, 1].float() * theta).double()
        time = place[:, :1] * ladder(pairs - 2 * space) + phase[:, None]
        side = lambda n: torch.arange(n)[:, None] * ladder(space)
        axes = time[:, None, None], side(rows)[None, :, None], side(columns)[None, None]
        shape = len(slots), rows, columns, -1
        angles = torch.cat([a.expand(*shape) for a in axes], -1).flatten(0, 2)[:, None]
        return angles.cos().float().to(device), angles.sin().float().to(device)

    def time(self, timesteps):
        half = self.c["freq_dim"] // 2
        ladder = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=timesteps.device) / half)
        angle = timesteps.double()[..., None] * ladder
        e = self.time_embedding(torch.cat([angle.cos(), angle.sin()], -1).to(self.head.modulation.dtype))
        return e, self.time_projection(e).unflatten(-1, (6, -1))

    def read(self, embeddings):
        """Keys and values of captions `[B, K, T, text_dim]` for every block."""
        hidden = self.text_embedding(embeddings)
        return [block.cross_attn.key_value(hidden) for block in self.blocks]

    def run(self, latents, timesteps, slots, text, memory=(), chunks=None):
        """Velocity of `[B, C, F, h, w]`, and keys and values of every block.

        Frames see `memory` (a list of what earlier runs returned) and each other; with `chunks`,
        a list of lengths, only chunks up to their own.
        """
        batch, _, frames, height, width = latents.shape
        _, p, q = self.c["patch_size"]
        rows, columns = height // p, width // q
        x = self.patch_embedding(latents).float().flatten(3).permute(0, 2, 3, 1)
        e, asked = self.time(timesteps)
        rope = self.rope(tuple(slots), rows, columns, latents.device)
        captions = torch.tensor([slot[2] for slot in slots], device=latents.device)
        ends = [rows * columns * end for end in itertools.accumulate(chunks or [frames])]
        own = []
        for layer, block in enumerate(self.blocks):
            told = [t[:, captions] for t in text[layer]]
            past = [torch.cat(parts, 1) for parts in zip(*(kept[layer] for kept in memory))]
            x, mine = block(x, asked, rope, told, past, ends)
            own.append(mine)
        shift, scale = (self.head.modulation[:, None] + e[:, :, None]).unsqueeze(3).unbind(2)
        y = self.head.head(f.layer_norm(x.float(), x.shape[-1:], eps=self.c["eps"]) * (1 + scale) + shift)
        y = y.reshape(batch, frames, rows, columns, p, q, -1)
        y = y.permute(0, 6, 1, 2, 4, 3, 5).reshape(batch, -1, frames, height, width)
        return y.to(latents.dtype), own


# ---- the text encoder -----------------------------------------------------------------------


class TextBlock(nn.Module):
    def __init__(self, c):
        super().__init__()
        d, a, h = c["dim"], c["dim_attn"], c["dim_ffn"]
        layer = lambda into, out: nn.Linear(into, out, bias=False)
        self.norm1, self.norm2 = Rms(d, 1e-6), Rms(d, 1e-6)
        self.attn = nn.ModuleDict({"q": layer(d, a), "k": layer(d, a), "v": layer(d, a), "o": layer(a, d)})
        self.pos_embedding = nn.ModuleDict({"embedding": nn.Embedding(c["num_buckets"], c["num_heads"])})
        gate = nn.Sequential(layer(d, h), nn.GELU("tanh"))
        self.ffn = nn.ModuleDict({"gate": gate, "fc1": layer(d, h), "fc2": layer(h, d)})
        self.heads = c["num_heads"]

    def forward(self, x, buckets, absent):
        h = self.norm1(x)
        q, k, v = (self.attn[n](h).unflatten(-1, (self.heads, -1)).transpose(1, 2) for n in "qkv")
        bias = self.pos_embedding["embedding"](buckets).permute(2, 0, 1).to(q.dtype)
        mask = bias.masked_fill(absent, torch.finfo(q.dtype).min)
        mixed = f.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
        x = x + self.attn["o"](mixed.transpose(1, 2).flatten(2))
        h = self.norm2(x)
        return x + self.ffn["fc2"](self.ffn["fc1"](h) * self.ffn["gate"](h))


class Umt5(nn.Module):
    """Ids to embeddings; rows past the end of a caption are zero."""

    def __init__(self, c):
        super().__init__()
        self.c = c
        self.token_embedding = nn.Embedding(c["vocab_size"], c["dim"])
        self.blocks = nn.ModuleList(TextBlock(c) for _ in range(c["num_layers"]))
        self.norm = Rms(c["dim"], 1e-6)

    def buckets(self, length):
        side = self.c["num_buckets"] // 2
        near = side // 2
        steps = torch.arange(side - near, dtype=torch.float64) / (side - near)
        far = near * (self.c["max_distance"] / near) ** steps - 1e-6
        offset = torch.arange(length)[None] - torch.arange(length)[:, None]
        distance = offset.abs()
        wide = near - 1 + (distance[..., None] >= far).sum(-1)
        return torch.where(distance < near, distance, wide) + side * (offset > 0)

    def forward(self, ids, lengths):
        present = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]
        buckets = self.buckets(ids.shape[1]).to(ids.device)
        x = self.token_embedding(ids)
        for block in self.blocks:
            x = block(x, buckets, ~present[:, None, None])
        return self.norm(x) * present[..., None]


# ---- the VAE --------------------------------------------------------------------------------


class Norm(nn.Module):
    def __init__(self, channels, rank):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * (rank - 1)))

    def forward(self, x):
        y = f.normalize(x.float(), dim=1) * x.shape[1] ** 0.5
        return (y * self.gamma.flatten()[:, None, None, None].float()).to(x.dtype)


class Causal(nn.Conv3d):
    """A convolution that sees a frame and the two before it; `[B, C, T, H, W]`."""

    def __init__(self, into, out, time, side):
        super().__init__(into, out, (time, side, side), padding=(0, side // 2, side // 2))

    def forward(self, x):
        return super().forward(f.pad(x, (0, 0, 0, 0, self.kernel_size[0] - 1, 0)))


def by_frame(conv, x):
    return conv(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (x.shape[0], -1)).transpose(1, 2)


class Residual(nn.Module):
    def __init__(self, into, out):
        super().__init__()
        self.residual = nn.Sequential(
            Norm(into, 4), nn.SiLU(), Causal(into, out, 3, 3),
            Norm(out, 4), nn.SiLU(), nn.Identity(), Causal(out, out, 3, 3),
        )  # fmt: skip
        self.shortcut = Causal(into, out, 1, 1) if into != out else nn.Identity()

    def forward(self, x):
        return self.residual(x) + self.shortcut(x)


class Mixing(nn.Module):
    """Attention inside a frame, one head."""

    def __init__(self, channels):
        super().__init__()
        self.norm = Norm(channels, 3)
        self.to_qkv, self.proj = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        qkv = by_frame(self.to_qkv, self.norm(x))
        q, k, v = (t.permute(0, 2, 3, 4, 1).flatten(2, 3)[:, :, None] for t in qkv.chunk(3, 1))
        mixed = f.scaled_dot_product_attention(q, k, v).squeeze(2).transpose(2, 3)
        return x + by_frame(self.proj, mixed.unflatten(3, x.shape[3:]).transpose(1, 2))


class Down(nn.Module):
    def __init__(self, channels, time):
        super().__init__()
        self.resample = nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(channels, channels, 3, 2))
        self.time_conv = nn.Conv3d(channels, channels, (3, 1, 1), (2, 1, 1)) if time else None

    def forward(self, x):
        x = by_frame(self.resample, x)
        if self.time_conv is None or x.shape[2] == 1:
            return x
        return torch.cat([x[:, :, :1], self.time_conv(x)], 2)


class Up(nn.Module):
    def __init__(self, channels, time):
        super().__init__()
        self.resample = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(channels, channels // 2, 3, padding=1))
        self.time_conv = Causal(channels, 2 * channels, 3, 1) if time else None

    def forward(self, x):
        if self.time_conv is not None and x.shape[2] > 1:
            twice = self.time_conv(x[:, :, 1:]).unflatten(1, (2, -1))
            x = torch.cat([x[:, :, :1], twice.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)], 2)
        return by_frame(self.resample, x)


def middle(channels):
    return nn.Sequential(Residual(channels, channels), Mixing(channels), Residual(channels, channels))


def vae_head(into, out):
    return nn.Sequential(Norm(into, 4), nn.SiLU(), Causal(into, out, 3, 3))


class Half(nn.Module):
    """Encoder or decoder: a convolution, stages and the deepest stage, a head."""

    def __init__(self, first, stages, deepest, last, up):
        super().__init__()
        self.conv1 = first
        self.middle = middle(deepest)
        setattr(self, "upsamples" if up else "downsamples", nn.Sequential(*stages))
        self.order = ("middle", "upsamples") if up else ("downsamples", "middle")
        self.head = last

    def forward(self, x):
        x = self.conv1(x)
        for part in self.order:
            x = getattr(self, part)(x)
        return self.head(x)


class Vae(nn.Module):
    """Frames to latents and back; `[B, 3, T, H, W]` in [-1, 1] and `[B, z, F, h, w]`."""

    def __init__(self, c):
        super().__init__()
        self.c, z, patch = c, c["z_dim"], 3 * c["patch"] ** 2
        widths = [c["dim"] * m for m in c["dim_mult"]]
        stages, into = [], c["dim"]
        for n, width in enumerate(widths):
            for _ in range(c["num_res_blocks"]):
                stages.append(Residual(into, width))
                into = width
            if n + 1 < len(widths):
                stages.append(Down(width, c["temporal_downsample"][n]))
        self.encoder = Half(Causal(patch, c["dim"], 3, 3), stages, into, vae_head(into, 2 * z), up=False)
        widths = [c["decoder_dim"] * m for m in c["dim_mult"]]
        stages, into = [], widths[-1]
        for n, width in reversed(list(enumerate(widths))):
            for _ in range(c["num_res_blocks"] + 1):
                stages.append(Residual(into, width))
                into = width
            if n:
                stages.append(Up(width, c["temporal_downsample"][n - 1]))
                into = width // 2
        self.decoder = Half(Causal(z, widths[-1], 3, 3), stages, widths[-1], vae_head(into, patch), up=True)
        self.conv1, self.conv2 = Causal(2 * z, 2 * z, 1, 1), Causal(z, z, 1, 1)

    def statistics(self, like):
        return (like.new_tensor(self.c[f"latents_{s}"])[:, None, None, None] for s in ("mean", "std"))

    def posterior(self, video):
        p = self.c["patch"]
        b, c, t, h, w = video.shape
        x = video.reshape(b, c, t, h // p, p, w // p, p).permute(0, 1, 6, 4, 2, 3, 5)
        return self.conv1(self.encoder(x.reshape(b, c * p * p, t, h // p, w // p))).chunk(2, 1)

    def encode(self, video):
        mean, std = self.statistics(video)
        return (self.posterior(video)[0].float() - mean) / std

    def encode_frames(self, frames):
        """Latents `[N, z, h, w]` of frames `[N, 3, H, W]`, each alone."""
        return self.encode(frames[:, :, None])[:, :, 0]

    def decode_raw(self, latents):
        p, x = self.c["patch"], self.decoder(self.conv2(latents))
        b, _, t, h, w = x.shape
        x = x.reshape(b, 3, p, p, t, h, w).permute(0, 1, 4, 5, 3, 6, 2)
        return x.reshape(b, 3, t, h * p, w * p)

    def decode(self, latents):
        mean, std = self.statistics(latents)
        return self.decode_raw(latents * std + mean)


# ---- the file -------------------------------------------------------------------------------


class Words:
    """Prompts to ids and lengths, as the model's own tokenizer cuts them."""

    def __init__(self, text, length):
        self.text = text
        self.tokenizer, self.length = Tokenizer.from_str(text), length
        self.tokenizer.enable_truncation(length)
        self.tokenizer.enable_padding(length=length)

    def __call__(self, prompts, device):
        clean = lambda prompt: " ".join(html.unescape(html.unescape(prompt)).split())
        read = self.tokenizer.encode_batch([clean(prompt) for prompt in prompts])
        ids = torch.tensor([encoding.ids for encoding in read])
        lengths = torch.tensor([sum(encoding.attention_mask) for encoding in read])
        return ids.to(device), lengths.to(device)


class Model:
    """Everything a model file holds."""

    def __init__(self, path, device="cpu", compiled=False):
        with safe_open(path, "pt") as file:
            header = file.metadata()
            assert header.get("format") == "shotstream-bundle-1", f"no model file: {path}"
            weights = {name: file.get_tensor(name).float() for name in file.keys()}
        self.config = json.loads(header["config"])
        self.recipe = self.config["recipe"]
        self.words = Words(header["tokenizer"], self.config["dit"]["text_len"])
        self.dit = Dit(self.config["dit"])
        self.vae, self.text = Vae(self.config["vae"]), Umt5(self.config["text"])
        for part in ("dit", "vae", "text"):
            own = {n.removeprefix(f"{part}."): w for n, w in weights.items() if n.startswith(f"{part}.")}
            getattr(self, part).load_state_dict(own, strict=True)
            getattr(self, part).to(device)
        for block in self.dit.blocks if compiled else ():
            block.compile(dynamic=False)

    def save(self, path):
        """Write the file under another name first, so that `path` is whole or as it was."""
        weights = {}
        for part in ("dit", "vae", "text"):
            for name, tensor in getattr(self, part).state_dict().items():
                assert tensor.isfinite().all(), f"{part}.{name} holds a value that is not finite"
                weights[f"{part}.{name}"] = tensor.float().cpu().contiguous()
        header = {"format": "shotstream-bundle-1", "config": json.dumps(self.config), "tokenizer": self.words.text}
        save_file(weights, f"{path}.tmp", metadata=header)
        os.replace(f"{path}.tmp", path)
