"""Goldens of the small decoder for previews.

    pip install -r tools/goldens/requirements.txt
    python tools/goldens/taehv.py          # writes testdata/taehv/*

`weights.safetensors` is a decoder of small widths with seeded weights under the names of the
published files, and a tensor of an encoder, which is passed over. `cases.safetensors` has latents
of seven frames and what they decode to, in float64: every convolution here is a sum over shifted
pictures, and every block sees a whole clip beside the same clip one frame later, so that nothing
is shared with a program that streams.
"""

import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parents[2] / "testdata" / "taehv"
LATENT, WIDTHS, TIMES, FRAMES, SIZE = 16, (12, 8, 6, 6), (1, 2, 2), 7, (3, 4)


def seeded():
    generator = torch.Generator().manual_seed(3)

    def draw(*shape, scale):
        return (torch.randn(*shape, generator=generator) * scale).float()

    def conv(name, outputs, inputs, side, bias):
        weights[f"{name}.weight"] = draw(
            outputs, inputs, side, side, scale=(2 / (inputs * side * side)) ** 0.5
        )
        if bias:
            weights[f"{name}.bias"] = draw(outputs, scale=0.1)

    weights = {"encoder.0.weight": draw(4, 3, 3, 3, scale=0.1)}
    conv("decoder.1", WIDTHS[0], LATENT, 3, True)
    index = 3
    for stage, times in enumerate(TIMES):
        width, following = WIDTHS[stage], WIDTHS[stage + 1]
        for block in range(index, index + 3):
            conv(f"decoder.{block}.conv.0", width, 2 * width, 3, True)
            conv(f"decoder.{block}.conv.2", width, width, 3, True)
            conv(f"decoder.{block}.conv.4", width, width, 3, True)
        # The first stage is stored with twice the frames it is to make, as some published files are.
        stored = 2 if stage == 0 else times
        conv(f"decoder.{index + 4}.conv", stored * width, width, 1, False)
        conv(f"decoder.{index + 5}", following, width, 3, False)
        index += 6
    conv(f"decoder.{index + 1}", 3, WIDTHS[3], 3, True)
    # Most of what comes out shall lie between black and white.
    weights[f"decoder.{index + 1}.weight"] *= 0.01
    weights[f"decoder.{index + 1}.bias"] += 0.5
    return weights


def convolve(frames, weight, bias=None):
    """A centred convolution as a sum over shifted pictures; `[T, C, h, w]`."""
    side = weight.shape[-1]
    margin = side // 2
    padded = F.pad(frames, (margin,) * 4)
    height, width = frames.shape[-2:]
    total = 0
    for row in range(side):
        for column in range(side):
            shifted = padded[..., row : row + height, column : column + width]
            total = total + torch.einsum("tihw,oi->tohw", shifted, weight[:, :, row, column])
    return total if bias is None else total + bias.view(1, -1, 1, 1)


def decode(weights, latents):
    """Latents `[z, F, h, w]` to frames `[3, T, 8 h, 8 w]` in [0, 1]."""
    get = lambda name: weights[f"decoder.{name}"].double()
    frames = (latents.double().transpose(0, 1) / 3).tanh() * 3
    frames = convolve(frames, get("1.weight"), get("1.bias")).relu()
    index = 3
    for times in TIMES:
        for block in range(index, index + 3):
            before = torch.cat([torch.zeros_like(frames[:1]), frames[:-1]])
            inner = torch.cat([frames, before], 1)
            for place in (0, 2, 4):
                names = f"{block}.conv.{place}.weight", f"{block}.conv.{place}.bias"
                inner = convolve(inner, *map(get, names))
                inner = inner if place == 4 else inner.relu()
            frames = (frames + inner).relu()
        frames = frames.repeat_interleave(2, -1).repeat_interleave(2, -2)
        width = frames.shape[1]
        grown = convolve(frames, get(f"{index + 4}.conv.weight")[-times * width :])
        frames = torch.stack(grown.split(width, 1), 1).flatten(0, 1)
        frames = convolve(frames, get(f"{index + 5}.weight"))
        index += 6
    frames = convolve(frames.relu(), get(f"{index + 1}.weight"), get(f"{index + 1}.bias"))
    return frames[3:].clamp(0, 1).transpose(0, 1)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    weights = seeded()
    generator = torch.Generator().manual_seed(4)
    latents = torch.randn(LATENT, FRAMES, *SIZE, generator=generator) * 2
    frames = decode(weights, latents)
    save_file(weights, OUT / "weights.safetensors")
    cases = {"latents": latents, "frames": frames.float().contiguous()}
    save_file(cases, OUT / "cases.safetensors")
    share = ((frames > 0) & (frames < 1)).double().mean()
    assert 0.2 < share, f"only {share} of the values are not cut off"


if __name__ == "__main__":
    main()
