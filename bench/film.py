"""Where the processor time of a film goes, before and after the runtime, as a table and a picture.

    pip install -r bench/requirements.txt
    python bench/film.py docs/bench/profile.svg

Every stage of a shot of the embedded model runs alone, on the same pictures, in turns: the networks
in Burn, and in the runtime in f32 and bf16. What is counted is processor time of all threads, which
stages that overlap in a film cannot blur and other programs hardly change.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import tempfile

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from models import ROOT

STAGES = {
    "text": "#94a3b8", "context": "#fcd34d", "denoise": "#f59e0b", "commit": "#b45309", "decode": "#c2410c",
    "remember": "#7c2d12", "enlarge": "#bae6fd", "colours": "#7dd3fc", "H.264": "#0284c7", "boxes": "#0c4a6e",
}  # fmt: skip
NETWORKS = {"Burn": "Burn", "f32": "runtime, f32", "bf16": "runtime, bf16"}


def measured(turns):
    """Milliseconds of every turn, by who ran the networks, and by stage."""
    build = ["cargo", "build", "--release", "--locked", "--workspace", "--bin", "shotstream", "--example", "profile"]
    subprocess.run(build, cwd=ROOT, check=True)
    target = ROOT / "target" / "release"
    with tempfile.TemporaryDirectory() as folder:
        small = pathlib.Path(folder) / "small.mp4"
        story = ["generate", "examples/fox-in-the-snow.json", "--scale", "1", "-o", small]
        subprocess.run([target / "shotstream", *story], cwd=ROOT, check=True)
        run = [target / "examples" / "profile", small, str(turns)]
        lines = subprocess.run(run, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    turns = [json.loads(line) for line in lines]
    return {
        who: {stage: [(turn[who] | turn["film"])[stage] for turn in turns] for stage in STAGES} for who in NETWORKS
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=pathlib.Path, help="where the plot goes")
    parser.add_argument("--turns", type=int, default=15, help="of every stage (15)")
    args = parser.parse_args()
    times = measured(args.turns)
    middle = {who: {stage: statistics.median(some) for stage, some in stages.items()} for who, stages in times.items()}
    print("| a shot of 33 frames, ms of the processor | " + " | ".join(NETWORKS.values()) + " |\n|---|---|---|---|")
    for stage in STAGES:
        cells = [f"{middle[who][stage]:.1f} ({min(times[who][stage]):.1f}–{max(times[who][stage]):.1f})" for who in NETWORKS]
        print(f"| {stage} | " + " | ".join(cells) + " |")
    print("| together | " + " | ".join(f"{sum(middle[who].values()):.0f}" for who in NETWORKS) + " |")
    figure, axis = pyplot.subplots(figsize=(10, 2.8), layout="constrained")
    left = dict.fromkeys(NETWORKS, 0.0)
    for stage, colour in STAGES.items():
        widths = [middle[who][stage] for who in NETWORKS]
        axis.barh(list(NETWORKS.values()), widths, left=list(left.values()), color=colour, label=stage, height=0.6)
        for row, (who, width) in enumerate(zip(NETWORKS, widths)):
            if width > 0.025 * max(sum(middle[w].values()) for w in NETWORKS):
                dark = colour in ("#b45309", "#c2410c", "#7c2d12", "#0284c7", "#0c4a6e")
                axis.text(left[who] + width / 2, row, f"{width:.0f}", ha="center", va="center", fontsize=8,
                          color="white" if dark else "black")  # fmt: skip
            left[who] += width
    axis.invert_yaxis()
    axis.set_xlabel("milliseconds of the processor for a shot of 33 frames")
    axis.grid(axis="x", alpha=0.3)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False, ncols=len(STAGES), loc="upper center", bbox_to_anchor=(0.5, 1.25), fontsize=8,
                columnspacing=1, handlelength=1)  # fmt: skip
    figure.savefig(args.picture)


if __name__ == "__main__":
    main()
