"""What the twin learns from: raw pictures, stored latents and trajectories.

Pictures are shards of `shotstream world pictures`. Latents are WebDataset shards as `shotstream
prepare` writes them: of story 42 the members `00000042.json` (what is known of it) and
`00000042.safetensors` (`clip0`, `frames0`, ... in float16). Trajectories are those of
`shotstream train ode-pairs`.

Letters: N stories, S shots, W tellings, T frames, K remembered frames, F latent frames, C latent
channels, h, w latent height and width, L tokens of a caption.
"""

import io
import json
import os
import pathlib
import tarfile

import torch
from safetensors import safe_open
from safetensors.torch import load, save, save_file

import losses


def generator(device, *address):
    """The random numbers of an address: seed, step, part, ..."""
    mixed = 0
    for word in address:
        mixed = (mixed * 6364136223846793005 + word + 1442695040888963407) % 2**63
    return torch.Generator(device).manual_seed(mixed)


def uniform(rng, *shape):
    return torch.rand(shape, generator=rng, device=rng.device)


def below(rng, end, count):
    return torch.randint(end, (count,), generator=rng, device=rng.device)


def one(rng, end):
    return int(below(rng, end, 1))


def normal(rng, *shape):
    return torch.randn(shape, generator=rng, device=rng.device)


def of_bytes(pictures):
    """`[..., T, H, W, 3]` in bytes to `[..., 3, T, H, W]` in [-1, 1]."""
    return pictures.movedim(-1, -4).float() / 127.5 - 1


class Pictures:
    """Clips `[N, T, H, W, 3]` in bytes, shots of all stories one after the other."""

    def __init__(self, folder, device):
        shards = [safe_open(path, "pt") for path in sorted(pathlib.Path(folder).glob("*.safetensors"))]
        assert shards, f"no pictures, make them with `shotstream world pictures`: {folder}"
        self.clips = torch.cat([shard.get_tensor("pictures").flatten(0, 1) for shard in shards])
        # Windows are cut where the clips are; a card holds a few million small pictures.
        self.clips = self.clips.to(device)

    def draw(self, rng, crop, count):
        """Random windows `[count, 3, T, H, W]`."""
        taken = below(rng, len(self.clips), count)
        frames, height, width = crop
        corners = [one(rng, have - want + 1) for have, want in zip(self.clips.shape[1:4], crop)]
        t, y, x = corners
        return of_bytes(self.clips[taken, t : t + frames, y : y + height, x : x + width])


@torch.no_grad()
def encode(model, pictures, folder, device, batch=32):
    """Pictures to shards of latents; pictures that are encoded are not needed any more."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(pathlib.Path(pictures).glob("*.safetensors")):
        target = folder / f"{path.stem}.tar"
        if target.exists():
            continue
        with safe_open(path, "pt") as shard:
            stories, clips = json.loads(shard.metadata()["stories"]), shard.get_tensor("pictures")
        with tarfile.open(f"{target}.tmp", "w") as tar:
            for first in range(0, len(stories), batch):
                told = stories[first : first + batch]
                latents = [{} for _ in told]
                for shot, facts in enumerate(told[0]["shots"]):
                    frames = of_bytes(clips[first : first + batch, shot].to(device))
                    clip = model.vae.encode(frames).transpose(1, 2)
                    kept = [model.vae.encode_frames(frames[:, :, f]) for f in facts["remembered"]]
                    kept = torch.stack(kept, 1) if kept else clip[:, :0]
                    for story, tensors in enumerate(latents):
                        tensors |= {f"clip{shot}": clip[story], f"frames{shot}": kept[story]}
                for story, (facts, tensors) in enumerate(zip(told, latents)):
                    number = facts["seed"] % 10**8
                    halves = {name: t.half().cpu().contiguous() for name, t in tensors.items()}
                    for ending, data in (("json", json.dumps(facts).encode()), ("safetensors", save(halves))):
                        member = tarfile.TarInfo(f"{number:08}.{ending}")
                        member.size = len(data)
                        tar.addfile(member, io.BytesIO(data))
        os.replace(f"{target}.tmp", target)


class Latents:
    """Stories of shards on the device: clips, remembered frames, and tokens of every telling."""

    def __init__(self, folder, model, device):
        paths = sorted(pathlib.Path(folder).rglob("*.tar"))
        assert paths, f"no latents, make them with `shotstream prepare` or `train.py encode`: {folder}"
        facts, tensors = [], []
        for path in paths:
            with tarfile.open(path) as tar:
                for member in tar:
                    data = tar.extractfile(member).read()
                    facts.append(json.loads(data)) if member.name.endswith(".json") else tensors.append(load(data))
        self.recipe, self.device, self.shots = model.recipe, device, len(facts[0]["shots"])
        shape = [(s["frames"], s["remembered"]) for s in facts[0]["shots"]]
        for known in facts:
            same = [(s["frames"], s["remembered"]) for s in known["shots"]] == shape
            assert same, f"the twin needs stories of one shape: {known['source']} {known['seed']}"
        stack = lambda name: torch.stack([story[name] for story in tensors]).to(device)
        self.clips = torch.stack([stack(f"clip{s}") for s in range(self.shots)], 1)
        self.frames = [stack(f"frames{s}") for s in range(self.shots)]
        self.remembered = [s["remembered"] for s in facts[0]["shots"]]
        # [story][telling][0 named, 1 anonymous][shot]
        self.prompts = [[(t["named"], t["anonymous"] or t["named"]) for t in known["tellings"]] for known in facts]
        flat = [p for story in self.prompts for telling in story for way in telling for p in way]
        ids, lengths = model.words(flat, "cpu")
        ways = len(facts), -1, 2, self.shots
        self.ids = ids.reshape(*ways, ids.shape[-1]).to(device)
        self.lengths = lengths.reshape(ways).to(device)

    def context(self, stories, shot):
        """Latents `[B, C, K, h, w]` that the shot remembers of its story."""
        picks = losses.remembered(self.recipe, shot)
        kept = [self.frames[s][stories, self.remembered[s].index(f)] for s, f in picks]
        return torch.stack(kept, 2).float()

    def tell(self, rng, stories, anonymous, captions):
        """Ids and lengths of one telling of each story, and which telling it was."""
        telling = below(rng, self.ids.shape[1], len(stories))
        way = (uniform(rng, len(stories)) < anonymous).long()
        captions = torch.tensor(captions, device=self.device)
        pick = lambda x: x[stories, telling, way][:, captions]
        return (pick(self.ids), pick(self.lengths)), (telling, way)

    def draw(self, rng, data, shot, count, frames=None):
        """Shots behind their past as a recipe's `[stage.data]` asks for them."""
        stories = below(rng, len(self.clips), count)
        frames = min(frames or self.clips.shape[2], self.clips.shape[2])
        slots, captions = losses.place(self.recipe, shot, frames)
        budget = self.recipe["context_frames"]
        clip = self.clips[stories, shot, :frames].float().transpose(1, 2)
        context = None
        if data["context_dropout"] >= 1:
            slots, captions = [(p, phase, 0) for p, phase, _ in slots[budget:]], captions[-1:]
        else:
            b, c, _, h, w = clip.shape
            context = self.context(stories, shot) if shot else clip.new_zeros(b, c, budget, h, w)
            if shot:
                kept = losses.column((uniform(rng, b) >= data["context_dropout"]).float())
                scale = losses.column(uniform(rng, b) * data["context_noise"])
                context = (context + scale * normal(rng, *context.shape)) * kept
        tokens, told = self.tell(rng, stories, data["anonymous"], captions)
        return {
            "clip": clip, "context": context, "tokens": tokens, "slots": slots,
            "stories": stories, "captions": captions, "way": told,
        }  # fmt: skip

    def words_of(self, batch):
        """The prompts of a drawn batch, as text."""
        telling, way = (x.tolist() for x in batch["way"])
        rows = zip(batch["stories"].tolist(), telling, way)
        return [[self.prompts[s][t][w][shot] for shot in batch["captions"]] for s, t, w in rows]


class Pairs:
    """Trajectories: shards of one shot number each, their points and what came before."""

    def __init__(self, folder, model, device):
        self.shards = []
        for path in sorted(pathlib.Path(folder).glob("pairs-*.safetensors")):
            with safe_open(path, "pt") as file:
                facts = file.metadata()
                tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}
            prompts = json.loads(facts["prompts"])
            ids, lengths = model.words([p for row in prompts for p in row], device)
            shape = len(prompts), len(prompts[0])
            tokens = ids.unflatten(0, shape), lengths.unflatten(0, shape)
            self.shards.append((int(facts["shot"]), tensors["points"], tensors["context"], tokens))
        assert self.shards, f"no trajectories, make them with `ode-pairs`: {folder}"

    @staticmethod
    def save(path, shot, prompts, points, context):
        """`points` `[B, P, F, C, h, w]`, `context` `[B, K, C, h, w]`."""
        tensors = {"points": points, "context": context}
        halves = {name: t.half().cpu().contiguous() for name, t in tensors.items()}
        save_file(halves, f"{path}.tmp", metadata={"shot": str(shot), "prompts": json.dumps(prompts)})
        os.replace(f"{path}.tmp", path)
