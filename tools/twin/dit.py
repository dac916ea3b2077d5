"""The diffusion transformer in plain PyTorch, under the names of the model file.

Letters: B samples, F latent frames, S tokens of a frame, L = F*S, H heads, D width, K captions,
T tokens of a caption, C channels.
"""

import functools
import itertools

import torch
import torch.nn.functional as f
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
