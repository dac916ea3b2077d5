"""An MP4 as ComfyUI's pictures."""

import io

import torch

from .server import ShotstreamError

try:
    import av
except ImportError:
    av = None


def pictures_of(film):
    """Every frame of a film: float32 in 0..1, [B, H, W, 3], and the frames a second."""
    if av is None:
        raise ShotstreamError("PyAV was expected, which ComfyUI brings: pip install av")
    try:
        with av.open(io.BytesIO(film)) as container:
            stream = container.streams.video[0]
            rate = float(stream.average_rate or stream.base_rate)
            frames = [torch.from_numpy(frame.to_ndarray(format="rgb24")) for frame in container.decode(stream)]
    except (av.error.FFmpegError, IndexError) as error:
        raise ShotstreamError(f"the film cannot be read ({error})") from None
    if not frames:
        raise ShotstreamError("the film has no frames")
    pictures = torch.empty((len(frames), *frames[0].shape), dtype=torch.float32)
    for place, frame in enumerate(frames):
        # One at a time: a story of minutes is large enough once.
        torch.div(frame, 255.0, out=pictures[place])
    return pictures, rate
