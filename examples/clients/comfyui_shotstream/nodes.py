"""The nodes: a story from captions, a film that was directed in the studio, a remix."""

import time

from .film import pictures_of
from .server import Server, ShotstreamError

#: Seconds between two looks at a video that is being made.
LOOK = 0.5

#: Seeds that a number of the web keeps exactly.
LARGEST_SEED = 2**53 - 1

SERVER_INPUTS = {
    "server": ("STRING", {"default": "http://127.0.0.1:8080", "tooltip": "Where shotstream serve says the studio is."}),
    "key": ("STRING", {"default": "", "tooltip": "Empty: that of the variable SHOTSTREAM_KEY. ComfyUI writes what stands here into workflows and pictures."}),
}


def captions_of(text):
    """One caption a line; empty lines say nothing."""
    captions = [line.strip() for line in text.splitlines() if line.strip()]
    if not captions:
        raise ShotstreamError("a caption a line was expected, none came")
    return captions


class Patience:
    """Shows how far a video is, and notices when the one who waits has had enough."""

    def __init__(self):
        try:
            import comfy.model_management
            import comfy.utils
            self.check = comfy.model_management.throw_exception_if_processing_interrupted
            self.bar = comfy.utils.ProgressBar(100)
        except (ImportError, AttributeError):
            # Outside ComfyUI nobody looks on.
            self.check, self.bar = lambda: None, None

    def show(self, percent):
        self.check()
        if self.bar:
            self.bar.update_absolute(percent, 100)


def finished(server, video):
    """Wait for a video; give its pictures, frames a second and name. One nobody waits for is removed."""
    patience = Patience()
    try:
        while video["status"] in ("queued", "in_progress"):
            patience.show(video["progress"])
            time.sleep(LOOK)
            video = server.ask("GET", f"/v1/videos/{video['id']}")
    except BaseException as error:
        if not isinstance(error, ShotstreamError):
            server.ask("DELETE", f"/v1/videos/{video['id']}")
        raise
    if video["status"] != "completed":
        raise ShotstreamError(f"the video could not be made: {(video.get('error') or {}).get('message', video['status'])}")
    patience.show(100)
    return (*pictures_of(server.fetch("GET", f"/v1/videos/{video['id']}/content")), video["id"])


class Node:
    """What all of them have in common."""

    RETURN_TYPES = ("IMAGE", "FLOAT", "STRING")
    RETURN_NAMES = ("frames", "fps", "video")
    FUNCTION = "make"
    CATEGORY = "video/shotstream"


class ShotstreamStory(Node):
    """A caption a line becomes a film of as many shots."""

    DESCRIPTION = "Tells a story shot by shot on a shotstream server: one caption a line."

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "captions": ("STRING", {"multiline": True, "default": "Wide shot: the red fox waves in the snow by day.\nClose-up of the fox at night."}),
                "seconds": ("FLOAT", {"default": 2.0, "min": 0.1, "max": 600.0, "step": 0.1, "tooltip": "Of every shot; rounded up to whole chunks."}),
                "seed": ("INT", {"default": 0, "min": 0, "max": LARGEST_SEED}),
                **SERVER_INPUTS,
            }
        }

    @classmethod
    def IS_CHANGED(cls, captions, seconds, seed, server, key):
        """The same words and seed make the same film, on the same model."""
        return Server(server, key).ask("GET", "/v1/models")["data"][0]["id"]

    def make(self, captions, seconds, seed, server, key):
        server = Server(server, key)
        shots = [{"prompt": caption, "seconds": seconds} for caption in captions_of(captions)]
        asked = {"prompt": "A story of ComfyUI", "shots": shots, "seed": seed}
        return finished(server, server.ask("POST", "/v1/videos", asked))


class ShotstreamRemix(Node):
    """A video once more, with another first caption."""

    DESCRIPTION = "Makes a video of ShotStream story again with another first caption; everything else stays."

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "video": ("STRING", {"forceInput": True}),
                "caption": ("STRING", {"multiline": True, "default": ""}),
                **SERVER_INPUTS,
            }
        }

    def make(self, video, caption, server, key):
        server = Server(server, key)
        [caption] = captions_of(" ".join(caption.split()))
        return finished(server, server.ask("POST", f"/v1/videos/{video}/remix", {"prompt": caption}))


class ShotstreamFilm(Node):
    """The film of a story that is directed in the studio, as it stands."""

    RETURN_TYPES = ("IMAGE", "FLOAT")
    RETURN_NAMES = ("frames", "fps")
    DESCRIPTION = "Takes the film of a story out of the studio, by the name that stands in the studio's address."

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"story": ("STRING", {"default": "story_"}), **SERVER_INPUTS}}

    @classmethod
    def IS_CHANGED(cls, story, server, key):
        """Another film when another chunk is in it."""
        found = Server(server, key).ask("GET", f"/v1/stories/{story.strip()}")
        return " ".join(chunk["rgb"] for take in found["line"] for chunk in found["takes"][take - 1]["chunks"])

    def make(self, story, server, key):
        return pictures_of(Server(server, key).fetch("GET", f"/v1/stories/{story.strip()}/film.mp4"))


NODE_CLASS_MAPPINGS = {
    "ShotstreamStory": ShotstreamStory,
    "ShotstreamRemix": ShotstreamRemix,
    "ShotstreamFilm": ShotstreamFilm,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "ShotstreamStory": "ShotStream story",
    "ShotstreamRemix": "ShotStream remix",
    "ShotstreamFilm": "ShotStream film",
}
