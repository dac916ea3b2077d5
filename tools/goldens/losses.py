"""Goldens of the training losses: what every stage minimises, and its gradient, on drawn batches.

    pip install -r tools/goldens/requirements.txt
    python tools/goldens/losses.py         # writes testdata/losses/*.safetensors

`model.safetensors` is a bundle of seeded weights; `scores.safetensors` holds two more transformers,
a teacher and a critic. Each stage has a file with the batch it is given, its loss, and the gradient
of every parameter that learns under the parameter's official name. `optimizer.safetensors` is a few
parameters, their gradients in three updates, and what they and their averages become. Transformer and rollout are the
forms of `dit.py`, in float64; the text encoder is that of transformers, the VAE that of diffusers.

Letters: B samples, N captions, L tokens of a caption, F latent frames, C latent channels, h, w
latent height and width, T pixel frames.
"""

import copy
import json
import pathlib

import torch
from safetensors.torch import save_file

import dit
import rollout
import text
import vae

CONTEXT, CHUNK, CHUNKS, WINDOW = 6, 3, 3, 2  # the window is two chunks: the third forgets the first
FRAMES = CHUNK * CHUNKS
SAMPLES, CAPTIONS, TOKENS = 2, 3, 17
SIZE = rollout.LATENT_SIZE
GUIDANCE = 2.5
ERRORS = {"absolute": 1.0, "squared": 0.5, "differences": 0.5}
DIVERGENCE = 0.05
ADAMW_LR, MUON_LR, DECAY, CLIP, EMA = 0.02, 0.05, 0.1, 1.0, 0.9
OUT = pathlib.Path(__file__).resolve().parents[2] / "testdata" / "losses"

VAE = rollout.VAE | {"dim": 4, "decoder_dim": 4}
CONFIG = copy.deepcopy(rollout.CONFIG)
CONFIG["vae"] = VAE
CONFIG["recipe"] |= {"window_latent_frames": CHUNK * WINDOW, "shot_frames": 4 * FRAMES - 3}

# The third shot after three frames of each of two shots: position, phase and caption of a frame.
PAST = [(place, place // 3, place // 3) for place in range(CONTEXT)]
SLOTS = PAST + [(CONTEXT + frame, 2, 2) for frame in range(FRAMES)]


class Drawer:
    """Numbers of a batch, rounded to what is stored of them."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape, scale=1.0):
        drawn = torch.randn(*shape, generator=self.generator, dtype=torch.float64)
        return (drawn * scale).float().double()

    def latents(self, frames):
        return self.normal(SAMPLES, dit.CHANNELS, frames, *SIZE)

    def ids(self, captions):
        """Ids and lengths of captions that end before the row does."""
        rows = SAMPLES * captions
        lengths = torch.randint(4, TOKENS + 1, (rows,), generator=self.generator)
        ids = torch.randint(3, text.VOCAB, (rows, TOKENS), generator=self.generator)
        present = torch.arange(TOKENS)[None] < lengths[:, None]
        return ids * present, lengths


def embed(encoder, ids, lengths):
    """Embeddings `[B, N, L, D]`, zero past the end of a caption."""
    present = (torch.arange(TOKENS)[None] < lengths[:, None]).double()
    hidden = encoder(input_ids=ids, attention_mask=present).last_hidden_state
    return (hidden * present[..., None]).unflatten(0, (SAMPLES, -1))


def learner(weights):
    """A network whose weights ask for their gradient."""
    return dit.Network({name: tensor.clone().requires_grad_() for name, tensor in weights.items()})


def per_frame(levels):
    return levels[:, None, :, None, None]


def seen_at_once(network, context, noisy, levels, captions, chunk):
    """Velocity of noisy frames behind clean context; chunks see no later chunk."""
    timesteps = torch.cat([torch.zeros(SAMPLES, CONTEXT).double(), 1000 * levels], 1)
    labels = [0] * CONTEXT + [1 + frame // chunk for frame in range(noisy.shape[2])]
    whole = torch.cat([context, noisy], 2)
    velocity, _ = network.run(whole, timesteps, SLOTS, captions, dit.frame_mask(labels))
    return velocity[:, :, CONTEXT:]


def between(clean, noise, levels):
    return clean + (noise - clean) * levels[:, None, None, None, None]


def gradients(loss, **networks):
    """The gradient of every named parameter of every network."""
    named = [(f"{part}.{name}", p) for part, own in networks.items() for name, p in own.items()]
    found = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True)
    return {
        f"gradient.{name}": torch.zeros_like(p) if g is None else g
        for (name, p), g in zip(named, found)
    }


def teacher_stage(weights, encoder, draw):
    """Flow matching behind a past with captions of its own; the second sample has no text."""
    network = learner(weights)
    clip, context, noise = draw.latents(FRAMES), draw.latents(CONTEXT), draw.latents(FRAMES)
    ids, lengths = draw.ids(CAPTIONS)
    levels = torch.tensor([0.84, 0.37]).double()
    told = torch.tensor([1.0, 0.0]).double()
    captions = embed(encoder, ids, lengths) * told[:, None, None, None]
    spread = levels[:, None].expand(SAMPLES, FRAMES)
    noisy = between(clip, noise, levels)
    velocity = seen_at_once(network, context, noisy, spread, captions, FRAMES)
    loss = (velocity - (noise - clip)).square().mean()
    own = {text.official_name(name): p for name, p in encoder.named_parameters()}
    batch = {"clip": clip, "context": context, "noise": noise, "ids": ids, "lengths": lengths}
    batch |= {"levels": levels, "told": told, "loss": loss}
    return batch | gradients(loss, dit=network.w, text=own)


def ode_init_stage(weights, encoder, draw):
    """Regression to the end of the trajectory, every chunk from a level of its own."""
    network = learner(weights)
    _, sigmas = rollout.noise_levels()
    sigmas = torch.cat([sigmas, torch.zeros(1).double()])
    points = torch.tensor([[4, 4, 1], [0, 3, 2]]).repeat_interleave(CHUNK, 1)
    levels = sigmas[points]
    noisy, clean, context = draw.latents(FRAMES), draw.latents(FRAMES), draw.latents(CONTEXT)
    ids, lengths = draw.ids(CAPTIONS)
    captions = embed(encoder, ids, lengths).detach()
    velocity = seen_at_once(network, context, noisy, levels, captions, CHUNK)
    error = (noisy - per_frame(levels) * velocity - clean).square()
    loss = error[per_frame(levels > 0).expand_as(error)].mean()
    batch = {"noisy": noisy, "clean": clean, "context": context, "ids": ids, "lengths": lengths}
    return batch | {"levels": levels, "loss": loss} | gradients(loss, dit=network.w)


def roll(network, context, captions, noise, learning):
    """A shot over caches; only the last step of every chunk has a gradient, and no cache has one."""
    timesteps, sigmas = rollout.noise_levels()
    last = len(noise[0]) - 1

    def run(latents, timestep, slots, memory=None):
        timesteps = torch.full((SAMPLES, len(slots)), float(timestep), dtype=torch.float64)
        return network.run(latents, timesteps, slots, captions, memory=memory)

    with torch.no_grad():
        past = run(context, 0, PAST)[1]
    local, chunks = [], []
    for chunk in range(CHUNKS):
        start = CONTEXT + chunk * CHUNK
        here = SLOTS[start : start + CHUNK]
        memory = [past] + local[max(0, chunk + 1 - WINDOW) :]
        latents = noise[chunk][0]
        for step in range(last + 1):
            with torch.set_grad_enabled(learning and step == last):
                velocity, _ = run(latents, timesteps[step], here, memory)
                clean = latents - sigmas[step] * velocity
            if step < last:
                level = sigmas[step + 1]
                latents = (1 - level) * clean + level * noise[chunk][step + 1]
        with torch.no_grad():
            local.append(run(clean.detach(), 0, here, memory)[1])
        chunks.append(clean)
    return torch.cat(chunks, 2)


def forcing_batch(encoder, draw, steps):
    ids, lengths = draw.ids(CAPTIONS)
    batch = {"context": draw.latents(CONTEXT), "ids": ids, "lengths": lengths}
    batch["rollout"] = torch.stack([
        torch.stack([draw.latents(CHUNK) for _ in range(steps)]) for _ in range(CHUNKS)
    ])  # fmt: skip
    batch |= {"levels": torch.tensor([0.91, 0.45]).double(), "noise": draw.latents(FRAMES)}
    return batch, embed(encoder, ids, lengths).detach()


def student_stage(student, teacher, critic, encoder, draw):
    """Distribution matching on a shot of three steps, against a teacher with guidance."""
    network = learner(student)
    batch, captions = forcing_batch(encoder, draw, steps=3)
    clip = roll(network, batch["context"], captions, batch["rollout"], learning=True)
    levels = batch["levels"]
    spread = levels[:, None].expand(SAMPLES, FRAMES)
    noisy = between(clip.detach(), batch["noise"], levels)

    def estimate(weights, captions):
        scorer = dit.Network(weights)
        velocity = seen_at_once(scorer, batch["context"], noisy, spread, captions, FRAMES)
        return noisy - per_frame(spread) * velocity

    with torch.no_grad():
        likely = estimate(critic, captions)
        free = estimate(teacher, torch.zeros_like(captions))
        wanted = free + GUIDANCE * (estimate(teacher, captions) - free)
        distance = (clip - wanted).abs().flatten(1).mean(1)[:, None, None, None, None]
        direction = (likely - wanted) / distance
        target = clip - direction
    loss = 0.5 * (clip - target).square().mean()
    (moves,) = torch.autograd.grad(loss, clip, retain_graph=True)
    assert (moves * clip.numel() - direction).abs().max() < 1e-12
    batch |= {"clip": clip, "direction": direction, "loss": loss}
    return batch | gradients(loss, dit=network.w)


def critic_stage(student, critic, encoder, draw):
    """Flow matching of the critic on a shot that the student leaves after its first step."""
    network = learner(critic)
    batch, captions = forcing_batch(encoder, draw, steps=1)
    with torch.no_grad():
        clip = roll(dit.Network(student), batch["context"], captions, batch["rollout"], False)
    levels = batch["levels"]
    spread = levels[:, None].expand(SAMPLES, FRAMES)
    noisy = between(clip, batch["noise"], levels)
    velocity = seen_at_once(network, batch["context"], noisy, spread, captions, FRAMES)
    loss = (velocity - (batch["noise"] - clip)).square().mean()
    return batch | {"clip": clip, "loss": loss} | gradients(loss, dit=network.w)


def reconstruction(output, target):
    error = output - target
    steps = sum(error.diff(dim=axis).abs().mean() for axis in (2, 3, 4))
    return (
        ERRORS["absolute"] * error.abs().mean()
        + ERRORS["squared"] * error.square().mean()
        + ERRORS["differences"] * steps
    )


def vae_stage(coder, draw):
    """Reconstruction from a sample of the posterior, and the posterior's divergence."""
    clips = (draw.normal(SAMPLES, 3, 9, 16, 24, scale=0.4)).clamp(-1, 1)
    posterior = coder.encode(clips).latent_dist
    mean, log_variance = posterior.parameters.chunk(2, 1)
    noise = draw.normal(*mean.shape)
    made = coder.decode(mean + (0.5 * log_variance).exp() * noise).sample
    assert made.abs().max() < 1, "diffusers clamps pixels, which would hide gradients"
    divergence = 0.5 * (mean.square() + log_variance.exp() - log_variance - 1).mean()
    loss = reconstruction(made, clips) + DIVERGENCE * divergence
    names = {name: vae.official_name(name, VAE["num_res_blocks"] + 1) for name, _ in coder.named_parameters()}
    own = {names[name]: p for name, p in coder.named_parameters()}
    batch = {"clips": clips, "noise": noise, "loss": loss, "divergence": divergence}
    return batch | gradients(loss, vae=own)


def nearest_orthogonal(x):
    """Five quintic Newton-Schulz steps on a wide matrix, as Muon takes them."""
    x = x / (x.square().sum().sqrt() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    return x


def optimizer_stage(draw):
    """Three updates: matrices by Muon, the rest by the AdamW of PyTorch, and running averages."""
    shapes = {"wide.weight": (4, 9), "tall.weight": (7, 3), "kernel.weight": (4, 3, 1, 2)}
    vectors = {"wide.bias": (4,), "token_embedding.weight": (5, 3), "norm.gamma": (3, 1, 1)}
    values = {name: draw.normal(*shape) for name, shape in (shapes | vectors).items()}
    stored = {f"start.{name}": value.clone() for name, value in values.items()}
    momentum = {name: torch.zeros(shape).double() for name, shape in shapes.items()}
    averages = {name: value.clone() for name, value in values.items()}
    adamw = torch.optim.AdamW([values[name] for name in vectors], betas=(0.9, 0.99), weight_decay=DECAY)
    for update, rate in enumerate([0.5, 1.0, 1.0]):
        found = {name: draw.normal(*value.shape) for name, value in values.items()}
        stored |= {f"gradient{update}.{name}": g for name, g in found.items()}
        norm = sum(g.square().sum() for g in found.values()).sqrt()
        for name in vectors:
            values[name].grad = found[name] * min(1.0, CLIP / float(norm))
        adamw.param_groups[0]["lr"] = ADAMW_LR * rate
        adamw.step()
        for name in shapes:
            momentum[name] = 0.95 * momentum[name] + 0.05 * found[name]
            ahead = (0.95 * momentum[name] + 0.05 * found[name]).flatten(1)
            tall = ahead.shape[0] > ahead.shape[1]
            turned = nearest_orthogonal(ahead.T).T if tall else nearest_orthogonal(ahead)
            lr = MUON_LR * rate
            step = lr * 0.2 * max(ahead.shape) ** 0.5 * turned.reshape(values[name].shape)
            values[name] = values[name] * (1 - lr * DECAY) - step
        follow = min(EMA, (1 + update) / (10 + update))
        averages = {name: follow * a + (1 - follow) * values[name] for name, a in averages.items()}
    stored |= {f"value.{name}": value for name, value in values.items()}
    return stored | {f"average.{name}": average for name, average in averages.items()}


def store(name, tensors):
    single = lambda t: torch.atleast_1d(t.detach().float() if t.is_floating_point() else t).contiguous()
    save_file({key: single(tensor) for key, tensor in tensors.items()}, OUT / f"{name}.safetensors")


def main():
    generator = torch.Generator().manual_seed(20260325)
    student, teacher, critic = (
        dit.seeded_weights(generator, text_dim=text.DIM) for _ in range(3)
    )
    words = text.seeded_weights(generator)
    coder = vae.network(VAE)
    with torch.no_grad():
        vae.seed(coder, generator)
    pictures = {
        vae.official_name(name, VAE["num_res_blocks"] + 1): weight.clone()
        for name, weight in coder.state_dict().items()
    }
    encoder, coder = text.encoder(words), coder.double()

    OUT.mkdir(parents=True, exist_ok=True)
    parts = {"dit": student, "text": words, "vae": pictures}
    metadata = {
        "format": "shotstream-bundle-1",
        "config": json.dumps(CONFIG),
        "tokenizer": rollout.word_tokenizer().to_str(),
    }
    weights = {f"{p}.{name}": w.float() for p, own in parts.items() for name, w in own.items()}
    rollout.save_bundle(weights, metadata, OUT / "model.safetensors")
    both = {"teacher": teacher, "critic": critic}
    store("scores", {f"{p}.{name}": w for p, own in both.items() for name, w in own.items()})
    store("teacher", teacher_stage(student, encoder, Drawer(1)))
    store("ode_init", ode_init_stage(student, encoder, Drawer(2)))
    store("student", student_stage(student, teacher, critic, encoder, Drawer(3)))
    store("critic", critic_stage(student, critic, encoder, Drawer(4)))
    store("vae", vae_stage(coder, Drawer(5)))
    store("optimizer", optimizer_stage(Drawer(6)))


if __name__ == "__main__":
    main()
