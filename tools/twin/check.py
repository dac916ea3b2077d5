"""Holds the twin to what `shotstream` and the goldens say.

    python tools/twin/check.py goldens                     # losses and gradients of testdata/losses
    python tools/twin/check.py film MODEL STORY SHOTSTREAM # a film of both from the same noise

The first needs nothing but the repository. The second makes a film of a model file with the program
and with the twin and compares latents, context latents and what both files say afterwards.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file

import losses
from model import Model
from optimizer import Optimizer

GOLDENS = pathlib.Path(__file__).resolve().parents[2] / "testdata" / "losses"
SHOT, GUIDANCE, TOLERANCE = 2, 2.5, 1e-4
VAE_STAGE = {"errors": {"absolute": 1.0, "squared": 0.5, "differences": 0.5}, "divergence": 0.05}


def off(found, expected):
    """Largest difference over the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-30))


def hold(name, golden, loss, **networks):
    """Loss and gradients of a stage are the golden's."""
    error = off(loss.detach(), golden["loss"][0])
    named = [(f"gradient.{part}.{n}", p) for part, own in networks.items() for n, p in own.named_parameters()]
    grads = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True)
    worst = max(
        (off(torch.zeros_like(p) if g is None else g, golden[n]), n)
        for (n, p), g in zip(named, grads)
    )
    print(f"{name}: loss off by {error:.1e}, gradients by {worst[0]:.1e} at most ({worst[1]})")
    assert error <= TOLERANCE and worst[0] <= TOLERANCE, name


def network(model, tensors, prefix):
    dit = type(model.dit)(model.config["dit"])
    dit.load_state_dict({n.removeprefix(prefix): w for n, w in tensors.items() if n.startswith(prefix)})
    return dit


def optimizer():
    """Three updates of a few parameters."""
    golden = load_file(GOLDENS / "optimizer.safetensors")
    names = [name.removeprefix("start.") for name in golden if name.startswith("start.")]
    named = [(name, torch.nn.Parameter(golden[f"start.{name}"].clone())) for name in names]
    rule = {"adamw_lr": 0.02, "muon_lr": 0.05, "weight_decay": 0.1, "clip": 1.0, "ema": 0.9}
    ours = Optimizer(named, rule)
    for update, rate in enumerate([0.5, 1.0, 1.0]):
        for name, p in named:
            p.grad = golden[f"gradient{update}.{name}"]
        ours.step(rate)
    pairs = [(p, golden[f"value.{name}"]) for name, p in named]
    pairs += [(average, golden[f"average.{name}"]) for average, name in zip(ours.ema, names)]
    error = max(off(found.detach(), expected) for found, expected in pairs)
    print(f"optimizer: off by {error:.1e} after three updates")
    assert error <= TOLERANCE


def goldens():
    optimizer()
    model = Model(GOLDENS / "model.safetensors")
    scores = load_file(GOLDENS / "scores.safetensors")
    teacher, critic = (network(model, scores, f"{part}.") for part in ("teacher", "critic"))
    recipe, chunk = model.recipe, model.recipe["geometry"]["chunk"]
    slots, captions = losses.place(recipe, SHOT, losses.shot_latents(recipe))
    assert captions == [0, 1, 2]

    def read(name):
        golden = load_file(GOLDENS / f"{name}.safetensors")
        tokens = tuple(golden[k].unflatten(0, (-1, len(captions))) for k in ("ids", "lengths"))
        return golden, golden | {"tokens": tokens, "slots": slots}

    golden, batch = read("teacher")
    hold("teacher", golden, losses.teacher_loss(model.dit, model.text, batch), dit=model.dit, text=model.text)
    golden, batch = read("ode_init")
    hold("ode-init", golden, losses.ode_loss(model.dit, model.text, batch, chunk), dit=model.dit)
    for name in ("student", "critic"):
        golden, batch = read(name)
        with torch.no_grad():
            embeddings = losses.embed(model.text, batch["tokens"])
        batch["free"] = torch.zeros_like(embeddings)
        batch["scene"] = {"context": golden["context"], "embeddings": embeddings, "slots": slots}
        if name == "student":
            loss = losses.students_loss(model.dit, critic, teacher, GUIDANCE, recipe, batch)
            with torch.no_grad():
                moves = losses.direction(critic, teacher, GUIDANCE, golden["clip"], batch)
            print(f"direction off by {off(moves, golden['direction']):.1e}")
            assert off(moves, golden["direction"]) <= TOLERANCE
            hold(name, golden, loss, dit=model.dit)
        else:
            hold(name, golden, losses.critics_loss(model.dit, critic, recipe, batch), dit=critic)
    golden = load_file(GOLDENS / "vae.safetensors")
    hold("vae", golden, losses.vae_loss(model.vae, VAE_STAGE, golden["clips"], golden["noise"]), vae=model.vae)


@torch.no_grad()
def film(path, story, program):
    """Latents of a story by the twin and by the program from the same noise."""
    model = Model(path)
    script = json.loads(pathlib.Path(story).read_text())
    shots = [script[f"shot{n}"] for n in range(1, len(script))]
    prompts = [f"{script['global_caption']}shot{n}:{shot}" for n, shot in enumerate(shots)]
    recipe = model.recipe
    frames, chunk = losses.shot_latents(recipe), recipe["geometry"]["chunk"]
    height, width = (a // b for a, b in zip(recipe["geometry"]["pixels"], recipe["geometry"]["vae_stride"][1:]))
    generator = torch.Generator().manual_seed(7)
    draw = lambda n: torch.randn(n, model.config["dit"]["in_dim"], height, width, generator=generator)
    noise = {}
    for shot in range(len(shots)):
        noise[f"shot{shot}.initial"] = draw(frames)
        for c in range(frames // chunk):
            for step in range(1, len(recipe["denoising_steps"])):
                noise[f"shot{shot}.chunk{c}.step{step}"] = draw(chunk)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        save_file(noise, folder / "noise.safetensors")
        subprocess.run(
            [program, "generate", story, "--model", path, "--noise", folder / "noise.safetensors",
             "--save-latents", folder / "latents.safetensors", "-o", folder / "film.mp4"],
            check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        made = load_file(folder / "latents.safetensors")
    channel_major = lambda x: x.transpose(0, 1)[None]
    films, worst = [], 0.0
    for shot in range(len(shots)):
        slots, captions = losses.place(recipe, shot, frames)
        past = losses.remembered(recipe, shot)
        if past:
            pictures = torch.stack([films[s][f] for s, f in past])
            context = model.vae.encode_frames(pictures).transpose(0, 1)[None]
        else:
            context = torch.zeros(1, model.config["dit"]["in_dim"], recipe["context_frames"], height, width)
        ids, lengths = model.words([prompts[s] for s in captions], "cpu")
        scene = {"context": context, "slots": slots, "embeddings": losses.embed(model.text, (ids[None], lengths[None]))}
        initial = channel_major(noise[f"shot{shot}.initial"]).split(chunk, 2)
        steps = [
            [first] + [
                channel_major(noise[f"shot{shot}.chunk{c}.step{k}"])
                for k in range(1, len(recipe["denoising_steps"]))
            ]
            for c, first in enumerate(initial)
        ]  # fmt: skip
        clip = losses.roll(model.dit, recipe, scene, steps)
        films.append(model.vae.decode(clip).clamp(-1, 1)[0].transpose(0, 1))
        for name, ours in (("latents", clip), ("context", context)):
            error = off(channel_major(made[f"shot{shot}.{name}"]), ours) if ours.abs().max() > 0 else 0.0
            print(f"shot {shot}: {name} off by {error:.1e}")
            worst = max(worst, error)
    assert worst <= 1e-3, worst


if __name__ == "__main__":
    {"goldens": goldens, "film": film}[sys.argv[1]](*sys.argv[2:])
