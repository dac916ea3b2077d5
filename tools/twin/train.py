"""Trains a stage from a model file to a model file, by the recipes of `shotstream train`.

    python tools/twin/train.py encode --from MODEL --data PICTURES --dir LATENTS
    python tools/twin/train.py vae --recipe R --from MODEL --data PICTURES --dir RUN
    python tools/twin/train.py teacher --recipe R --from MODEL --data LATENTS --dir RUN
    python tools/twin/train.py ode-pairs --recipe R --from MODEL --data LATENTS --dir RUN
    python tools/twin/train.py ode-init --recipe R --from MODEL --dir RUN
    python tools/twin/train.py self-forcing --recipe R --from MODEL --data LATENTS --dir RUN

RUN gets `log.jsonl`, `resume.pt` and at the end `model.safetensors`. A run goes on where it stopped.
With --minutes the schedule is over when the recipe's steps are done or the time is spent, whichever
comes first, over all calls together. --deadline (seconds since 1970) saves and leaves with 75.
"""

import argparse
import contextlib
import json
import os
import pathlib
import sys
import time
import tomllib

import torch

import data
import stages
from model import Model
from optimizer import Optimizer

LATE = 75
LOOP = {"seed", "steps", "warmup", "decay", "parts", "batch", "save_every", "sheet_every"}


class Run:
    def __init__(self, args, seed=0):
        self.dir, self.data, self.device, self.seed = args.dir, args.data, args.device, seed
        self.compiled = args.compile
        self.deadline = args.deadline or float("inf")

    def stop_if_late(self, save=lambda: None):
        if time.time() > self.deadline:
            save()
            sys.exit(LATE)


def read(path, keys):
    """A recipe whose keys are exactly known."""
    recipe = tomllib.loads(path.read_text())
    for table, known in (("loop", LOOP), ("stage", keys)):
        unknown = recipe[table].keys() - known
        assert not unknown, f"unknown keys in [{table}]: {unknown}: {path}"
    return recipe


def rate(loop, step, progress):
    """Warm-up, plateau, linear decay; `progress` of the run is behind."""
    rise = (step + 1) / max(loop["warmup"], 1)
    fall = (1 - progress) / max(loop["decay"], 1 / loop["steps"])
    return max(0.0, min(1.0, rise, fall))


def precision(device):
    # A weight that is cast where no gradient is wanted must be cast again where one is.
    if device == "cuda":
        return torch.autocast("cuda", torch.bfloat16, cache_enabled=False)
    return contextlib.nullcontext()


def train(name, model, recipe, run, minutes):
    loop = recipe["loop"]
    stage = stages.STAGES[name](model, recipe["stage"], run)
    optimizers = {who: Optimizer(named, recipe["optimizer"]) for who, named in stage.learners.items()}
    run.dir.mkdir(parents=True, exist_ok=True)
    resume, log_path = run.dir / "resume.pt", run.dir / "log.jsonl"
    step, spent = 0, 0.0
    if resume.exists():
        kept = torch.load(resume, map_location=run.device, weights_only=True)
        step, spent = kept["step"], kept["spent"]
        for who, state in kept["optimizers"].items():
            optimizers[who].restore(state)
    lines = log_path.read_text().splitlines()[:step] if log_path.exists() else []
    log_path.write_text("".join(f"{line}\n" for line in lines))

    def save():
        state = {who: optimizer.state() for who, optimizer in optimizers.items()}
        torch.save({"step": step, "spent": spent, "optimizers": state}, f"{resume}.tmp")
        os.replace(f"{resume}.tmp", resume)

    budget = 60 * minutes if minutes else float("inf")
    with log_path.open("a", buffering=1) as log:
        while step < loop["steps"] and spent < budget:
            run.stop_if_late(save)
            started = time.time()
            who, share = stage.turn(step)
            learns = {id(p) for _, p in stage.learners[who]}
            for named in stage.learners.values():
                for _, p in named:
                    p.requires_grad_(id(p) in learns)
            total = 0.0
            for part in range(loop["parts"]):
                rng = data.generator(run.device, loop["seed"], step, part)
                with precision(run.device):
                    loss = stage.loss(step, rng, loop["batch"]) / loop["parts"]
                loss.backward()
                total += loss.item()
            if total != total or abs(total) == float("inf"):
                sys.exit(f"the loss is {total} at step {step}; the last checkpoint is intact: {resume}")
            now = share * rate(loop, step, max(step / loop["steps"], spent / budget))
            norm = optimizers[who].step(now)
            spent += (secs := time.time() - started)
            numbers = {"step": step, "loss": total, "grad_norm": norm, "rate": now, "secs": secs}
            log.write(json.dumps(numbers) + "\n")
            step += 1
            if step % loop["save_every"] == 0:
                save()
            if step % 50 == 0 or step == loop["steps"]:
                print(f"{name} {step}/{loop['steps']}  loss {total:.4f}  {spent:.0f} s", flush=True)
    optimizers[next(iter(optimizers))].adopt_average()
    stage.finish()
    model.save(run.dir / "model.safetensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["encode", "ode-pairs", *stages.STAGES])
    parser.add_argument("--recipe", type=pathlib.Path)
    parser.add_argument("--from", dest="start", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path)
    parser.add_argument("--dir", type=pathlib.Path, required=True)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--deadline", type=float, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="compile the transformer's blocks")
    args = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    if (args.dir / "model.safetensors").exists():
        sys.exit(f"the run is finished: {args.dir}")
    torch._dynamo.config.cache_size_limit = 64  # a block is compiled anew for every length it sees
    model, run = Model(args.start, args.device, args.compile), Run(args)
    if args.stage == "encode":
        return data.encode(model, args.data, args.dir, args.device)
    if args.stage == "ode-pairs":
        return stages.ode_pairs(model, tomllib.loads(args.recipe.read_text()), run)
    recipe = read(args.recipe, stages.STAGES[args.stage].keys)
    run.seed = recipe["loop"]["seed"]
    return train(args.stage, model, recipe, run, args.minutes)


if __name__ == "__main__":
    main()
