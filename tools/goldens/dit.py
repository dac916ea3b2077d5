"""Goldens of the diffusion transformer: a tiny network with seeded weights, and what it answers.

    pip install -r tools/goldens/requirements.txt
    python tools/goldens/dit.py            # writes testdata/dit/*.safetensors

Two sources of truth. `diffusers` runs the plain network: one caption, one timestep, every frame
sees every frame. Everything it cannot do (shot phase, a timestep and a caption for each frame,
block-causal attention, passes over caches) is written below a second time, directly from the
description of the method and in float64; on the plain case both must agree.

Letters: B clips, F latent frames, S tokens of a frame, L = F*S, N heads, H head width, D = N*H,
K captions, T tokens of a caption.
"""

import math
import pathlib

import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import save_file

DIM, HEADS, FFN, FREQ, LAYERS = 32, 2, 48, 16, 3
CHANNELS, TEXT_DIM, TEXT_LEN, EPS, THETA = 4, 12, 5, 1e-6, 1 / 6
ROWS, COLUMNS = 2, 3  # tokens of a frame; latents are twice that
CONTEXT, CHUNK, CHUNKS = 2, 2, 2
FRAMES = CONTEXT + CHUNK * CHUNKS
OUT = pathlib.Path(__file__).resolve().parents[2] / "testdata" / "dit"


def seeded_weights(generator, text_dim=TEXT_DIM):
    def normal(*shape, scale):
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * scale

    weights = {}

    def linear(name, out, into):
        weights[f"{name}.weight"] = normal(out, into, scale=into**-0.5)
        weights[f"{name}.bias"] = normal(out, scale=0.2)

    weights["patch_embedding.weight"] = normal(DIM, CHANNELS, 1, 2, 2, scale=(4 * CHANNELS) ** -0.5)
    weights["patch_embedding.bias"] = normal(DIM, scale=0.2)
    linear("text_embedding.0", DIM, text_dim)
    linear("text_embedding.2", DIM, DIM)
    linear("time_embedding.0", DIM, FREQ)
    linear("time_embedding.2", DIM, DIM)
    linear("time_projection.1", 6 * DIM, DIM)
    for n in range(LAYERS):
        block = f"blocks.{n}"
        weights[f"{block}.modulation"] = normal(1, 6, DIM, scale=0.5)
        for attention in ("self_attn", "cross_attn"):
            for part in "qkvo":
                linear(f"{block}.{attention}.{part}", DIM, DIM)
            for norm in ("norm_q", "norm_k"):
                weights[f"{block}.{attention}.{norm}.weight"] = 1 + normal(DIM, scale=0.3)
        weights[f"{block}.norm3.weight"] = 1 + normal(DIM, scale=0.3)
        weights[f"{block}.norm3.bias"] = normal(DIM, scale=0.3)
        linear(f"{block}.ffn.0", FFN, DIM)
        linear(f"{block}.ffn.2", DIM, FFN)
    weights["head.modulation"] = normal(1, 2, DIM, scale=0.5)
    linear("head.head", 4 * CHANNELS, DIM)
    # What is stored is f32; both sources start from exactly that.
    return {name: tensor.float().double() for name, tensor in weights.items()}


def diffusers_name(name):
    for ours, theirs in [
        ("text_embedding.0.", "condition_embedder.text_embedder.linear_1."),
        ("text_embedding.2.", "condition_embedder.text_embedder.linear_2."),
        ("time_embedding.0.", "condition_embedder.time_embedder.linear_1."),
        ("time_embedding.2.", "condition_embedder.time_embedder.linear_2."),
        ("time_projection.1.", "condition_embedder.time_proj."),
        ("head.modulation", "scale_shift_table"),
        ("head.head.", "proj_out."),
        (".self_attn.o.", ".attn1.to_out.0."),
        (".cross_attn.o.", ".attn2.to_out.0."),
        (".self_attn.norm", ".attn1.norm"),
        (".cross_attn.norm", ".attn2.norm"),
        (".self_attn.", ".attn1.to_"),
        (".cross_attn.", ".attn2.to_"),
        (".norm3.", ".norm2."),
        (".ffn.0.", ".ffn.net.0.proj."),
        (".ffn.2.", ".ffn.net.2."),
        (".modulation", ".scale_shift_table"),
    ]:
        if ours in name:
            return name.replace(ours, theirs)
    return name


def diffusers_velocity(weights, latents, timestep, caption):
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=HEADS, attention_head_dim=DIM // HEADS,
        in_channels=CHANNELS, out_channels=CHANNELS, text_dim=TEXT_DIM, freq_dim=FREQ,
        ffn_dim=FFN, num_layers=LAYERS, cross_attn_norm=True,
        qk_norm="rms_norm_across_heads", eps=EPS, rope_max_seq_len=64,
    ).double()  # fmt: skip
    model.load_state_dict({diffusers_name(n): w for n, w in weights.items()}, strict=True)
    with torch.no_grad():
        return model(latents, timestep, caption, return_dict=False)[0]


class Network:
    """The network once more, one equation a line, over tokens with any attention mask."""

    def __init__(self, weights):
        self.w = weights

    def linear(self, name, x):
        return x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"]

    def rms(self, name, x):
        return x / (x.square().mean(-1, keepdim=True) + EPS).sqrt() * self.w[f"{name}.weight"]

    def heads(self, x):
        return x.unflatten(-1, (HEADS, DIM // HEADS))

    def angles(self, slots):
        pairs = DIM // HEADS // 2
        space = pairs // 3
        time = pairs - 2 * space

        def ladder(position, count):
            return position * 10000.0 ** (-torch.arange(count, dtype=torch.float64) / count)

        rows = []
        for position, phase, _ in slots:
            offset = float(torch.tensor(phase, dtype=torch.int32) * THETA)
            for row in range(ROWS):
                for column in range(COLUMNS):
                    axes = ladder(position, time) + offset, ladder(row, space), ladder(column, space)
                    rows.append(torch.cat(axes))
        return torch.stack(rows)

    def rotate(self, x, angles):
        z = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        turn = torch.polar(torch.ones_like(angles), angles)[None, :, None, :]
        return torch.view_as_real(z * turn).flatten(-2)

    def attend(self, q, k, v, allowed=None):
        scores = torch.einsum("blnh,bmnh->bnlm", q, k) / math.sqrt(DIM // HEADS)
        if allowed is not None:
            scores = scores.masked_fill(~allowed, -math.inf)
        return torch.einsum("bnlm,bmnh->blnh", scores.softmax(-1), v).flatten(-2)

    def embed_time(self, timesteps):
        half = FREQ // 2
        omega = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = timesteps.double()[..., None] * omega
        s = torch.cat([angle.cos(), angle.sin()], -1)
        silu = torch.nn.functional.silu
        e = self.linear("time_embedding.2", silu(self.linear("time_embedding.0", s)))
        return e, self.linear("time_projection.1", silu(e)).unflatten(-1, (6, DIM))

    def run(self, latents, timesteps, slots, captions, allowed=None, memory=None):
        """Velocity, and every block's own keys and values; `memory` holds those of the past."""
        gelu = lambda x: torch.nn.functional.gelu(x, approximate="tanh")
        norm = lambda x: torch.nn.functional.layer_norm(x, (DIM,), eps=EPS)
        batch, _, frames, height, width = latents.shape
        patches = torch.nn.functional.conv3d(
            latents, self.w["patch_embedding.weight"], self.w["patch_embedding.bias"], stride=(1, 2, 2)
        )
        x = patches.flatten(2).transpose(1, 2)
        per_token = lambda m: m.repeat_interleave(ROWS * COLUMNS, 1)
        e, e0 = self.embed_time(timesteps)
        text = self.linear("text_embedding.2", gelu(self.linear("text_embedding.0", captions)))
        angles = self.angles(slots)
        own = []
        for n in range(LAYERS):
            b = f"blocks.{n}"
            m = per_token(self.w[f"{b}.modulation"][:, None] + e0).unbind(2)
            a = f"{b}.self_attn"
            h = norm(x) * (1 + m[1]) + m[0]
            q = self.rotate(self.heads(self.rms(f"{a}.norm_q", self.linear(f"{a}.q", h))), angles)
            k = self.rotate(self.heads(self.rms(f"{a}.norm_k", self.linear(f"{a}.k", h))), angles)
            v = self.heads(self.linear(f"{a}.v", h))
            own.append((k, v))
            if memory is not None:
                k = torch.cat([past[n][0] for past in memory] + [k], 1)
                v = torch.cat([past[n][1] for past in memory] + [v], 1)
            x = x + m[2] * self.linear(f"{a}.o", self.attend(q, k, v, allowed))
            a = f"{b}.cross_attn"
            h = norm(x) * self.w[f"{b}.norm3.weight"] + self.w[f"{b}.norm3.bias"]
            q = self.heads(self.rms(f"{a}.norm_q", self.linear(f"{a}.q", h)))
            seen = []
            for frame, (_, _, caption) in enumerate(slots):
                c = text[:, caption]
                k = self.heads(self.rms(f"{a}.norm_k", self.linear(f"{a}.k", c)))
                v = self.heads(self.linear(f"{a}.v", c))
                tokens = slice(frame * ROWS * COLUMNS, (frame + 1) * ROWS * COLUMNS)
                seen.append(self.attend(q[:, tokens], k, v))
            x = x + self.linear(f"{a}.o", torch.cat(seen, 1))
            h = norm(x) * (1 + m[4]) + m[3]
            x = x + m[5] * self.linear(f"{b}.ffn.2", gelu(self.linear(f"{b}.ffn.0", h)))
        shift, scale = per_token(self.w["head.modulation"][:, None] + e[:, :, None]).unbind(2)
        y = self.linear("head.head", norm(x) * (1 + scale) + shift)
        y = y.reshape(batch, frames, ROWS, COLUMNS, 1, 2, 2, CHANNELS)
        y = torch.einsum("bfhwpqrc->bcfphqwr", y).reshape(batch, CHANNELS, frames, height, width)
        return y, own


def frame_mask(labels):
    label = torch.tensor(labels).repeat_interleave(ROWS * COLUMNS)
    return label[:, None] >= label[None, :]


def main():
    generator = torch.Generator().manual_seed(2603)
    weights = seeded_weights(generator)
    network = Network(weights)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).float().double()

    latents = normal(2, CHANNELS, FRAMES, 2 * ROWS, 2 * COLUMNS)
    captions = normal(2, 3, TEXT_LEN, TEXT_DIM)
    cases = {"latents": latents, "captions": captions}

    # diffusers builds its sinusoid in f32: small timesteps keep that exact enough to compare.
    timestep = torch.tensor([12.5, 80.0], dtype=torch.float64)
    plain = diffusers_velocity(weights, latents, timestep, captions[:, 0])
    zero_phase = [(frame, 0, 0) for frame in range(FRAMES)]
    ours, _ = network.run(latents, timestep[:, None].expand(2, FRAMES), zero_phase, captions)
    assert (plain - ours).abs().max() < 1e-5, (plain - ours).abs().max()
    cases |= {"plain.timesteps": timestep[:, None].repeat(1, FRAMES), "plain.velocity": plain}

    slots = [(0, 3, 0), (1, 4, 2), (6, 5, 1), (7, 5, 1), (8, 5, 1), (9, 5, 1)]
    timesteps = torch.tensor(
        [[0, 0, 957.9288, 957.9288, 737.5886, 737.5886], [3, 17, 1000, 421, 88.5, 260]]
    ).double()
    cases |= {"slots": torch.tensor(slots), "timesteps": timesteps}
    cases["bidirectional.velocity"], _ = network.run(latents, timesteps, slots, captions)

    labels = [0] * CONTEXT + [1 + i // CHUNK for i in range(CHUNK * CHUNKS)]
    cases["labels"] = torch.tensor(labels)
    cases["causal.velocity"], _ = network.run(
        latents, timesteps, slots, captions, frame_mask(labels)
    )

    first, second = slice(CONTEXT, CONTEXT + CHUNK), slice(CONTEXT + CHUNK, FRAMES)
    clean = torch.zeros(2, CHUNK, dtype=torch.float64)
    _, context = network.run(latents[:, :, :CONTEXT], clean, slots[:CONTEXT], captions)
    cases["cached.first"], _ = network.run(
        latents[:, :, first], timesteps[:, first], slots[first], captions, memory=[context]
    )
    _, local = network.run(latents[:, :, first], clean, slots[first], captions, memory=[context])
    cases["cached.second"], _ = network.run(
        latents[:, :, second], timesteps[:, second], slots[second], captions,
        memory=[context, local],
    )  # fmt: skip

    OUT.mkdir(parents=True, exist_ok=True)
    single = lambda t: t.float().contiguous() if t.is_floating_point() else t
    save_file({name: single(t) for name, t in weights.items()}, OUT / "weights.safetensors")
    save_file({name: single(t) for name, t in cases.items()}, OUT / "cases.safetensors")


if __name__ == "__main__":
    main()
