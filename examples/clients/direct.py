"""Begins a story, tells three shots, and saves the film: python direct.py [ADDRESS [FILM]]"""

import json
import os
import sys
from urllib.request import Request, urlopen

from websockets.sync.client import connect

SERVER = sys.argv[1] if 1 < len(sys.argv) else "127.0.0.1:8080"
FILM = sys.argv[2] if 2 < len(sys.argv) else "film.mp4"
KEY = os.environ.get("SHOTSTREAM_KEY")
HEADS = {"Authorization": f"Bearer {KEY}"} if KEY else {}
CAPTIONS = [
    "Wide shot: the red fox with a top hat walks through the snow by day.",
    "Medium shot: the fox waves hello at sunset.",
    "Close-up of the red fox with a hat at night, the camera pans left.",
]

# What holds for the whole story opens every prompt as it stands, so it ends with a space.
body = json.dumps({"title": "The fox", "global": "A red fox with a top hat. ", "seed": 3}).encode()
asked = Request(f"http://{SERVER}/v1/stories", body, HEADS | {"Content-Type": "application/json"})
story = json.load(urlopen(asked))["id"]
address = f"ws://{SERVER}/v1/stories/{story}/direct?format=none"
with connect(address, subprotocols=["shotstream.v1"], additional_headers=HEADS, max_size=None) as line:
    for caption in CAPTIONS:
        line.send(json.dumps({"type": "shot.append", "caption": caption}))
    finished = 0
    while finished < len(CAPTIONS):
        said = json.loads(line.recv())
        if said["type"] == "chunk.made":  # Nobody looks on, so every chunk counts as shown.
            line.send(json.dumps({"type": "playback", "frame": said["frame"] + said["frames"]}))
        elif said["type"] == "take.finished":
            finished += 1
        elif said["type"] in ("error", "take.failed"):
            sys.exit(str(said))
with urlopen(Request(f"http://{SERVER}/v1/stories/{story}/film.mp4", headers=HEADS)) as film, open(FILM, "wb") as file:
    print(f"{FILM}: {file.write(film.read())} bytes, story {story}")
