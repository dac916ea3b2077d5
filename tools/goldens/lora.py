"""Goldens of low-rank adapters: what PEFT writes, and what the weights are once PEFT has merged it.

    pip install -r tools/goldens/requirements.txt
    python tools/goldens/lora.py           # writes testdata/lora
    python tools/goldens/lora.py ADAPTER BASE.safetensors MERGED.safetensors

The base is the network of `dit.py`. Two adapters are trained by nobody: their factors are random.
`plain` is the usual kind, on self-attention and the feed-forward network of every block; `stable`
divides by the root of its rank, and reaches layers outside the blocks.

With three arguments nothing is written: PEFT loads an adapter of ours onto the transformer of the
bundle BASE, merges it, and the result must be the transformer of the bundle MERGED.
"""

import json
import pathlib
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

GOLDENS = pathlib.Path(__file__).resolve().parents[2] / "testdata"
BASE = GOLDENS / "dit" / "weights.safetensors"
OUT = GOLDENS / "lora"
ATTENTION = [f"self_attn.{part}" for part in "qkvo"]
ADAPTERS = {
    "plain": LoraConfig(r=4, lora_alpha=6, target_modules=[*ATTENTION, "ffn.0", "ffn.2"]),
    "stable": LoraConfig(
        r=3, lora_alpha=2.5, use_rslora=True, target_modules=["q", "time_projection.1", "head.head"]
    ),
}


def network(weights):
    """The projections of a network as modules under their own names; PEFT needs no more."""
    root = torch.nn.Module()
    for name, weight in weights.items():
        if not name.endswith(".weight") or weight.ndim != 2:
            continue
        *path, last = name.removesuffix(".weight").split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, torch.nn.Module())
            module = getattr(module, part)
        linear = torch.nn.Linear(*reversed(weight.shape), bias=False)
        linear.weight.data = weight.clone()
        module.add_module(last, linear)
    return root


def merged(model):
    return {name: weight.detach() for name, weight in model.merge_and_unload().state_dict().items()}


def fill(model, generator):
    for name, weight in model.named_parameters():
        if "lora_" in name:
            weight.data = torch.randn(weight.shape, generator=generator) * weight.shape[1] ** -0.5


def sort_targets(path):
    """PEFT keeps them in a set, whose order changes from run to run."""
    config = json.loads(path.read_text())
    config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=2) + "\n")


def write():
    weights = load_file(BASE)
    generator = torch.Generator().manual_seed(2604)
    expected = {}
    for name, config in ADAPTERS.items():
        model = get_peft_model(network(weights), config)
        fill(model, generator)
        model.save_pretrained(OUT / name)
        (OUT / name / "README.md").unlink()
        sort_targets(OUT / name / "adapter_config.json")
        expected |= {f"{name}.{key}": weight for key, weight in merged(model).items()}
    model = PeftModel.from_pretrained(network(weights), OUT / "plain", adapter_name="plain")
    model.load_adapter(OUT / "stable", adapter_name="stable")
    model.base_model.set_adapter(["plain", "stable"])
    expected |= {f"both.{key}": weight for key, weight in merged(model).items()}
    # Only what an adapter changed; everything else must stay as it is in the base.
    changed = {
        key: weight.contiguous()
        for key, weight in expected.items()
        if not torch.equal(weight, weights[key.split(".", 1)[1]])
    }
    save_file(changed, OUT / "merged.safetensors")


def check(adapter, base, expected):
    def transformer(path):
        return {n.removeprefix("dit."): w for n, w in load_file(path).items() if n.startswith("dit.")}

    base, expected = transformer(base), transformer(expected)
    model = PeftModel.from_pretrained(network(base), adapter)
    names = [name for name, _ in model.named_parameters() if "lora_" in name]
    found = merged(model)
    worst = max((found[name] - expected[name]).abs().max().item() for name in found)
    moved = [name for name in found if not torch.equal(base[name], expected[name])]
    others = all(torch.equal(base[name], expected[name]) for name in base if name not in found)
    assert others, "a tensor that is no projection differs"
    assert len(names) == 2 * len(moved), f"{len(names)} factors, {len(moved)} merged weights"
    print(f"{len(moved)} merged weights, the largest difference is {worst:.1e}")
    assert worst < 1e-6


if __name__ == "__main__":
    if len(sys.argv) == 4:
        check(*sys.argv[1:])
    else:
        write()
