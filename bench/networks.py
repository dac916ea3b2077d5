"""The networks in PyTorch, written for speed: what the runtime is measured against.

Weights are joined and laid out once, keys and values lie in one buffer per layer which a pass
extends at its end, modulation is computed once for a timestep, the decoder keeps the frames that
its convolutions saw last. Every operation is a whole one of PyTorch's own.

Letters: L tokens of a pass, H heads, W width of a head, D = H*W, C channels, F frames.
"""

import math
import time

import torch
import torch.nn.functional as f
from torch import nn

LAYOUTS = torch.channels_last_3d, torch.contiguous_format


def numbers(count, start):
    """The numbers around zero that the other side makes too."""
    return torch.sin(torch.arange(start, start + count).remainder(4096).float() * 0.37)


class Dit(nn.Module):
    def __init__(self, config, weights):
        super().__init__()
        self.c = config
        self.heads, self.width = config["num_heads"], config["dim"] // config["num_heads"]
        # A rotated pair is a value of the first half of a head and one of the second.
        halves = torch.cat([torch.arange(0, self.width, 2), torch.arange(1, self.width, 2)])
        order = (torch.arange(self.heads)[:, None] * self.width + halves).flatten()
        keep = lambda name, tensor: self.register_buffer(name, tensor.contiguous())
        for n in range(config["num_layers"]):
            b = f"blocks.{n}."
            own = {part: weights[f"{b}self_attn.{part}"] for part in
                   [f"{x}.{y}" for x in "qkvo" for y in ("weight", "bias")]}  # fmt: skip
            for y in ("weight", "bias"):
                joined = [own[f"q.{y}"][order], own[f"k.{y}"][order], own[f"v.{y}"]]
                keep(f"qkv_{y}_{n}", torch.cat(joined))
                keep(f"out_{y}_{n}", own[f"o.{y}"])
                keep(f"text_kv_{y}_{n}", torch.cat([weights[f"{b}cross_attn.{x}.{y}"] for x in "kv"]))
                for ours, theirs in [("text_q", "cross_attn.q"), ("text_out", "cross_attn.o"),
                                     ("norm3", "norm3"), ("up", "ffn.0"), ("down", "ffn.2")]:  # fmt: skip
                    keep(f"{ours}_{y}_{n}", weights[f"{b}{theirs}.{y}"])
            keep(f"norm_q_{n}", weights[f"{b}self_attn.norm_q.weight"][order])
            keep(f"norm_k_{n}", weights[f"{b}self_attn.norm_k.weight"][order])
            keep(f"text_norm_q_{n}", weights[f"{b}cross_attn.norm_q.weight"])
            keep(f"text_norm_k_{n}", weights[f"{b}cross_attn.norm_k.weight"])
        for y in ("weight", "bias"):
            keep(f"patch_{y}", weights[f"patch_embedding.{y}"].reshape(config["dim"], -1) if y == "weight"
                 else weights["patch_embedding.bias"])  # fmt: skip
            keep(f"head_{y}", weights[f"head.head.{y}"])
        self.w = {name: tensor.float() for name, tensor in weights.items()
                  if name.startswith(("time_", "text_embedding", "head.modulation")) or name.endswith("modulation")}  # fmt: skip

    def linear(self, name, n, x):
        return f.linear(x, getattr(self, f"{name}_weight_{n}"), getattr(self, f"{name}_bias_{n}"))

    def asked(self, timestep, dtype):
        """Modulation of every block `[layers, 6, D]` and of the head `[2, D]`; factors with their 1."""
        w, half = self.w, self.c["freq_dim"] // 2
        angle = timestep * 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        s = torch.cat([angle.cos(), angle.sin()]).float()
        layer = lambda name, x: f.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])
        e = layer("time_embedding.2", f.silu(layer("time_embedding.0", s)))
        six = layer("time_projection.1", f.silu(e)).unflatten(-1, (6, -1))
        blocks = torch.cat([w[f"blocks.{n}.modulation"] for n in range(self.c["num_layers"])]) + six
        head = w["head.modulation"][0] + e
        blocks[:, 1::3] += 1
        head[1] += 1
        return blocks.to(dtype), head.to(dtype)

    def rope(self, positions, phase, rows, columns, dtype):
        """Cosines and sines `[L, 1, W/2]`."""
        pairs = self.width // 2
        space = pairs // 3
        ladder = lambda n: 10000.0 ** (-torch.arange(n, dtype=torch.float64) / n)
        time = torch.tensor(positions)[:, None] * ladder(pairs - 2 * space)
        time = time + (torch.tensor(float(phase)) * self.c["shot_phase"]).double()
        side = lambda n: torch.arange(n)[:, None] * ladder(space)
        axes = time[:, None, None], side(rows)[None, :, None], side(columns)[None, None]
        shape = len(positions), rows, columns, -1
        angles = torch.cat([a.expand(*shape) for a in axes], -1).flatten(0, 2)[:, None]
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def read(self, embedding, dtype):
        """Keys and values `[1, H, T, W]` of a caption for every block."""
        w = self.w
        layer = lambda name, x: f.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])
        text = layer("text_embedding.2", f.gelu(layer("text_embedding.0", embedding), approximate="tanh"))
        text, kept = text.to(dtype), []
        for n in range(self.c["num_layers"]):
            k, v = self.linear("text_kv", n, text).chunk(2, -1)
            k = f.rms_norm(k, k.shape[-1:], getattr(self, f"text_norm_k_{n}"), self.c["eps"])
            kept.append(tuple(x.unflatten(-1, (self.heads, -1)).transpose(0, 1)[None].contiguous() for x in (k, v)))
        return kept

    def forward(self, latents, asked, rope, text, memory, past: int, predicts: bool):
        """Velocity of `[F, C, h, w]`; keys and values are left in `memory` behind `past` tokens."""
        frames, channels, height, width = latents.shape
        rows, columns = height // 2, width // 2
        x = latents.unflatten(2, (rows, 2)).unflatten(4, (columns, 2)).permute(0, 2, 4, 1, 3, 5)
        x = f.linear(x.reshape(frames * rows * columns, -1), self.patch_weight, self.patch_bias)
        (blocks, head), (cosine, sine), d = asked, rope, x.shape[-1:]
        eps, heads, end = self.c["eps"], self.heads, past + x.shape[0]

        def rotate(x):
            a, b = x.unflatten(-1, (heads, 2, -1)).unbind(-2)
            return torch.cat([a * cosine - b * sine, a * sine + b * cosine], -1).transpose(0, 1)

        last = self.c["num_layers"] - 1
        for n in range(last + 1):
            m = blocks[n]
            h = f.layer_norm(x, d, eps=eps) * m[1] + m[0]
            q, k, v = self.linear("qkv", n, h).chunk(3, -1)
            q = rotate(f.rms_norm(q, d, getattr(self, f"norm_q_{n}"), eps))
            keys, values = memory[n]
            keys[:, past:end] = rotate(f.rms_norm(k, d, getattr(self, f"norm_k_{n}"), eps))
            values[:, past:end] = v.unflatten(-1, (heads, -1)).transpose(0, 1)
            if n == last and not predicts:
                return None
            seen = f.scaled_dot_product_attention(q[None], keys[None, :, :end], values[None, :, :end])
            x = x + self.linear("out", n, seen[0].transpose(0, 1).flatten(1)) * m[2]
            h = f.layer_norm(x, d, getattr(self, f"norm3_weight_{n}"), getattr(self, f"norm3_bias_{n}"), eps)
            q = f.rms_norm(self.linear("text_q", n, h), d, getattr(self, f"text_norm_q_{n}"), eps)
            q = q.unflatten(-1, (heads, -1)).transpose(0, 1)[None]
            seen = f.scaled_dot_product_attention(q, *text[n])
            x = x + self.linear("text_out", n, seen[0].transpose(0, 1).flatten(1))
            h = f.layer_norm(x, d, eps=eps) * m[4] + m[3]
            x = x + self.linear("down", n, f.gelu(self.linear("up", n, h), approximate="tanh")) * m[5]
        y = f.linear(f.layer_norm(x, d, eps=eps) * head[1] + head[0], self.head_weight, self.head_bias)
        y = y.view(frames, rows, columns, 2, 2, -1).permute(0, 5, 1, 3, 2, 4)
        return y.reshape(frames, -1, height, width)


class Norm(nn.Module):
    def __init__(self, channels, rank):
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels, *[1] * (rank - 1)))

    def forward(self, x):
        y = x.movedim(1, -1)
        return f.rms_norm(y, y.shape[-1:], self.gamma.flatten(), 1e-12).movedim(-1, 1)


class Conv(nn.Conv3d):
    """A convolution that sees a frame and those before it, which it keeps."""

    def __init__(self, into, out, time, side):
        super().__init__(into, out, (time, side, side), padding=(0, side // 2, side // 2))

    def forward(self, x, kept):
        if self.kernel_size[0] == 1:
            return super().forward(x)
        x = torch.cat([kept.pop(0), x], 2)
        kept.append(x[:, :, -2:].clone())
        return super().forward(x)


class Residual(nn.Module):
    def __init__(self, into, out):
        super().__init__()
        self.residual = nn.ModuleDict({
            "0": Norm(into, 4), "2": Conv(into, out, 3, 3), "3": Norm(out, 4), "6": Conv(out, out, 3, 3),
        })  # fmt: skip
        self.shortcut = nn.Conv3d(into, out, 1) if into != out else nn.Identity()

    def forward(self, x, kept):
        r = self.residual
        y = r["2"](f.silu(r["0"](x)), kept)
        return self.shortcut(x) + r["6"](f.silu(r["3"](y)), kept)


class Mixing(nn.Module):
    """Attention inside a frame, one head."""

    def __init__(self, channels):
        super().__init__()
        self.norm = Norm(channels, 3)
        self.to_qkv, self.proj = nn.Conv2d(channels, 3 * channels, 1), nn.Conv2d(channels, channels, 1)

    def forward(self, x, kept):
        flat = lambda conv, x: f.linear(x, conv.weight.flatten(1), conv.bias)
        y = self.norm(x).movedim(1, -1).flatten(2, 3)  # [1, F, S, C]
        q, k, v = flat(self.to_qkv, y).chunk(3, -1)
        seen = f.scaled_dot_product_attention(q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1))
        y = flat(self.proj, seen.transpose(0, 1)).unflatten(2, x.shape[3:])
        return x + y.movedim(-1, 1)


class Up(nn.Module):
    def __init__(self, channels, time):
        super().__init__()
        self.resample = nn.ModuleDict({"1": nn.Conv2d(channels, channels // 2, 3, padding=1)})
        self.time_conv = Conv(channels, 2 * channels, 3, 1) if time else None

    def forward(self, x, kept):
        if self.time_conv is not None:
            twice = self.time_conv(x, kept).unflatten(1, (2, -1))
            x = twice.permute(0, 2, 3, 1, 4, 5).flatten(2, 3)
        y = x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
        y = self.resample["1"](f.interpolate(y, scale_factor=2.0, mode="nearest"))
        return y.unflatten(0, (1, -1)).transpose(1, 2)


class Decoder(nn.Module):
    """Latent frames that are not the first of a stream to frames."""

    def __init__(self, c, layout):
        super().__init__()
        self.layout, self.c, widths = layout, c, [c["decoder_dim"] * m for m in c["dim_mult"]]
        self.conv2 = nn.Conv3d(c["z_dim"], c["z_dim"], 1)
        deepest, stages = widths[-1], []
        self.decoder = nn.Module()
        self.decoder.conv1 = Conv(c["z_dim"], deepest, 3, 3)
        self.decoder.middle = nn.ModuleList([Residual(deepest, deepest), Mixing(deepest), Residual(deepest, deepest)])
        into = deepest
        for n, width in reversed(list(enumerate(widths))):
            for _ in range(c["num_res_blocks"] + 1):
                stages.append(Residual(into, width))
                into = width
            if n:
                stages.append(Up(width, c["temporal_downsample"][n - 1]))
                into = width // 2
        self.decoder.upsamples = nn.ModuleList(stages)
        self.decoder.head = nn.ModuleDict({"0": Norm(into, 4), "2": Conv(into, 3 * c["patch"] ** 2, 3, 3)})
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(c[f"latents_{name}"])[:, None, None, None], persistent=False)

    def forward(self, latents, kept):
        """`[F, C, h, w]` to `[T, 3, H, W]`; `kept` are the frames that convolutions saw last."""
        kept, d, p = list(kept), self.decoder, self.c["patch"]
        x = latents.transpose(0, 1)[None] * self.std + self.mean
        x = d.conv1(self.conv2(x.contiguous(memory_format=self.layout)), kept)
        for part in [*d.middle, *d.upsamples]:
            x = part(x, kept)
        x = d.head["2"](f.silu(d.head["0"](x)), kept)[0]
        c, t, h, w = x.shape
        x = x.reshape(3, p, p, t, h, w).permute(3, 0, 4, 2, 5, 1)
        return x.reshape(t, 3, h * p, w * p).clamp(-1, 1), kept


class Encoder(nn.Module):
    """One frame to its latents, by convolutions of pictures: the frames before are zeros."""

    def __init__(self, c, weights):
        super().__init__()
        self.c = c
        self.names = {name for name in weights if name.startswith(("encoder.", "conv1."))}
        for name in self.names:
            tensor = weights[name].float()
            if tensor.dim() == 5:
                tensor = tensor[:, :, -1].contiguous(memory_format=torch.channels_last)
            tensor = tensor.flatten() if name.endswith("gamma") else tensor
            self.register_buffer(name.replace(".", "_"), tensor)
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(c[f"latents_{name}"])[:, None, None])

    def conv(self, name, x, **how):
        name = name.replace(".", "_")
        return f.conv2d(x, getattr(self, f"{name}_weight"), getattr(self, f"{name}_bias"), **how)

    def norm(self, name, x):
        gamma = getattr(self, f"{name}.gamma".replace(".", "_"))
        y = x.movedim(1, -1)
        return f.rms_norm(y, y.shape[-1:], gamma, 1e-12).movedim(-1, 1)

    def residual(self, name, x):
        y = self.conv(f"{name}.residual.2", f.silu(self.norm(f"{name}.residual.0", x)), padding=1)
        y = self.conv(f"{name}.residual.6", f.silu(self.norm(f"{name}.residual.3", y)), padding=1)
        return y + (self.conv(f"{name}.shortcut", x) if f"{name}.shortcut.weight" in self.names else x)

    def mixing(self, name, x):
        y = self.conv(f"{name}.to_qkv", self.norm(f"{name}.norm", x)).flatten(2).transpose(1, 2)
        seen = f.scaled_dot_product_attention(*y.chunk(3, -1)).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.conv(f"{name}.proj", seen)

    def forward(self, picture):
        """`[1, 3, H, W]` to `[1, z, h, w]`."""
        p, (_, c, h, w) = self.c["patch"], picture.shape
        x = picture.reshape(1, c, h // p, p, w // p, p).permute(0, 1, 5, 3, 2, 4).reshape(1, -1, h // p, w // p)
        x = self.conv("encoder.conv1", x.contiguous(memory_format=torch.channels_last), padding=1)
        at = 0
        for n in range(len(self.c["dim_mult"])):
            for _ in range(self.c["num_res_blocks"]):
                x, at = self.residual(f"encoder.downsamples.{at}", x), at + 1
            if n + 1 < len(self.c["dim_mult"]):
                x = self.conv(f"encoder.downsamples.{at}.resample.1", f.pad(x, (0, 1, 0, 1)), stride=2)
                at += 1
        x = self.residual("encoder.middle.0", x)
        x = self.residual("encoder.middle.2", self.mixing("encoder.middle.1", x))
        x = self.conv("encoder.head.2", f.silu(self.norm("encoder.head.0", x)), padding=1)
        return (self.conv("conv1", x)[:, : self.c["z_dim"]] - self.mean) / self.std


class Networks:
    """The networks with what they are asked: the middle chunk of the second shot."""

    CHUNK, CONTEXT = 3, 6

    def __init__(self, config, weights, dtype, compiled, large=False):
        self.dtype, recipe, dit = dtype, config["recipe"], config["dit"]
        part = lambda name: {k[len(name) :]: v for k, v in weights.items() if k.startswith(name)}
        self.dit = Dit(dit, part("dit.")).to(dtype)
        self.encoder = Encoder(config["vae"], part("vae.")).to(dtype)
        height, width = recipe["geometry"]["pixels"]
        shape = dit["in_dim"], height // 8, width // 8
        rows, columns = height // 16, width // 16
        latents = lambda n, start: numbers(n * math.prod(shape), start).view(n, *shape).to(dtype)
        text = numbers(dit["text_len"] * dit["text_dim"], 7).view(dit["text_len"], -1)
        self.text = self.dit.read(text, dtype)
        before = recipe["window_latent_frames"] // self.CHUNK // 2 * self.CHUNK
        places = self.CONTEXT + before + self.CHUNK
        room = lambda: torch.zeros(self.dit.heads, places * rows * columns, self.dit.width, dtype=dtype)
        self.memory = [(room(), room()) for _ in range(dit["num_layers"])]
        self.past = (self.CONTEXT + before) * rows * columns
        self.steps, self.at_once = recipe["denoising_steps"], 1 if large else self.CHUNK
        self.asked = {t: self.dit.asked(t, dtype) for t in (0, 737.5, *self.steps)}
        rope = lambda first, count, phase: self.dit.rope(range(first, first + count), phase, rows, columns, dtype)
        self.first_rope, self.rope = rope(0, self.CONTEXT, 0), rope(places - self.CHUNK, self.CHUNK, 1)
        self.remembered, self.latents = latents(self.CONTEXT, 1), latents(self.CHUNK, 3)
        self.picture = numbers(3 * height * width, 5).view(1, 3, height, width).to(dtype)
        if large:
            # It would take minutes, and what is remembered makes no difference to the time.
            for kept in (half for pair in self.memory for half in pair):
                kept.normal_()
        else:
            self.context()
        for at in range(0, 0 if large else before, self.CHUNK):
            past = (self.CONTEXT + at) * rows * columns
            here = rope(self.CONTEXT + at, self.CHUNK, 1)
            self.dit(latents(self.CHUNK, 2 + at), self.asked[0], here, self.text, self.memory, past, False)
        layouts = LAYOUTS[:1] if large else LAYOUTS
        decoders = [self.laid_out(config["vae"], part("vae."), layout, latents(1, 4)) for layout in layouts]
        _, self.decoder, self.kept = min(decoders, key=lambda timed: timed[0])
        if compiled:
            # Every network is one graph, of fixed sizes: one for each of the passes there are.
            torch._dynamo.config.recompile_limit = 64
            how = {"fullgraph": True, "dynamic": False}
            self.dit, self.decoder, self.encoder = (
                torch.compile(network, **how) for network in (self.dit, self.decoder, self.encoder)
            )

    def laid_out(self, config, weights, layout, first):
        """Seconds of a run, a decoder whose convolutions are laid out like this, and what it keeps."""
        decoder = Decoder(config, layout)
        wanted = decoder.state_dict().keys()
        decoder.load_state_dict({k: v.float() for k, v in weights.items() if k in wanted}, strict=True)
        decoder.to(self.dtype)
        for module in decoder.modules():
            if layout == torch.channels_last_3d and isinstance(module, (nn.Conv2d, nn.Conv3d)):
                module.to(memory_format=layout if isinstance(module, nn.Conv3d) else torch.channels_last)
        kept, times = self.begin(decoder, first), []
        for _ in range(2):
            start = time.perf_counter()
            decoder(self.latents[: self.at_once], kept)
            times.append(time.perf_counter() - start)
        return min(times), decoder, kept

    @staticmethod
    def begin(decoder, latents):
        """What the convolutions keep behind the first latent frame of a stream."""
        d, kept = decoder.decoder, []
        before = lambda x: x.new_zeros(*x.shape[:2], 2, *x.shape[3:]).contiguous(memory_format=decoder.layout)

        def precede(conv, args):
            if conv.kernel_size[0] > 1:
                args[1].insert(0, before(args[0]))

        hooks = [m.register_forward_pre_hook(precede) for m in decoder.modules() if isinstance(m, Conv)]
        x = latents.transpose(0, 1)[None] * decoder.std + decoder.mean
        x = d.conv1(decoder.conv2(x.contiguous(memory_format=decoder.layout)), kept)
        for part in [*d.middle, *d.upsamples]:
            doubling = getattr(part, "time_conv", None)
            if doubling is not None:
                # The first frame is not doubled, and the next does not see it.
                kept.append(before(x))
                part.time_conv = None
            x = part(x, kept)
            if doubling is not None:
                part.time_conv = doubling
        d.head["2"](f.silu(d.head["0"](x)), kept)
        for hook in hooks:
            hook.remove()
        return kept

    def context(self):
        self.dit(self.remembered, self.asked[0], self.first_rope, self.text, self.memory, 0, False)

    def denoise(self, latents=None, timestep=737.5):
        latents = self.latents if latents is None else latents
        return self.dit(latents, self.asked[timestep], self.rope, self.text, self.memory, self.past, True)

    def commit(self, latents=None):
        latents = self.latents if latents is None else latents
        self.dit(latents, self.asked[0], self.rope, self.text, self.memory, self.past, False)

    def decode(self, latents=None):
        pixels = []
        for some in (self.latents if latents is None else latents).split(self.at_once):
            frames, self.kept = self.decoder(some, self.kept)
            pixels.append(frames)
        return torch.cat(pixels)

    def encode(self):
        return self.encoder(self.picture)

    def chunk(self):
        latents = self.latents
        for step in self.steps:
            latents = latents - 0.25 * self.denoise(latents, step)
        self.commit(latents)
        return self.decode(latents)
