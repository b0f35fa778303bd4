"""AVI, MP4, MOV, MPEG, WebM: whatever FFmpeg decodes, through PyAV."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, VideoReformatter

from usfmae.corpus.readers.common import Frame, ReadOptions, Unreadable, grey_if_equal, sampled

#: Containers with an index of key frames. An MPEG stream has none: seeking in it is a guess.
INDEXED = {"avi", "mov", "mp4", "matroska", "webm"}
#: What lossy coding leaves of chroma in a grey video, of 128: at most 3 in the 30 videos of POCUS, in which a
#: tint that can be seen has 7 and more.
NEUTRAL = 3


def read(path: Path, options: ReadOptions) -> Iterator[Frame]:
    """Frames are counted by their packets, because containers state the number wrongly or not at all.

    Raises Unreadable after the last frame where the file ends before the frames that it announces.
    """
    with av.open(str(path)) as container:
        stream = _stream(container)
        formats = set(container.format.name.split(","))
        announced = stream.frames if "mp4" in formats else 0  # only its table of samples can be trusted
        packets = [packet for packet in container.demux(stream) if packet.size]
    shown = [packet for packet in packets if not packet.is_discard]
    count = len(shown)
    chosen = sampled(count, options.sampling)
    times = sorted({packet.pts for packet in shown if packet.pts is not None})
    keys = sorted(packet.pts for packet in shown if packet.is_keyframe and packet.pts is not None)
    timed = len(times) == count and keys[:1] == times[:1]  # every frame has a time of its own
    last, reformatter = -1, VideoReformatter()  # one for all frames: it takes longer to make than to use
    with av.open(str(path)) as container:
        if len(chosen) < count and timed and formats & INDEXED:
            frames = _sought(container, [times[index] for index in chosen], keys)
        else:
            wanted = set(chosen)
            decoded = enumerate(container.decode(_stream(container)))
            frames = (frame for index, frame in decoded if index in wanted)
        for last, frame in zip(chosen, frames, strict=False):
            yield Frame(last, count, _pixels(frame, reformatter))
    if last != chosen[-1]:
        raise Unreadable(f"cut off: decoding ends before frame {chosen[-1]} of {count}")
    if len(packets) < announced:
        raise Unreadable(f"cut off: it announces {announced} frames and holds {len(packets)}")


def _stream(container: av.container.InputContainer) -> av.VideoStream:
    if not container.streams.video:
        raise Unreadable("no video in it")
    stream = container.streams.video[0]
    stream.thread_type = "NONE"  # curation decodes several files at once
    return stream


def _sought(
    container: av.container.InputContainer, times: list[int], keys: list[int]
) -> Iterator[av.VideoFrame]:
    """The frames shown at `times` (ascending), decoding from the key frame before each.

    Both lists hold presentation times in the stream's own unit. Raises Unreadable where seeking misses.
    """
    stream = _stream(container)
    decoded: Iterator[av.VideoFrame] = iter(())
    position = keys[0] - 1
    for time in times:
        key = keys[bisect_right(keys, time) - 1]
        if key > position:  # what lies between is not needed
            container.seek(key, stream=stream)
            decoded = container.decode(stream)
        for frame in decoded:
            position = time if frame.pts is None else frame.pts
            if position >= time:
                break
        if position != time:
            raise Unreadable(f"no frame at time {time}, which the container lists")
        yield frame


def _pixels(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """uint8 `(H, W)` or `(H, W, 3)`, turned as the camera was held."""
    if _colourless(frame):
        pixels = _luma(frame)
    else:
        kind = "gray" if frame.format.name.startswith("gray") else "rgb24"
        pixels = grey_if_equal(reformatter.reformat(frame, format=kind, threads=1).to_ndarray())
    return np.rot90(pixels, frame.rotation // 90).copy() if frame.rotation else pixels


def _colourless(frame: av.VideoFrame) -> bool:
    """Whether both chroma planes of an 8-bit YUV frame are neutral throughout, but for traces of coding."""
    if not frame.format.name.startswith(("yuv4", "yuvj4")) or frame.format.components[0].bits != 8:
        return False
    for plane in frame.planes[1:3]:
        low, high, _, _ = cv2.minMaxLoc(_values(plane))
        if low < 128 - NEUTRAL or high > 128 + NEUTRAL:
            return False
    return True


def _luma(frame: av.VideoFrame) -> np.ndarray:
    """uint8 `(H, W)`, 0 to 255, of an 8-bit YUV frame: the values that FFmpeg's own conversion to grey gives,
    three times as fast. Black is 16 and white 235 where the frame does not say otherwise (ITU-R BT.601)."""
    values = _values(frame.planes[0])
    if frame.format.name.startswith("yuvj") or frame.color_range == ColorRange.JPEG:
        return values.copy()
    return np.asarray(cv2.addWeighted(values, 255 / 219, values, 0, -16 * 255 / 219))


def _values(plane: VideoPlane) -> np.ndarray:
    """A view, uint8 `(H, W)`, of a plane's memory, whose rows may be longer than the picture's."""
    values = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]  # PyAV does not declare its buffer
    return values.reshape(plane.height, plane.line_size)[:, : plane.width]
