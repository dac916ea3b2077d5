"""Creates a video, waits for it and saves it, by the openai package: python videos.py [BASE_URL [FILM]]"""

import os
import sys

from openai import OpenAI

BASE_URL = sys.argv[1] if 1 < len(sys.argv) else "http://127.0.0.1:8080/v1"
FILM = sys.argv[2] if 2 < len(sys.argv) else "video.mp4"

# The package wants a key even where the server has none.
client = OpenAI(base_url=BASE_URL, api_key=os.environ.get("SHOTSTREAM_KEY", "none"))

# The package sends a form. Several shots go as JSON: client.post("/videos", cast_to=Video, body={"prompt": "A title", "shots": [...]}).
prompt = "Wide shot: the red fox with a top hat walks through the snow by day."
video = client.videos.create(prompt=prompt, seconds="4", extra_body={"seed": 3})
print(f"{video.id}: {video.status}, {video.size}, {video.seconds} s")
video = client.videos.poll(video.id, poll_interval_ms=500)
if video.status != "completed":
    sys.exit(f"{video.id}: {video.status}, {video.error}")
client.videos.download_content(video.id).write_to_file(FILM)
print(f"{FILM}: {os.path.getsize(FILM)} bytes")
