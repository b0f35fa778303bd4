"""Writes clips: videos in their containers, cines and volumes as NIfTI or MetaImage."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from miniatures.release import Release

CODECS = {
    ".mp4": ("mpeg4", "yuv420p"),
    ".mov": ("mjpeg", "yuvj420p"),
    ".avi": ("mjpeg", "yuvj420p"),
    ".mpeg": ("mpeg1video", "yuv420p"),
    ".mpg": ("mpeg1video", "yuv420p"),
    ".webm": ("libvpx", "yuv420p"),
}


def video(release: Release, path: str, frames: np.ndarray, **facts: str | None) -> None:
    """uint8 (N, H, W) with even sides, as the ending's usual codec, 25 frames a second; GIF as a palette."""
    target = release.path(path)
    if target.suffix.lower() == ".gif":
        first, *rest = (Image.fromarray(frame) for frame in frames)
        first.save(target, save_all=True, append_images=rest, duration=40)
    else:
        _encode(target, frames)
    release.tell(path, len(frames), **facts)


def _encode(target: Path, frames: np.ndarray) -> None:
    import av

    codec, pixel_format = CODECS[target.suffix.lower()]
    with av.open(str(target), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(25))
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt, stream.bit_rate = pixel_format, 2_000_000
        for frame in frames:
            colour = np.repeat(frame[..., None], 3, axis=-1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(colour, format="rgb24")))
        container.mux(stream.encode())


def volume(
    release: Release, path: str, array: np.ndarray, frames: int | None = None, **facts: str | None
) -> None:
    """An array (z, y, x) as SimpleITK names its axes, `.nii`, `.nii.gz` or `.mha`. `frames`: how many it
    holds, where it is not a slice a step of the first axis."""
    write_array(release, path, array)
    release.tell(path, len(array) if frames is None else frames, **facts)


def write_array(release: Release, path: str, array: np.ndarray, spacing: float = 0.28) -> None:
    """The file alone: a mask, a label volume, MRI. `spacing`: millimetres."""
    import SimpleITK

    image = SimpleITK.GetImageFromArray(array)
    image.SetSpacing([spacing] * array.ndim)
    SimpleITK.WriteImage(image, str(release.path(path)), useCompression=path.endswith(".gz"))


def turned(frames: np.ndarray) -> np.ndarray:
    """Both axes of each frame flipped, as cardiacUDC, EchoCP, MicroSeg, SegThy and regPro store them."""
    return np.ascontiguousarray(frames[:, ::-1, ::-1])
