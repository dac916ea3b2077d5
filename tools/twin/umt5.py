"""The text encoder in plain PyTorch, under the names of the model file.

Letters: B samples, T tokens of a caption, H heads, D width.
"""

import torch
import torch.nn.functional as f
from torch import nn

from dit import Rms


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
