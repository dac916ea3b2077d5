"""The runtime's example `networks`, which waits for the names of networks."""

import json
import pathlib
import statistics
import subprocess
import tempfile

import torch

from models import ROOT


def build(device="cpu"):
    """Build the example; where it is."""
    command = ["cargo", "build", "--release", "--locked", "-p", "shotstream-runtime", "--example", "networks"]
    subprocess.run(command + ["--features", "cuda"] * (device == "cuda"), cwd=ROOT, check=True)
    return ROOT / "target" / "release" / "examples" / "networks"


class Runtime:
    """One process with a model."""

    def __init__(self, program, model, threads, precision):
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

    def end(self):
        self.process.stdin.close()
        self.process.wait()
