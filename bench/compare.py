"""The runtime and PyTorch on the same weights, in turns on one machine.

    pip install -r bench/requirements.txt
    python bench/compare.py                       # tiny and wide
    python bench/compare.py large --turns 1       # Wan2.1-1.3B's sizes; 24 GiB

Every network answers the same question first, and the answers are compared. Then all take turns:
the runtime and PyTorch, in f32 and bf16, eager and compiled. Columns of PyTorch say how many times
longer than the runtime of the same precision it took: the median of the ratios within a turn, with
the least and the greatest. The last two compare the best of each side, by wall and processor time.
"""

import argparse
import json
import pathlib
import platform
import statistics
import subprocess
import tempfile
import time

import torch
from safetensors import safe_open
from safetensors.torch import save_file

import networks

ROOT = pathlib.Path(__file__).resolve().parents[1]
TINY = ROOT / "weights" / "tiny.safetensors"
NETWORKS = ["context", "denoise", "commit", "decode", "encode", "chunk"]
PRECISIONS = {"f32": torch.float32, "bf16": torch.bfloat16}


def configured(name):
    """The configuration of a model: the embedded one's, with other sizes."""
    with safe_open(TINY, "pt") as file:
        config = json.loads(file.metadata()["config"])
    if name == "wide":
        config["dit"] |= {"dim": 1280, "ffn_dim": 5120, "freq_dim": 256, "num_heads": 10, "text_dim": 960}
        config["vae"] |= {"dim": 96, "decoder_dim": 96}
    if name == "large":
        config["dit"] |= {"dim": 1536, "ffn_dim": 8960, "freq_dim": 256, "num_heads": 12,
                          "num_layers": 30, "text_dim": 4096, "text_len": 512}  # fmt: skip
        config["vae"] |= {"dim": 96, "decoder_dim": 96, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 2,
                          "temporal_downsample": [False, True, True], "patch": 1}  # fmt: skip
        config["recipe"] |= {"window_latent_frames": 21}
        config["recipe"]["geometry"] |= {"pixels": [480, 832]}
    return config


def invented(config):
    """Weights for a configuration, small enough that nothing overflows."""
    generator = torch.Generator().manual_seed(2603)
    d, v, weights = config["dit"], config["vae"], {}

    def tensor(name, *shape):
        into = max(1, torch.Size(shape[1:]).numel())
        values = torch.randn(*shape, generator=generator) * into**-0.5
        weights[name] = (values if name.endswith(("weight", "modulation")) and len(shape) > 1 else 1 + 0.1 * values
                         if name.endswith(("weight", "gamma")) else 0.1 * values).bfloat16()  # fmt: skip

    def layer(name, out, *into):
        tensor(f"{name}.weight", out, *into)
        tensor(f"{name}.bias", out)

    width = d["dim"]
    layer("dit.patch_embedding", width, d["in_dim"], *d["patch_size"])
    for part, into in [("text", d["text_dim"]), ("time", d["freq_dim"])]:
        layer(f"dit.{part}_embedding.0", width, into)
        layer(f"dit.{part}_embedding.2", width, width)
    layer("dit.time_projection.1", 6 * width, width)
    for n in range(d["num_layers"]):
        block = f"dit.blocks.{n}"
        tensor(f"{block}.modulation", 1, 6, width)
        for attention in ("self_attn", "cross_attn"):
            for part in "qkvo":
                layer(f"{block}.{attention}.{part}", width, width)
            for part in "qk":
                tensor(f"{block}.{attention}.norm_{part}.weight", width)
        layer(f"{block}.norm3", width)
        layer(f"{block}.ffn.0", d["ffn_dim"], width)
        layer(f"{block}.ffn.2", width, d["ffn_dim"])
    tensor("dit.head.modulation", 1, 2, width)
    layer("dit.head.head", 4 * d["out_dim"], width)

    def residual(name, into, out):
        tensor(f"{name}.residual.0.gamma", into, 1, 1, 1)
        layer(f"{name}.residual.2", out, into, 3, 3, 3)
        tensor(f"{name}.residual.3.gamma", out, 1, 1, 1)
        layer(f"{name}.residual.6", out, out, 3, 3, 3)
        if into != out:
            layer(f"{name}.shortcut", out, into, 1, 1, 1)

    z, colours = v["z_dim"], 3 * v["patch"] ** 2
    layer("vae.conv1", 2 * z, 2 * z, 1, 1, 1)
    layer("vae.conv2", z, z, 1, 1, 1)
    for half, base, first, last in [
        ("encoder", v["dim"], colours, 2 * z), ("decoder", v["decoder_dim"], z, colours)
    ]:  # fmt: skip
        widths, up = [base * m for m in v["dim_mult"]], half == "decoder"
        into, at, list_name = (widths[-1] if up else base), 0, "upsamples" if up else "downsamples"
        layer(f"vae.{half}.conv1", into, first, 3, 3, 3)
        for n in reversed(range(len(widths))) if up else range(len(widths)):
            for _ in range(v["num_res_blocks"] + up):
                residual(f"vae.{half}.{list_name}.{at}", into, widths[n])
                into, at = widths[n], at + 1
            if (n > 0) if up else (n + 1 < len(widths)):
                name, out = f"vae.{half}.{list_name}.{at}", into // 2 if up else into
                layer(f"{name}.resample.1", out, into, 3, 3)
                if v["temporal_downsample"][n - up]:
                    layer(f"{name}.time_conv", into * (1 + up), into, 3, 1, 1)
                into, at = out, at + 1
        deep = widths[-1]
        for n in (0, 2):
            residual(f"vae.{half}.middle.{n}", deep, deep)
        tensor(f"vae.{half}.middle.1.norm.gamma", deep, 1, 1)
        layer(f"vae.{half}.middle.1.to_qkv", 3 * deep, deep, 1, 1)
        layer(f"vae.{half}.middle.1.proj", deep, deep, 1, 1)
        tensor(f"vae.{half}.head.0.gamma", into, 1, 1, 1)
        layer(f"vae.{half}.head.2", last, into, 3, 3, 3)
    return weights


class Runtime:
    """Our program, which waits for the names of networks."""

    def __init__(self, model, threads, precision):
        program = ROOT / "target" / "release" / "examples" / "networks"
        self.process = subprocess.Popen(
            [program, model, str(threads), precision], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.hear()

    def hear(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("the runtime ended; what it said stands above")
        return json.loads(line)

    def run(self, *words):
        """Seconds of a run, and processor seconds."""
        print(*words, file=self.process.stdin, flush=True)
        heard = self.hear()
        return statistics.median(heard["wall"]), heard["cpu"] / len(heard["wall"])

    def answer(self, network):
        with tempfile.NamedTemporaryFile() as file:
            self.run(network, 1, file.name)
            return torch.frombuffer(bytearray(pathlib.Path(file.name).read_bytes()), dtype=torch.float32)

    def peak_bytes(self):
        """The most memory that it ever had."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def timed(run, rounds):
    """As `Runtime.run`."""
    walls, processor = [], time.process_time()
    for _ in range(rounds):
        start = time.perf_counter()
        run()
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
    config, at_once = configured(name), 1 if name == "large" else 3
    with tempfile.TemporaryDirectory() as folder:
        model = TINY if name == "tiny" else pathlib.Path(folder) / "model.safetensors"
        if name != "tiny":
            save_file(invented(config), model, metadata={"config": json.dumps(config)})
        with safe_open(model, "pt") as file:
            weights = {key: file.get_tensor(key) for key in file.keys()}
        ours = {p: Runtime(model, args.threads, p) for p in PRECISIONS if p in args.precisions}
    theirs = {
        f"PyTorch {p}{', compiled' if c else ''}": networks.Networks(config, weights, PRECISIONS[p], c, at_once)
        for p in ours
        for c in ([False] if args.eager else [False, True])
    }
    del weights
    print(f"\n## {name}\n")
    heading("difference from PyTorch f32", *(f"runtime {p}" for p in ours), *theirs)
    for network in [n for n in ("denoise", "decode", "encode") if n in args.networks]:
        answers = [ours[p].answer(network) for p in ours]
        answers += [getattr(side, network)().float().flatten() for side in theirs.values()]
        wanted = answers[len(ours)]
        row(network, *(f"{((a - wanted).square().mean() / wanted.square().mean()).sqrt():.1e}" for a in answers))
    print()
    heading("", *(f"runtime {p}" for p in ours), *theirs, "best, wall", "best, processor")
    for network in args.networks:
        runs = {f"runtime {p}": lambda rounds, p=p: ours[p].run(network, rounds) for p in ours}
        runs |= {s: lambda rounds, side=side: timed(getattr(side, network), rounds) for s, side in theirs.items()}
        # Whoever compiles does it now, and everyone finds its memory.
        once = [min(run(1)[0] for _ in range(3 if args.turns > 1 else 1)) for run in runs.values()]
        rounds = max(1, min(400, round(0.4 / min(once))))
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
    for precision, runtime in ours.items():
        print(f"most memory of the runtime in {precision}: {runtime.peak_bytes() / 2**30:.2f} GiB")
        runtime.process.stdin.close()
        runtime.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["tiny", "wide"], help="tiny, wide, large")
    parser.add_argument("--threads", type=int, default=2, help="threads of both (2)")
    parser.add_argument("--turns", type=int, default=7, help="turns of every network (7)")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=list(PRECISIONS))
    parser.add_argument("--eager", action="store_true", help="without torch.compile")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    build = ["cargo", "build", "--release", "--locked", "-p", "shotstream-runtime", "--example", "networks"]
    subprocess.run(build, cwd=ROOT, check=True)
    print(f"PyTorch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {args.threads} threads, {platform.machine()}")
    for name in args.models:
        compare(name, args)


if __name__ == "__main__":
    main()
