"""Somebody who tells a story in peace while the server is attacked."""

import json
import threading
import time

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from wire import request

CAPTIONS = [
    "Wide shot: the red fox with a top hat walks through the snow by day.",
    "Medium shot: the fox waves hello at sunset.",
    "Close-up of the red fox at night, the camera pans left.",
    "Wide shot: the fox jumps on the beach at noon.",
]


class Director(threading.Thread):
    """Asks for the next shot as the last one begins, and shows frames as a player would."""

    def __init__(self, target):
        super().__init__(name="director", daemon=True)
        self.target = target
        self.enough = threading.Event()
        self.story = request(target, "POST", "/v1/stories", {"global": "A red fox. ", "seed": 3}).json()["id"]
        self.hashes, self.waits, self.troubles = [], [], []
        self.asked = self.finished = 0
        self.longest_wait = 0.0

    def run(self):
        try:
            heads = {"Authorization": f"Bearer {self.target.key}"} if self.target.key else {}
            address = f"ws://{self.target.address}/v1/stories/{self.story}/direct"
            # Without limits of its own: whatever is wrong is the server's.
            with connect(address, subprotocols=["shotstream.v1"], additional_headers=heads, max_size=None) as line:
                self._tell(line)
        except (ConnectionClosed, OSError, TimeoutError) as error:
            self.troubles.append(f"the line broke: {error}")

    def _ask(self, line):
        caption = CAPTIONS[self.asked % len(CAPTIONS)]
        line.send(json.dumps({"type": "shot.append", "event_id": f"shot {self.asked}", "caption": caption}))
        self.asked += 1

    def _tell(self, line):
        fps, came, shown, clock, waited = 16, 0, 0.0, None, 0.0
        self._ask(line)
        while self.finished < self.asked or not self.enough.is_set():
            now = time.monotonic()
            if clock is not None:
                moved = (now - clock) * fps
                # A player that has shown everything waits.
                late = shown + moved - came
                if late <= 0:
                    waited = 0.0
                elif self.hashes:
                    self.waits.append(late / fps)
                    waited += late / fps
                    self.longest_wait = max(self.longest_wait, waited)
                shown = min(float(came), shown + moved)
                line.send(json.dumps({"type": "playback", "frame": int(shown)}))
            clock = now
            try:
                message = line.recv(timeout=0.1)
            except TimeoutError:
                continue
            if isinstance(message, bytes):
                continue
            said = json.loads(message)
            kind = said["type"]
            if kind == "session.created" and self.hashes:
                self.troubles.append("the line fell behind")
            elif kind == "error":
                self.troubles.append(message[:200])
            elif kind == "take.failed":
                self.troubles.append(message[:200])
                self.finished += 1
            elif kind == "chunk.made":
                came = said["frame"] + said["frames"]
                self.hashes.append(said["rgb"])
            elif kind == "take.started" and not self.enough.is_set():
                self._ask(line)
            elif kind == "take.finished":
                self.finished += 1

    def end(self, report, patience=120):
        """Let the story come to its end, and look whether all of it is there."""
        self.enough.set()
        self.join(patience)
        area = "the director"
        report.note(area, "comes to an end", "alive no longer", "still waits" if self.is_alive() else "ended", not self.is_alive())
        report.note(area, "was told of no trouble", [], self.troubles, not self.troubles)
        story = request(self.target, "GET", f"/v1/stories/{self.story}").json()
        kept = [chunk["rgb"] for take in story["line"] for chunk in story["takes"][take - 1]["chunks"]]
        report.note(area, "every chunk that was announced is kept, in order", len(self.hashes), len(kept), kept == self.hashes)
        film = request(self.target, "GET", f"/v1/stories/{self.story}/film.mp4", timeout=60)
        report.status(area, "the film can be had", [200], film)
        return f"{self.finished} shots, {len(kept)} chunks, {sum(self.waits):.1f} s waited for pictures, {self.longest_wait:.2f} s at once"
