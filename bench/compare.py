"""The runtime and PyTorch on the same weights, in turns on one machine.

    pip install -r bench/requirements.txt
    python bench/compare.py                                            # tiny and wide
    python bench/compare.py large --networks chunk --precisions bf16   # Wan2.1-1.3B; half an hour
    python bench/compare.py large --device cuda                        # on a card, in bf16

Every network answers the same question first, and the answers are compared. Then all take turns:
the runtime and PyTorch, in f32 and bf16, eager and compiled. Columns of PyTorch say how many times
longer than the runtime of the same precision it took: the median of the ratios within a turn, with
the least and the greatest. The last two compare the best of each side, by wall and processor time.
"""

import argparse
import pathlib
import platform
import resource
import statistics
import tempfile
import time

import torch
from safetensors import safe_open

import models
import networks
import runtime

NETWORKS = ["context", "denoise", "commit", "decode", "encode", "chunk"]
PRECISIONS = {"f32": torch.float32, "bf16": torch.bfloat16}
# The runtime also keeps a transformer's weights in bytes.
WAYS = [*PRECISIONS, "int8"]


def timed(run, rounds):
    """As `Runtime.run`."""
    walls, processor = [], time.process_time()
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        walls.append(time.perf_counter() - start)
    return statistics.median(walls), (time.process_time() - processor) / rounds


def spread(ratios):
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})"


def row(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def heading(*cells):
    row(*cells)
    print("|---" * len(cells) + "|")


@torch.inference_mode()
def compare(name, args):
    if name == "large" and args.device == "cpu":
        return compare_apart(args)
    config = models.configured(name)
    with tempfile.TemporaryDirectory() as folder:
        model = models.TINY if name == "tiny" else pathlib.Path(folder) / "model.safetensors"
        if name != "tiny":
            models.save(config, model)
        with safe_open(model, "pt", device=args.device) as file:
            weights = {key: file.get_tensor(key) for key in file.keys()}
        start = lambda p: runtime.Runtime(args.program, model, args.threads, "cuda" if args.device == "cuda" else p)
        ours = {p: start(p) for p in WAYS if p in args.precisions}
    with torch.device(args.device):
        theirs = {
            f"PyTorch {p}{', compiled' if c else ''}": networks.Networks(config, weights, PRECISIONS[p], c)
            for p in PRECISIONS
            if args.device == "cuda" or p in ours
            for c in ([False] if args.eager or p not in ours else [False, True])
        }
    del weights
    print(f"\n## {name}\n")
    heading("difference from PyTorch f32", *(f"runtime {p}" for p in ours), *theirs)
    for network in [n for n in ("denoise", "decode", "encode") if n in args.networks]:
        answers = [ours[p].answer(network) for p in ours]
        answers += [getattr(side, network)().float().flatten().cpu() for side in theirs.values()]
        wanted = answers[len(ours)]
        row(network, *(f"{((a - wanted).square().mean() / wanted.square().mean()).sqrt():.1e}" for a in answers))
    print()
    # On a card float32 was only there to compare with.
    theirs = {name: side for name, side in theirs.items() if any(f" {p}" in name for p in ours)}
    heading("", *(f"runtime {p}" for p in ours), *theirs, "best, wall", "best, processor")
    for network in args.networks:
        runs = {f"runtime {p}": lambda rounds, p=p: ours[p].run(network, rounds) for p in ours}
        runs |= {s: lambda rounds, side=side: timed(getattr(side, network), rounds) for s, side in theirs.items()}
        # Whoever compiles does it now, and everyone finds its memory.
        once = [min(run(1)[0] for _ in range(3 if args.turns > 1 else 1)) for run in runs.values()]
        rounds = max(1, min(400, round(0.15 / min(once))))
        turns = [[run(rounds) for run in runs.values()] for _ in range(args.turns)]
        middle = [statistics.median(turn[n][0] for turn in turns) for n in range(len(runs))]
        cells = [f"{1e3 * m:.2f} ms" for m in middle[: len(ours)]]
        for n, side in enumerate(theirs, len(ours)):
            own = next(k for k, p in enumerate(ours) if f" {p}" in side)
            cells.append(spread([turn[n][0] / turn[own][0] for turn in turns]))
        for kind in (0, 1):
            least = lambda some: min(some, key=lambda n: statistics.median(turn[n][kind] for turn in turns))
            mine, other = least(range(len(ours))), least(range(len(ours), len(runs)))
            cells.append(spread([turn[other][kind] / turn[mine][kind] for turn in turns]))
        row(network, *cells)
    print()
    for precision, process in ours.items():
        print(f"most memory of the runtime in {precision}: {process.peak_bytes() / 2**30:.2f} GiB")
        process.end()


@torch.inference_mode()
def compare_apart(args):
    """The sizes of Wan2.1-1.3B: one side after the other, since both at once have no room."""
    config = models.configured("large")
    print("\n## large\n")
    heading("", *args.networks, "most memory")
    with tempfile.TemporaryDirectory() as folder:
        model = pathlib.Path(folder) / "model.safetensors"
        models.save(config, model)
        for precision in args.precisions:
            ours = runtime.Runtime(args.program, model, args.threads, precision)
            cells = [f"{ours.run(network, 1)[0]:.1f} s" for network in args.networks]
            row(f"runtime {precision}", *cells, f"{ours.peak_bytes() / 2**30:.1f} GiB")
            ours.end()
        for precision in [p for p in args.precisions if p in PRECISIONS]:
            with safe_open(model, "pt") as file:
                weights = {key: file.get_tensor(key) for key in file.keys()}
            side = networks.Networks(config, weights, PRECISIONS[precision], False, large=True)
            del weights
            cells = [f"{timed(getattr(side, network), 1)[0]:.1f} s" for network in args.networks]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            row(f"PyTorch {precision}", *cells, f"{peak:.1f} GiB")
            del side


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["tiny", "wide"], help="tiny, wide, large")
    parser.add_argument("--threads", type=int, default=2, help="threads of both (2)")
    parser.add_argument("--turns", type=int, default=7, help="turns of every network (7)")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=WAYS)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="where both run; on a card in bf16")
    parser.add_argument("--program", type=pathlib.Path, help="the example `networks`, built before")
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.program = args.program or runtime.build(args.device)
    where = f"{torch.backends.cpu.get_cpu_capability()}, {args.threads} threads"
    if args.device == "cuda":
        where, args.precisions = torch.cuda.get_device_name(), ["bf16"]
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    print(f"PyTorch {torch.__version__}, {where}, {platform.machine()}")
    for name in args.models:
        compare(name, args)


if __name__ == "__main__":
    main()
