"""Muon for matrices, AdamW for the rest, clipping and the running average of the weights.

The rules of `crates/train/src/optimizer.rs`: the same parameters follow the same rule.
"""

import torch

MOMENTUM, EPSILON = 0.95, 1e-8
NEWTON_SCHULZ = 3.4445, -4.775, 2.0315
# First and last layers and tables stay with AdamW.
BOUNDARY = "embedding", "head", "modulation", "gamma", "conv1", "conv2"
DEFAULTS = {"betas": [0.9, 0.99], "weight_decay": 0.0, "clip": 1.0, "ema": 0.995}


def is_matrix(name, shape):
    # The table of relative positions has "embedding" in its official name only.
    boundary = any(part in name.replace("pos_embedding.embedding", "positions") for part in BOUNDARY)
    return sum(axis > 1 for axis in shape) >= 2 and not boundary


def orthogonal(x):
    """The orthogonal matrices nearest to `[N, rows, columns]`, roughly."""
    a, b, c = NEWTON_SCHULZ
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x
    x = x / (x.square().sum((1, 2), keepdim=True).sqrt() + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class Optimizer:
    """Its memory beside the parameters, which are given by official name."""

    def __init__(self, named, recipe):
        unknown = recipe.keys() - DEFAULTS.keys() - {"adamw_lr", "muon_lr"}
        assert not unknown, f"unknown keys in [optimizer]: {unknown}"
        self.recipe = DEFAULTS | recipe
        self.parameters = [p for _, p in named]
        muon = [self.recipe["muon_lr"] > 0 and is_matrix(name, p.shape) for name, p in named]
        self.vectors = [p for p, m in zip(self.parameters, muon) if not m]
        self.matrices = {}  # those of one shape are made orthogonal together
        for p, m in zip(self.parameters, muon):
            if m:
                self.matrices.setdefault((p.shape[0], p[0].numel()), []).append(p)
        zeros = lambda ps: [torch.zeros_like(p, requires_grad=False) for p in ps]
        self.first, self.second = zeros(self.vectors), zeros(self.vectors)
        self.momentum = {shape: torch.zeros(len(ps), *shape, device=ps[0].device) for shape, ps in self.matrices.items()}
        self.ema = [p.detach().clone() for p in self.parameters]
        self.updates = 0

    @torch.no_grad()
    def step(self, rate):
        """One update at `rate` times the recipe's; the gradient's norm before clipping."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        norm = torch.nn.utils.get_total_norm(gradients)
        of = dict(zip(map(id, self.parameters), gradients))
        shrink = (self.recipe["clip"] / norm.clamp_min(torch.finfo(torch.float32).tiny)).clamp(max=1)
        self.adamw([of[id(p)] * shrink for p in self.vectors], rate)
        for shape, ps in self.matrices.items():
            self.muon(ps, torch.stack([of[id(p)].reshape(shape) for p in ps]), self.momentum[shape], rate)
        # A young average follows closely, an old one slowly.
        decay = min(self.recipe["ema"], (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self.ema, self.parameters, 1 - decay)
        self.updates += 1
        for p in self.parameters:
            p.grad = None
        return float(norm)

    def adamw(self, gradients, rate):
        if not gradients:
            return
        (one, two), steps = self.recipe["betas"], self.updates + 1
        torch._foreach_lerp_(self.first, gradients, 1 - one)
        torch._foreach_mul_(self.second, two)
        torch._foreach_addcmul_(self.second, gradients, gradients, value=1 - two)
        torch._foreach_mul_(self.vectors, 1 - self.recipe["adamw_lr"] * rate * self.recipe["weight_decay"])
        root = torch._foreach_div(self.second, 1 - two**steps)
        torch._foreach_sqrt_(root)
        torch._foreach_add_(root, EPSILON)
        torch._foreach_addcdiv_(self.vectors, self.first, root, value=-self.recipe["adamw_lr"] * rate / (1 - one**steps))

    def muon(self, parameters, gradients, momentum, rate):
        momentum.lerp_(gradients, 1 - MOMENTUM)
        turned = orthogonal(momentum.lerp(gradients, 1 - MOMENTUM))
        lr = self.recipe["muon_lr"] * rate
        scale = lr * 0.2 * max(gradients.shape[1:]) ** 0.5
        for p, change in zip(parameters, turned):
            p.mul_(1 - lr * self.recipe["weight_decay"]).sub_(change.reshape(p.shape), alpha=scale)

    def adopt_average(self):
        """Put the averages in the place of the weights."""
        with torch.no_grad():
            for p, average in zip(self.parameters, self.ema):
                p.copy_(average)

    def state(self):
        kept = ("first", "second", "momentum", "ema", "updates")
        return {"values": [p.detach() for p in self.parameters]} | {k: getattr(self, k) for k in kept}

    @torch.no_grad()
    def restore(self, state):
        for p, value in zip(self.parameters, state.pop("values"), strict=True):
            p.copy_(value)
        vars(self).update(state)
