"""Goldens of a whole story: three shots of a tiny model with given noise, from captions to frames.

    pip install -r tools/goldens/requirements.txt
    python tools/goldens/rollout.py        # writes testdata/rollout/*

`model.safetensors` is a bundle of seeded weights, `story.json` what is told with it,
`noise.safetensors` every noise tensor, and `expected.safetensors` what comes out: latents,
context latents, frames, and where every latent frame sits. The text encoder is run by
transformers and the VAE by diffusers; the transformer is that of `dit.py`. The story is told the
way the released program tells it: every context frame is encoded again from its pixels, phases
are absolute shot numbers, all captions so far go through every pass, a shot is decoded at once.

Letters: S shots, F latent frames of a shot, C latent channels, h, w latent height and width,
T pixel frames of a shot, L tokens of a caption.
"""

import json
import pathlib

import torch
from safetensors.torch import save, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

import dit
import text
import vae

CONTEXT, CHUNK, CHUNKS = 6, 3, 2
FRAMES, PIXEL_FRAMES = CHUNK * CHUNKS, 1 + 4 * (CHUNK * CHUNKS - 1)
LATENT_SIZE = 2 * dit.ROWS, 2 * dit.COLUMNS
STEPS, SHIFT = [1000, 740, 500, 260], 8.0
CAPTION_TOKENS = 17
OUT = pathlib.Path(__file__).resolve().parents[2] / "testdata" / "rollout"

STORY = {
    "global_caption": "Snow  in a forest.",
    "shot1": "A red fox waves “hello”.",
    "shot2": "A zebra meets the fox",  # nobody taught the tokenizer zebras
    "shot3": "and the fox waves and walks home in snow",  # longer than a caption may be
}
WORDS = ". : \" 0 1 2 a and forest fox hello home in meets red shot snow the walks waves".split()

VAE = {
    "dim": 2,
    "decoder_dim": 2,
    "z_dim": dit.CHANNELS,
    "dim_mult": [1, 2, 2],
    "num_res_blocks": 1,
    "temporal_downsample": [True, True],
    "patch": 2,
    "latents_mean": [0.25, -0.5, 0.125, 0.0],
    "latents_std": [1.5, 0.75, 1.25, 1.0],
}
CONFIG = {
    "dit": {
        "dim": dit.DIM,
        "ffn_dim": dit.FFN,
        "freq_dim": dit.FREQ,
        "num_heads": dit.HEADS,
        "num_layers": dit.LAYERS,
        "in_dim": dit.CHANNELS,
        "out_dim": dit.CHANNELS,
        "patch_size": [1, 2, 2],
        "text_dim": text.DIM,
        "text_len": CAPTION_TOKENS,
        "eps": dit.EPS,
        "shot_phase": dit.THETA,
    },
    "vae": VAE,
    "text": {
        "vocab_size": text.VOCAB,
        "dim": text.DIM,
        "dim_attn": text.HEADS * text.HEAD_WIDTH,
        "dim_ffn": text.FFN,
        "num_heads": text.HEADS,
        "num_layers": text.LAYERS,
        "num_buckets": text.BUCKETS,
        "max_distance": text.FARTHEST,
    },
    "recipe": {
        "denoising_steps": STEPS,
        "shift": SHIFT,
        "context_frames": CONTEXT,
        "window_latent_frames": FRAMES,
        "shot_frames": PIXEL_FRAMES,
        "frames_per_second": 16,
        "shot_phase_radians": dit.THETA,
        "geometry": {
            "pixels": [8 * size for size in LATENT_SIZE],
            "vae_stride": [4, 8, 8],
            "patch": [2, 2],
            "chunk": CHUNK,
        },
    },
}


def word_tokenizer():
    """Lowercase words, single digits and punctuation marks; 0 pads, 1 ends, 2 is unknown."""
    vocabulary = {word: id for id, word in enumerate(["[PAD]", "</s>", "[UNK]"] + WORDS)}
    assert len(vocabulary) <= text.VOCAB
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.Punctuation("isolated"),
        pre_tokenizers.Digits(individual_digits=True),
    ])  # fmt: skip
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return tokenizer


def embed(tokenizer, encoder):
    """Embeddings of every shot's prompt, `[1, S, L, D]`; rows past its end are zero."""
    prompts = [
        f"{STORY['global_caption']}shot{shot}:{STORY[f'shot{shot + 1}']}" for shot in range(3)
    ]
    tokenizer.enable_truncation(CAPTION_TOKENS)
    tokenizer.enable_padding(length=CAPTION_TOKENS)
    read = tokenizer.encode_batch([text.clean(prompt) for prompt in prompts])
    assert 2 in read[1].ids and len(read[2].overflowing) == 1
    ids = torch.tensor([encoding.ids for encoding in read])
    mask = torch.tensor([encoding.attention_mask for encoding in read])
    hidden = encoder(input_ids=ids, attention_mask=mask).last_hidden_state
    return (hidden * mask[..., None])[None]


def noise_levels():
    """Timesteps and sigmas of the denoising steps, from a table of 1000 in float32."""
    plain = torch.linspace(1, 0, 1001)[:-1]
    sigmas = SHIFT * plain / (1 + (SHIFT - 1) * plain)
    chosen = sigmas[[1000 - step for step in STEPS]]
    return (1000 * chosen).double(), chosen.double()


def remembered(shots):
    """The context of the shot after `shots` others: pairs of shot and frame, in story order."""
    share, rest = divmod(CONTEXT, shots)
    frames = []
    for shot in range(shots):
        count = share + (shots - rest <= shot)
        start = shot * PIXEL_FRAMES
        points = torch.linspace(start, start + PIXEL_FRAMES - 1, count).round().long() - start
        frames += [(shot, int(frame)) for frame in points]
    return frames


def place(shot, context):
    """Position, phase and caption of every latent frame of the context and then of the shot."""
    flags = [s for s, _ in context] or [0] * CONTEXT
    assert len(flags) == CONTEXT
    # The first shot follows a context of its own number: its phase is one ahead of its caption.
    slots = [(position, flag, flag) for position, flag in enumerate(flags)]
    return slots + [(CONTEXT + i, flags[-1] + 1, shot) for i in range(FRAMES)]


class Story:
    """What was made so far, and the networks that make more."""

    def __init__(self, network, coder, captions, noise):
        self.network, self.coder, self.captions, self.noise = network, coder, captions, noise
        statistics = (torch.tensor(VAE[f"latents_{s}"]).double() for s in ("mean", "std"))
        self.mean, self.std = (s[None, :, None, None, None] for s in statistics)
        self.films = []

    def recall(self, context):
        """Latents `[1, C, 6, h, w]` of frames of earlier shots, each encoded by itself."""
        if not context:
            return torch.zeros(1, dit.CHANNELS, CONTEXT, *LATENT_SIZE, dtype=torch.float64)
        pictures = torch.stack([self.films[shot][frame] for shot, frame in context])
        latents = self.coder.encode(pictures[:, :, None]).latent_dist.mean
        return ((latents - self.mean) / self.std)[:, :, 0].transpose(0, 1)[None]

    def shoot(self, shot, context, slots):
        """Clean latents `[1, C, F, h, w]` of a shot."""
        timesteps, sigmas = noise_levels()
        captions = self.captions[:, : shot + 1]

        def run(latents, timestep, slots, memory=None):
            timesteps = torch.full((1, len(slots)), float(timestep), dtype=torch.float64)
            return self.network.run(latents, timesteps, slots, captions, memory=memory)

        memory = [run(context, 0, slots[:CONTEXT])[1]]
        chunks = []
        for chunk in range(CHUNKS):
            frames = slice(chunk * CHUNK, (chunk + 1) * CHUNK)
            here = slots[CONTEXT:][frames]
            latents = self.draw(f"shot{shot}.initial")[:, :, frames]
            for step, (timestep, sigma) in enumerate(zip(timesteps, sigmas)):
                velocity, _ = run(latents, timestep, here, memory)
                clean = latents - sigma * velocity
                if step + 1 < len(STEPS):
                    fresh = self.draw(f"shot{shot}.chunk{chunk}.step{step + 1}")
                    latents = (1 - sigmas[step + 1]) * clean + sigmas[step + 1] * fresh
            memory.append(run(clean, 0, here, memory)[1])
            chunks.append(clean)
        return torch.cat(chunks, 2)

    def draw(self, name):
        """Given noise `[F, C, h, w]` as latents `[1, C, F, h, w]`."""
        return self.noise[name].double().transpose(0, 1)[None]

    def develop(self, latents):
        """Frames `[T, 3, H, W]` of a shot, in [-1, 1]."""
        return self.coder.decode(latents * self.std + self.mean).sample[0].transpose(0, 1)


def given_noise(generator):
    shapes = {}
    for shot in range(3):
        shapes[f"shot{shot}.initial"] = FRAMES
        for chunk in range(CHUNKS):
            for step in range(1, len(STEPS)):
                shapes[f"shot{shot}.chunk{chunk}.step{step}"] = CHUNK
    return {
        name: torch.randn(frames, dit.CHANNELS, *LATENT_SIZE, generator=generator)
        for name, frames in shapes.items()
    }


def save_bundle(weights, metadata, path):
    """As `save_file`, which writes its metadata in another order every time."""
    data = save(weights, metadata=metadata)
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start]) | {"__metadata__": metadata}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[start:])


def tell(story):
    expected = {}
    for shot in range(3):
        context = remembered(shot) if shot else []
        slots = place(shot, context)
        seen = story.recall(context)
        latents = story.shoot(shot, seen, slots)
        frames = story.develop(latents)
        story.films.append(frames)
        frame_major = lambda latents: latents[0].transpose(0, 1).float()
        expected[f"shot{shot}.latents"] = frame_major(latents)
        expected[f"shot{shot}.context"] = frame_major(seen)
        # Half the size, and within 0.00025 of the value.
        expected[f"shot{shot}.frames"] = frames.half()
        expected[f"shot{shot}.slots"] = torch.tensor(slots)
        expected[f"shot{shot}.remembered"] = torch.tensor(context).reshape(-1, 2)
    return expected


@torch.no_grad()
def main():
    generator = torch.Generator().manual_seed(20260325)
    network = dit.seeded_weights(generator, text_dim=text.DIM)
    words = text.seeded_weights(generator)
    coder = vae.network(VAE)
    vae.seed(coder, generator)
    coder.decoder.conv_out.weight.mul_(4)  # a few pixels in a hundred leave [-1, 1]
    pictures = {
        vae.official_name(name, VAE["num_res_blocks"] + 1): weight.clone()
        for name, weight in coder.state_dict().items()
    }
    tokenizer, noise = word_tokenizer(), given_noise(generator)
    metadata = {
        "format": "shotstream-bundle-1",
        "config": json.dumps(CONFIG),
        "tokenizer": tokenizer.to_str(),
    }
    captions = embed(tokenizer, text.encoder(words))
    expected = tell(Story(dit.Network(network), coder.double(), captions, noise))

    OUT.mkdir(parents=True, exist_ok=True)
    parts = {"dit": network, "text": words, "vae": pictures}
    weights = {
        f"{part}.{name}": weight.float().contiguous()
        for part, tensors in parts.items()
        for name, weight in tensors.items()
    }
    contiguous = lambda tensors: {name: tensor.contiguous() for name, tensor in tensors.items()}
    save_bundle(weights, metadata, OUT / "model.safetensors")
    save_file(contiguous(noise), OUT / "noise.safetensors")
    save_file(contiguous(expected), OUT / "expected.safetensors")
    (OUT / "story.json").write_text(json.dumps(STORY, indent=1) + "\n")


if __name__ == "__main__":
    main()
