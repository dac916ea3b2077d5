"""Attacks a running server with everything a network can bring, while somebody tells a story on it.

    python tools/abuse/abuse.py --pid PID [--port 8080] [--key KEY] [--only words,files]

The server must be on this machine. Prints a table, and leaves with 1 if anything went wrong.
"""

import argparse
import sys
import time
from pathlib import Path

import crowd
import file_attacks
import http_attacks
import line_attacks
from director import Director
from wire import Report, Target, counted, request

MIB = 1024


class Memory:
    """What the server takes of the machine, in MiB, from what the kernel says of it."""

    def __init__(self, pid):
        self.folder = Path("/proc") / str(pid)

    def _read(self, name):
        for line in (self.folder / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise SystemExit(f"the server is gone: {self.folder}")

    def now(self):
        return self._read("VmRSS") // MIB

    def high(self):
        return self._read("VmHWM") // MIB

    def threads(self):
        return self._read("Threads")

    def open_files(self):
        return len(list((self.folder / "fd").iterdir()))

    def file_limit(self):
        limits = (self.folder / "limits").read_text().splitlines()
        return next(line for line in limits if line.startswith("Max open files")).split()[3]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--pid", type=int, required=True, help="the server's process")
    parser.add_argument("--key", help="a key of the server, if it has any")
    parser.add_argument("--only", help="attacks, with commas between them")
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--most-memory", type=int, default=1_024, help="MiB that the server may ever take")
    return parser.parse_args()


def main():
    asked = arguments()
    target, report, memory = Target(asked.host, asked.port, asked.key), Report(), Memory(asked.pid)
    attacks = {
        "keys": lambda: http_attacks.keys(target, report),
        "paths": lambda: http_attacks.paths(target, report),
        "heads": lambda: http_attacks.heads(target, report),
        "bodies": lambda: http_attacks.bodies(target, report),
        "queue": lambda: http_attacks.queue(target, report),
        "downloads": lambda: http_attacks.downloads(target, report, memory, director.story),
        "words": lambda: line_attacks.words(target, report),
        "playback": lambda: line_attacks.playback(target, report),
        "frames": lambda: line_attacks.frames(target, report),
        "flood": lambda: line_attacks.flood(target, report),
        "slots": lambda: line_attacks.crowded(target, report),
        "files": lambda: file_attacks.files(target, report, memory),
        "heavy": lambda: file_attacks.slow_list(target, report),
        "crowd": lambda: crowd.crowd(target, report, memory, asked.connections),
    }
    wanted = asked.only.split(",") if asked.only else list(attacks)
    if unknown := set(wanted) - set(attacks):
        raise SystemExit(f"no such attack: {', '.join(unknown)}; there are {', '.join(attacks)}")
    crowd.raise_file_limit(asked.connections + 1_000)
    before = (memory.now(), memory.threads(), memory.open_files())
    print(f"before: {before[0]} MiB, {before[1]} threads, {before[2]} of {memory.file_limit()} files")
    director = Director(target)
    director.start()
    half_open, sleepers = crowd.HalfOpen(target), line_attacks.Sleepers(target, director.story)
    for name in wanted:
        start, waited = time.monotonic(), sum(director.waits)
        said = attacks[name]()
        print(f"{name}: {time.monotonic() - start:.1f} s, the director waited {sum(director.waits) - waited:.1f} s, "
              f"{memory.now()} MiB now, {memory.high()} MiB at most{f'; {said}' if said else ''}", flush=True)
        if not director.is_alive():
            break
    sleepers.end(report)
    half_open.end(report)
    print("the director:", director.end(report))
    time.sleep(5)
    settle(target, report, memory, before, asked.most_memory)
    print(report.table())
    return any(not right for *_, right in report.rows)


def settle(target, report, memory, before, most):
    """After all of it the server lives, answers, and has given everything back."""
    area = "afterwards"
    for path in ("/healthz", "/readyz", "/v1/models", "/metrics", "/"):
        report.status(area, path, [200], request(target, "GET", path))
    report.note(area, "memory at most, MiB", f"{most} or less", memory.high(), memory.high() <= most)
    report.note(area, "threads", f"{before[1] + 8} or less", memory.threads(), memory.threads() <= before[1] + 8)
    report.note(area, "open files", f"{before[2] + 40} or less", memory.open_files(), memory.open_files() <= before[2] + 40)
    viewers = counted(target, "viewers")
    report.note(area, "open lines, as the server counts them", 0, viewers, viewers == 0)
    print(f"after: {memory.now()} MiB, {memory.high()} MiB at most, {memory.threads()} threads, {memory.open_files()} files")


if __name__ == "__main__":
    sys.exit(main())
