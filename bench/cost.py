"""What a denoising step costs as work grows, beside what arithmetic says.

    pip install -r bench/requirements.txt
    python bench/cost.py docs/bench/cost.svg

Every step is measured in turns with one of the embedded model, and given in multiples of that. The
arithmetic counts multiplications and additions of projections, feed-forward networks and attention.
"""

import argparse
import copy
import pathlib
import statistics
import tempfile

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

import models
import runtime

CHUNK, CONTEXT, TURNS = 3, 6, 5


def flops(config):
    """Of the middle chunk of a shot."""
    d, (height, width) = config["dit"], config["recipe"]["geometry"]["pixels"]
    frame = height // 16 * (width // 16)
    before = config["recipe"]["window_latent_frames"] // CHUNK // 2 * CHUNK
    tokens, keys = CHUNK * frame, (CONTEXT + before + CHUNK) * frame
    dim, projections = d["dim"], 6 * d["dim"] ** 2 + 2 * d["dim"] * d["ffn_dim"]
    return 2 * tokens * d["num_layers"] * (projections + 2 * dim * (keys + d["text_len"]))


def changed(**sizes):
    config = copy.deepcopy(models.configured("tiny"))
    config["dit"] |= {k: v for k, v in sizes.items() if k in config["dit"]}
    config["recipe"]["geometry"] |= {k: v for k, v in sizes.items() if k == "pixels"}
    return config


GROWING = {
    "tokens of a chunk": [
        (CHUNK * h * w // 256, changed(pixels=[h, w]))
        for h, w in [(48, 80), (80, 128), (128, 208), (192, 320), (256, 416)]
    ],
    "layers": [(n, changed(num_layers=n)) for n in (1, 2, 4, 6, 12, 24)],
    "width": [(32 * n, changed(dim=32 * n, ffn_dim=128 * n, num_heads=n)) for n in (1, 2, 4, 8, 16, 32)],
}


def once(processes):
    """Seconds of a step, where all of these run at once."""
    rounds = max(3, round(0.15 / processes[0].run("denoise", 1)[0]))
    for process in processes:
        print("denoise", rounds, file=process.process.stdin, flush=True)
    heard = [process.hear()["wall"] for process in processes]
    return statistics.median(wall for walls in heard for wall in walls)


def measured(config, base, args, sessions=1):
    """Times the embedded model's step, which is run in turns: the median, the least, the greatest."""
    with tempfile.NamedTemporaryFile(suffix=".safetensors") as file:
        models.save(config, file.name)
        processes = [runtime.Runtime(args.program, file.name, args.threads, args.precision) for _ in range(sessions)]
    turns = [once(processes) / once([base]) for _ in range(TURNS)]
    for process in processes:
        process.end()
    return statistics.median(turns), min(turns), max(turns)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=pathlib.Path, help="where the plot goes")
    parser.add_argument("--threads", type=int, default=2, help="of every process (2)")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    args = parser.parse_args()
    args.program = runtime.build()
    base, plain = runtime.Runtime(args.program, models.TINY, args.threads, args.precision), changed()
    curves = {
        title: [(at, flops(config), measured(config, base, args)) for at, config in some]
        for title, some in GROWING.items()
    }
    # Sessions share the cores, so each waits for all.
    curves["sessions at once"] = [(n, n * flops(plain), measured(plain, base, args, n)) for n in (1, 2, 4, 8)]
    base.end()
    print("| what grows | | measured | arithmetic | ratio |\n|---|---|---|---|---|")
    figure, axes = pyplot.subplots(1, len(curves), figsize=(13, 3.2), layout="constrained")
    for axis, (title, points) in zip(axes, curves.items()):
        said = [count / flops(plain) for _, count, _ in points]
        for (at, _, (middle, least, most)), expected in zip(points, said):
            print(f"| {title} | {at} | {middle:.2f} ({least:.2f}–{most:.2f}) | {expected:.2f} | {middle / expected:.2f} |")
        x, middle = [at for at, *_ in points], [times[0] for *_, times in points]
        spread = [[m - t[1] for m, (*_, t) in zip(middle, points)], [t[2] - m for m, (*_, t) in zip(middle, points)]]
        axis.errorbar(x, middle, spread, fmt="o", color="#c2410c", capsize=3, label="measured")
        axis.plot(x, said, color="#334155", label="arithmetic")
        axis.set(xscale="log", yscale="log", xlabel=title, xticks=x, xticklabels=x)
        axis.yaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("times the embedded model's step")
    axes[0].legend(frameon=False)
    figure.savefig(args.picture)


if __name__ == "__main__":
    main()
