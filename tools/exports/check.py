"""Opens a folder of exports with programs that know nothing of ours, and compares what they read.

    python tools/exports/check.py FOLDER

The story file in the folder says what was told; everything else must say the same. `ffprobe` reads
the films. Prints a line a file, and fails at the first that disagrees.
"""

import html
import json
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from fractions import Fraction
from pathlib import Path

import opentimelineio as otio
import pysrt
import webvtt
from PIL import Image

FPS = 16
TIMECODE_RATE = 48
PROJECT_RATE = 24


def expect(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: expected {expected}, found {found}")


def one_line(text):
    return " ".join(text.split())


def ceil_tick(frame, rate):
    """The first tick of a clock at which a frame is seen."""
    return -(-frame * rate // FPS)


def only_track(timeline):
    [track] = timeline.video_tracks()
    return [clip for clip in track if isinstance(clip, otio.schema.Clip)]


def check_otio(path, film, shots):
    timeline = otio.adapters.read_from_file(str(path))
    clips = only_track(timeline)
    expect("clips", len(clips), len(shots))
    for clip, (start, end, caption) in zip(clips, shots):
        span = clip.source_range
        expect("rate", span.start_time.rate, FPS)
        expect("source", (span.start_time.value, span.duration.value), (start, end - start))
        expect("place", clip.range_in_parent().start_time.value, start)
        expect("film", clip.media_reference.target_url, film.replace(" ", "%20"))
        expect("caption", clip.metadata["shotstream"]["caption"], caption)
        expect("markers", len(clip.markers), 1)


def check_edl(path, film, shots):
    timeline = otio.adapters.read_from_file(str(path), rate=TIMECODE_RATE)
    clips = only_track(timeline)
    expect("clips", len(clips), len(shots))
    for clip, (start, end, caption) in zip(clips, shots):
        span = clip.source_range
        ticks = (span.start_time.value, span.duration.value)
        expect("source", ticks, (3 * start, 3 * (end - start)))
        expect("place", clip.range_in_parent().start_time.value, 3 * start)
        expect("film", clip.name, film)
        expect("markers", len(clip.markers), 1)
        expect("caption", clip.metadata["cmx_3600"]["comments"][0], f"COMMENT: {caption}")


def seconds(text):
    return Fraction(text.removesuffix("s"))


def check_fcpxml(path, film, shots):
    found = otio.adapters.read_from_file(str(path))
    [timeline] = found if isinstance(found, otio.schema.SerializableCollection) else [found]
    clips = only_track(timeline)
    expect("clips", len(clips), len(shots))
    places = ElementTree.parse(path).getroot().findall(".//spine/asset-clip")
    total = shots[-1][1]
    for clip, place, (start, end, caption) in zip(clips, places, shots):
        # The reader rounds down to frames of the film: every cut must fall into its shot's first.
        expect("source", clip.source_range.start_time, otio.opentime.RationalTime(start, FPS))
        expect("film", clip.media_reference.target_url.rsplit("/", 1)[1], film.replace(" ", "%20"))
        expect("markers", len(clip.markers), 1)
        expect("caption", place.find("note").text, caption)
        first = ceil_tick(start, PROJECT_RATE)
        last = total * PROJECT_RATE // FPS if end == total else ceil_tick(end, PROJECT_RATE)
        wanted = [Fraction(ticks, PROJECT_RATE) for ticks in (first, first, last - first)]
        times = [seconds(place.get(name)) for name in ("offset", "start", "duration")]
        expect("place", times, wanted)


def check_cues(cues, shots):
    expect("cues", len(cues), len(shots))
    for (start, end, text), (first, last, caption) in zip(cues, shots):
        wanted = [round(Fraction(1000 * frame, FPS) + Fraction(1, 10**6)) for frame in (first, last)]
        expect("time", [start, end], wanted)
        if text is not None:
            expect("text", text, caption)


def unbracketed(text):
    return text.replace("<", "‹").replace(">", "›").replace("{\\", "{ \\")


def check_vtt(path, shots, titles=False):
    millis = lambda time: ((time.hours * 60 + time.minutes) * 60 + time.seconds) * 1000 + time.milliseconds
    cues = webvtt.read(str(path))
    check_cues(
        [(millis(c.start_time), millis(c.end_time), None if titles else html.unescape(c.text)) for c in cues], shots
    )


def check_srt(path, shots):
    cues = pysrt.open(str(path))
    shots = [(start, end, unbracketed(caption)) for start, end, caption in shots]
    check_cues([(cue.start.ordinal, cue.end.ordinal, cue.text) for cue in cues], shots)


def probe(path, *entries):
    command = ["ffprobe", "-v", "error", "-of", "json", "-count_frames", "-select_streams", "v:0"]
    said = subprocess.run([*command, *entries, str(path)], capture_output=True, check=True)
    expect("complaints", said.stderr, b"")
    return json.loads(said.stdout)


def check_film(path, frames, chapters=None):
    said = probe(path, "-show_streams", "-show_chapters")
    [stream] = said["streams"]
    expect("rate", stream["avg_frame_rate"], f"{FPS}/1")
    expect("frames", int(stream["nb_read_frames"]), frames)
    if chapters is not None:
        found = [
            (Fraction(c["start"]) * Fraction(c["time_base"]) * FPS,
             Fraction(c["end"]) * Fraction(c["time_base"]) * FPS)
            for c in said["chapters"]
        ]
        expect("chapters", found, [(start, end) for start, end, _ in chapters])


def check_gif(path, frames):
    with Image.open(path) as picture:
        length = 0
        for index in range(picture.n_frames):
            picture.seek(index)
            length += picture.info["duration"]
        expect("repeats", picture.info["loop"], 0)
        expect("length", length, 10 * round(Fraction(100 * frames, FPS) + Fraction(1, 10**6)))


def main():
    folder = Path(sys.argv[1])
    [story] = folder.glob("*.json")
    name = story.stem
    told = json.loads(story.read_text("utf-8"))
    shots, start = [], 0
    for shot in told["shots"]:
        shots.append((start, start + shot["frames"], one_line(shot["caption"])))
        start += shot["frames"]
    film = f"{name}.mp4"
    checks = {
        film: lambda path: check_film(path, start, shots),
        f"{name}.otio": lambda path: check_otio(path, film, shots),
        f"{name}.edl": lambda path: check_edl(path, film, shots),
        f"{name}.fcpxml": lambda path: check_fcpxml(path, film, shots),
        f"{name}.vtt": lambda path: check_vtt(path, shots),
        f"{name}.chapters.vtt": lambda path: check_vtt(path, shots, titles=True),
        f"{name}.srt": lambda path: check_srt(path, shots),
        f"{name}.gif": lambda path: check_gif(path, start),
    }
    for number, (first, last, _) in enumerate(shots, 1):
        clip = f"clips/{name}-{number:03}.mp4"
        checks[clip] = lambda path, frames=last - first: check_film(path, frames)
    for file, check in checks.items():
        try:
            check(folder / file)
        except SystemExit as error:
            sys.exit(f"{file}: {error}")
        print(f"{file}: agrees")


if __name__ == "__main__":
    main()
