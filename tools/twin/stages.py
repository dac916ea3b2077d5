"""The stages: what each learns from and minimises, under the keys of the Rust stages' recipes."""

import itertools

import torch

import losses
from data import Latents, Pairs, Pictures, below, generator, normal, one, uniform
from losses import embed
from model import Model

LEVELS = 0.02, 0.98  # at which teacher and critic look


class Vae:
    """Encoder and decoder, or the decoder alone behind a frozen encoder."""

    keys = {"crop", "errors", "divergence", "freeze_encoder", "latent_noise"}

    def __init__(self, model, stage, run):
        self.vae, self.stage, self.device = model.vae, stage, run.device
        self.model, self.frozen = model, stage.get("freeze_encoder", False)
        self.pictures = Pictures(run.data, run.device)
        learns = lambda name: not self.frozen or name.startswith(("decoder", "conv2"))
        self.learners = {"vae": [(n, p) for n, p in self.vae.named_parameters() if learns(n)]}

    def turn(self, step):
        return "vae", 1.0

    def loss(self, step, rng, count):
        clips = self.pictures.draw(rng, self.stage["crop"], count)
        stride, z = self.model.recipe["geometry"]["vae_stride"], self.vae.c["z_dim"]
        _, _, t, h, w = clips.shape
        noise = normal(rng, count, z, 1 + (t - 1) // stride[0], h // stride[1], w // stride[2])
        if self.frozen:
            noise = noise * self.stage.get("latent_noise", 0.0) * uniform(rng, 1)
            return losses.decoder_loss(self.vae, self.stage, clips, noise)
        return losses.vae_loss(self.vae, self.stage, clips, noise)

    @torch.no_grad()
    def finish(self):
        """Measure the latents of whole pictures, single ones and clips."""
        if self.frozen:
            return
        rng, seen = generator(self.device, 2 << 40), []
        longest = self.pictures.clips.shape[1]
        for index in range(64):
            frames = min((1, 9)[index % 2], longest)
            clips = self.pictures.draw(rng, (frames, *self.pictures.clips.shape[2:4]), 4)
            seen.append(self.vae.posterior(clips)[0].float().transpose(0, 1).flatten(1))
        seen = torch.cat(seen, 1).double()
        config = self.model.config["vae"]
        config["latents_mean"] = seen.mean(1).float().tolist()
        config["latents_std"] = seen.std(1, correction=0).clamp_min(1e-3).float().tolist()


class Teacher:
    """The bidirectional transformer and the text encoder with it."""

    keys = {"data", "shift", "text_dropout", "sampler", "learns"}

    def __init__(self, model, stage, run):
        self.model, self.stage = model, stage
        self.store = Latents(run.data, model, run.device)
        named = [(f"{part}.{n}", p) for part in ("dit", "text") for n, p in getattr(model, part).named_parameters()]
        if stage.get("learns", "all") == "self-attention":
            named = [(name, p) for name, p in named if "self_attn" in name]
            model.dit.requires_grad_(False)
            model.text.requires_grad_(False)
        self.learners = {"teacher": named}
        self.seed = run.seed

    def turn(self, step):
        return "teacher", 1.0

    def loss(self, step, rng, count):
        lengths = self.stage["data"].get("lengths") or [None]
        of_step = generator("cpu", self.seed, step, 1 << 30)
        frames = lengths[one(of_step, len(lengths))]
        batch = self.store.draw(rng, self.stage["data"], one(rng, self.store.shots), count, frames)
        batch["levels"] = losses.shifted(uniform(rng, count), self.stage["shift"])
        batch["told"] = (uniform(rng, count) >= self.stage["text_dropout"]).float()
        batch["noise"] = normal(rng, *batch["clip"].shape)
        return losses.teacher_loss(self.model.dit, self.model.text, batch)

    def finish(self):
        pass


class OdeInit:
    """The causal student, by regression on trajectories."""

    keys = {"pairs", "clean_past"}

    def __init__(self, model, stage, run):
        self.model, self.stage, self.device = model, stage, run.device
        self.pairs = Pairs(run.dir.with_name(stage["pairs"]), model, run.device).shards
        self.levels = torch.tensor([*losses.noise_levels(model.recipe), 0.0], device=run.device)
        self.learners = {"student": [(f"dit.{n}", p) for n, p in model.dit.named_parameters()]}

    def turn(self, step):
        return "student", 1.0

    def points(self, rng, count, chunks):
        """On which point of its trajectory each chunk of each sample stands, `[B, chunks]`."""
        clean = len(self.levels) - 1
        free = torch.stack([below(rng, clean + 1, count) for _ in range(chunks)], 1)
        silent = (free == clean).all(1)  # something must be learnt from
        free[silent, -1] = below(rng, clean, count)[silent]
        noisy = torch.stack([below(rng, clean, count) for _ in range(chunks)], 1)
        past = torch.arange(chunks, device=self.device)[None] < below(rng, chunks, count)[:, None]
        generated = uniform(rng, count) < self.stage["clean_past"]
        return torch.where(generated[:, None], noisy.masked_fill(past, clean), free)

    def loss(self, step, rng, count):
        shot, points, context, (ids, lengths) = self.pairs[one(rng, len(self.pairs))]
        taken = below(rng, len(points), count)
        frames, chunk = points.shape[2], self.model.recipe["geometry"]["chunk"]
        at = self.points(rng, count, frames // chunk).repeat_interleave(chunk, 1)
        every = torch.arange(frames, device=self.device)
        pick = lambda at: points[taken[:, None], at, every[None]].float().transpose(1, 2)
        slots, _ = losses.place(self.model.recipe, shot, frames)
        batch = {
            "noisy": pick(at), "clean": pick(torch.full_like(at, len(self.levels) - 1)),
            "context": context[taken].float().transpose(1, 2), "slots": slots,
            "tokens": (ids[taken], lengths[taken]), "levels": self.levels[at],
        }  # fmt: skip
        return losses.ode_loss(self.model.dit, self.model.text, batch, chunk)

    def finish(self):
        pass


class SelfForcing:
    """The student on films of its own, and a critic beside it, in turns."""

    keys = {"teacher", "history", "period", "critic_rate", "guidance", "negative", "shift", "data"}

    def __init__(self, model, stage, run):
        self.model, self.stage, self.recipe, self.seed = model, stage, model.recipe, run.seed
        self.store = Latents(run.data, model, run.device)
        path = run.dir.with_name(stage["teacher"]) / "model.safetensors"
        self.teacher, self.critic = (Model(path, run.device, run.compiled).dit for _ in range(2))
        self.teacher.requires_grad_(False)
        assert stage["period"] >= 2, f"stage.period must be at least 2, found {stage['period']}"
        players = {"student": model.dit, "critic": self.critic}
        self.learners = {name: [(f"{name}.{n}", p) for n, p in net.named_parameters()] for name, net in players.items()}

    def turn(self, step):
        return ("critic", self.stage["critic_rate"]) if step % self.stage["period"] else ("student", 1.0)

    def chunks(self, rng, context, steps):
        b, c, _, h, w = context.shape
        chunk = self.recipe["geometry"]["chunk"]
        count = losses.shot_latents(self.recipe) // chunk
        return [[normal(rng, b, c, chunk, h, w) for _ in range(steps)] for _ in range(count)]

    @torch.no_grad()
    def remember(self, films, like):
        """Context latents of what the student filmed, `[B, C, K, h, w]`; zeros for nothing."""
        if not films:
            b, c, _, h, w = like.shape
            return like.new_zeros(b, c, self.recipe["context_frames"], h, w)
        picks = losses.remembered(self.recipe, len(films))
        frames = torch.stack([films[s][:, :, f] for s, f in picks], 1)
        return self.model.vae.encode_frames(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]).transpose(1, 2)

    @torch.no_grad()
    def scene(self, rng, shot, count):
        """The shot's captions, places and past: the drawn one, or the student's own."""
        data = self.stage["data"]
        batch = self.store.draw(rng, data, shot, count)
        read = lambda tokens: embed(self.model.text, tokens)
        if self.stage["history"] == "true":
            return {"context": batch["context"], "slots": batch["slots"], "embeddings": read(batch["tokens"])}
        telling, way = batch["way"]
        films = []
        for now in range(shot + 1):
            slots, captions = losses.place(self.recipe, now, losses.shot_latents(self.recipe))
            pick = lambda x: x[batch["stories"], telling, way][:, captions]
            scene = {"context": self.remember(films, batch["clip"]), "slots": slots}
            scene["embeddings"] = read((pick(self.store.ids), pick(self.store.lengths)))
            if now < shot:
                steps = len(self.recipe["denoising_steps"])
                clip = losses.roll(self.model.dit, self.recipe, scene, self.chunks(rng, scene["context"], steps))
                films.append(self.model.vae.decode(clip).float().clamp(-1, 1))
        kept = (uniform(rng, count) >= data["context_dropout"]).float()
        scene["context"] = scene["context"] * losses.column(kept)
        return scene

    def loss(self, step, rng, count):
        steps = 1 + one(generator("cpu", self.seed, step, 1 << 30), len(self.recipe["denoising_steps"]))
        scene = self.scene(rng, one(rng, self.store.shots), count)
        rollout = self.chunks(rng, scene["context"], steps)
        b, c, _, h, w = scene["context"].shape
        levels = losses.shifted(uniform(rng, count), self.stage["shift"]).clamp(*LEVELS)
        noise = normal(rng, b, c, losses.shot_latents(self.recipe), h, w)
        free = losses.unguided(self.model, scene["embeddings"], self.stage.get("negative"))
        batch = {"scene": scene, "free": free, "rollout": rollout, "levels": levels, "noise": noise}
        if step % self.stage["period"]:
            return losses.critics_loss(self.model.dit, self.critic, self.recipe, batch)
        guidance = self.stage["guidance"]
        return losses.students_loss(self.model.dit, self.critic, self.teacher, guidance, self.recipe, batch)

    def finish(self):
        pass


STAGES = {"vae": Vae, "teacher": Teacher, "ode-init": OdeInit, "self-forcing": SelfForcing}


def grid(recipe, substeps):
    """Falling levels with `substeps` steps from each of the student's to the next, and which are its."""
    shift = recipe["shift"]
    linear = [s / (shift - (shift - 1) * s) for s in losses.noise_levels(recipe)] + [0.0]
    between = [a + (b - a) / substeps * i for a, b in itertools.pairwise(linear) for i in range(substeps)]
    return [losses.shifted(s, shift) for s in between + [0.0]], range(0, len(between), substeps)


@torch.no_grad()
def ode_pairs(model, recipe, run):
    """The teacher's trajectories with guidance; shards that are there are kept."""
    store = Latents(run.data, model, run.device)
    levels, kept = grid(model.recipe, recipe["sampler"]["substeps"])
    guidance = recipe["sampler"]["guidance"]
    run.dir.mkdir(parents=True, exist_ok=True)
    for shard in range(recipe["shards"]):
        path = run.dir / f"pairs-{shard:05}.safetensors"
        if path.exists():
            continue
        run.stop_if_late()
        rng, shot = generator(run.device, recipe["seed"], shard), shard % store.shots
        batch = store.draw(rng, recipe["data"], shot, recipe["samples"])
        embeddings = embed(model.text, batch["tokens"])
        free = losses.unguided(model, embeddings, recipe["sampler"].get("negative"))
        told, free = model.dit.read(embeddings), model.dit.read(free)
        x, points = normal(rng, *batch["clip"].shape), []
        for step, (now, following) in enumerate(itertools.pairwise(levels)):
            if step in kept:
                points.append(x)
            spread = x.new_full((x.shape[0], x.shape[2]), now)
            toward = lambda text: losses.velocity(model.dit, batch["context"], x, spread, batch["slots"], text)
            x = x + losses.guided(toward(told), guidance, lambda: toward(free)) * (following - now)
        points = torch.stack([*points, x], 1).transpose(2, 3)
        Pairs.save(path, shot, store.words_of(batch), points, batch["context"].transpose(1, 2))
