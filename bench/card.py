"""The runtime and PyTorch on one card, in turns: ratios of every network and of whole chunks.

    python bench/card.py [--model large] [--rounds 5] [--ours target/release/examples/card]

Weights are made up on both sides and of the same shapes; speed does not depend on their values.
PyTorch computes in bf16, as it is and compiled, with the quickest attention it has. Every other
round is ours. `--device cpu --model tiny` tries this program itself where there is no card.
"""

import argparse
import json
import statistics
import subprocess
import time

import models
import torch
from networks import Networks

PARTS = "context", "denoise", "commit", "decode", "encode", "chunk"


def ours(program, model, rounds):
    """Seconds of every part, as often as it was run."""
    said = subprocess.run([program, "parts", model, str(rounds)], check=True, capture_output=True, text=True)
    return json.loads(said.stdout.splitlines()[-1])


def theirs(networks, part, rounds, device):
    run, seconds = getattr(networks, part), []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return seconds[2:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="large", choices=["tiny", "wide", "large"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--ours", default="target/release/examples/card")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--no-compile", action="store_true", help="only PyTorch as it is")
    args = parser.parse_args()
    config = models.configured(args.model)
    weights = {name: tensor.to(args.device) for name, tensor in models.invented(config).items()}
    torch.set_default_device(args.device)
    if args.device == "cuda":
        print(torch.cuda.get_device_name(), "with PyTorch", torch.__version__)
    kinds = {"eager": False} if args.no_compile else {"eager": False, "compiled": True}
    found = {}
    with torch.inference_mode():
        for kind, compiled in kinds.items():
            networks = Networks(config, weights, torch.bfloat16, compiled, large=args.model == "large")
            for turn in range(args.turns):
                if args.device == "cuda":
                    mine = ours(args.ours, args.model, args.rounds)
                    for part in PARTS:
                        found.setdefault(("ours", part), []).extend(mine[part])
                for part in PARTS:
                    found.setdefault((kind, part), []).extend(theirs(networks, part, args.rounds, args.device))
            del networks
    ms = lambda kind, part: 1e3 * statistics.median(found[kind, part])
    names = [kind for kind in ("ours", *kinds) if (kind, "chunk") in found]
    print(f"\n{'part':10}", *(f"{name:>12}" for name in names), f"{'best of PyTorch / ours':>24}")
    for part in PARTS:
        best = min(ms(kind, part) for kind in kinds)
        ratio = f"{best / ms('ours', part):24.2f}" if "ours" in names else ""
        print(f"{part:10}", *(f"{ms(name, part):9.2f} ms" for name in names), ratio)


if __name__ == "__main__":
    main()
