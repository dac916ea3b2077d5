"""The causal VAE in plain PyTorch, under the names of the model file.

Letters: B samples, F frames, C channels.
"""

import torch
import torch.nn.functional as f
from torch import nn


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
