"""Videos: every container gives the same frames, counted rightly, and sampling decodes what it needs."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import VideoReformatter

from usfmae.corpus.readers import Frame, ReadOptions, Unreadable, read_frames, videos
from usfmae.settings.datasets import Sampling

# ending, encoder, pixel format
KINDS = [
    ("avi", "mjpeg", "yuvj420p"),
    ("avi", "mpeg4", "yuv420p"),
    ("mp4", "libx264", "yuv420p"),
    ("mov", "mpeg4", "yuv420p"),
    ("mpeg", "mpeg2video", "yuv420p"),
    ("webm", "libvpx", "yuv420p"),
]
CONTAINERS = pytest.mark.parametrize(
    ("ending", "encoder", "layout"), KINDS, ids=[k[0] + "-" + k[1] for k in KINDS]
)
COUNT = 40


def numbered(index: int) -> np.ndarray:
    """RGB `(64, 96, 3)` whose 8 x 12 blocks of 8 pixels say which frame it is, after any lossy encoding."""
    blocks = np.random.default_rng(index).integers(0, 2, (8, 12), dtype=np.uint8) * 160 + 40
    return np.repeat(np.kron(blocks, np.ones((8, 8), np.uint8))[..., None], 3, axis=-1)


def write(path: Path, pictures: Iterable[np.ndarray], encoder: str, layout: str, **options: str) -> Path:
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 64, layout
        stream.bit_rate, stream.gop_size = 4_000_000, 10
        stream.codec_context.time_base = Fraction(1, 25)
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def which(frame: Frame) -> int:
    """The number of the picture that a frame shows."""
    pixels = frame.pixels if frame.pixels.ndim == 2 else frame.pixels[..., 0]
    distances = [np.abs(pixels.astype(int) - numbered(i)[..., 0]).mean() for i in range(COUNT)]
    return int(np.argmin(distances))


@CONTAINERS
def test_all_frames_of_a_video_are_read_in_order(
    tmp_path: Path, ending: str, encoder: str, layout: str
) -> None:
    path = write(tmp_path / f"a.{ending}", map(numbered, range(COUNT)), encoder, layout)
    frames = list(read_frames(path))
    assert [frame.index for frame in frames] == [which(frame) for frame in frames] == list(range(COUNT))
    assert {frame.in_source for frame in frames} == {COUNT}
    assert {frame.pixels.shape for frame in frames} == {(64, 96)}  # grey, though stored in colour


@CONTAINERS
@pytest.mark.parametrize("at_most", [1, 2, 7, 39])
def test_sampled_frames_are_the_same_as_those_of_the_whole_video(
    tmp_path: Path, ending: str, encoder: str, layout: str, at_most: int
) -> None:
    path = write(tmp_path / f"a.{ending}", map(numbered, range(COUNT)), encoder, layout)
    whole = list(read_frames(path))
    frames = list(read_frames(path, ReadOptions(Sampling(at_most=at_most))))
    assert len(frames) == at_most
    assert {frame.in_source for frame in frames} == {COUNT}
    for frame in frames:
        np.testing.assert_array_equal(frame.pixels, whole[frame.index].pixels)


def test_frames_that_sampling_leaves_out_are_not_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mov", map(numbered, range(COUNT)), "mpeg4", "yuv420p")
    with av.open(str(path)) as container:
        between = [p for p in container.demux(video=0) if p.size][12]
        at, size = between.pos, between.size
    content = bytearray(path.read_bytes())
    content[at : at + size] = b"\xff" * size  # broken, but not one that is asked for
    path.write_bytes(content)
    frames = read_frames(path, ReadOptions(Sampling(every=COUNT - 1)))
    assert [which(frame) for frame in frames] == [0, COUNT - 1]
    with pytest.raises(Unreadable):
        list(read_frames(path))


def test_colour_stays_colour(tmp_path: Path) -> None:
    picture = numbered(0)
    picture[16:48, 16:48] = (200, 30, 30)
    path = write(tmp_path / "a.mp4", [picture] * 3, "libx264", "yuv444p")
    for frame in read_frames(path):
        assert frame.pixels.shape == (64, 96, 3)
        assert np.abs(frame.pixels[24:40, 24:40].astype(int) - (200, 30, 30)).max() < 12


def test_the_brightness_of_a_grey_video_is_kept(tmp_path: Path) -> None:
    levels = (0, 16, 128, 235, 255)
    for name, encoder, layout in (("a.mp4", "libx264", "yuv420p"), ("a.avi", "mjpeg", "yuvj420p")):
        pictures = [np.full((64, 96, 3), level, np.uint8) for level in levels]
        frames = list(read_frames(write(tmp_path / name, pictures, encoder, layout)))
        np.testing.assert_allclose([frame.pixels.mean() for frame in frames], levels, atol=3)


@pytest.mark.parametrize("layout", ["yuv420p", "yuvj420p", "yuv444p"])
def test_the_grey_of_a_video_is_what_ffmpeg_makes_of_it(layout: str) -> None:
    frame = av.VideoFrame(256, 34, layout)
    for plane in frame.planes:
        plane.update(bytes([128]) * plane.buffer_size)
    luma = np.zeros((34, frame.planes[0].line_size), np.uint8)
    luma[:, :256] = np.arange(256)
    frame.planes[0].update(luma.tobytes())
    pixels = videos._pixels(frame, VideoReformatter())
    np.testing.assert_array_equal(pixels, VideoReformatter().reformat(frame, format="gray").to_ndarray())
    assert pixels[0, 200] == (200 if layout == "yuvj420p" else round((200 - 16) * 255 / 219))


def test_a_wrong_number_of_frames_in_the_header_is_not_believed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.avi", map(numbered, range(COUNT)), "mjpeg", "yuvj420p")
    content = bytearray(path.read_bytes())
    at = content.index(b"avih") + 8 + 16  # dwTotalFrames
    content[at : at + 4] = struct.pack("<I", 7)
    at = content.index(b"strh") + 8 + 32  # dwLength
    content[at : at + 4] = struct.pack("<I", 7)
    path.write_bytes(content)
    assert {frame.in_source for frame in read_frames(path)} == {COUNT}


def test_a_video_that_was_cut_off_keeps_the_frames_before_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", map(numbered, range(COUNT)), "libx264", "yuv420p", movflags="faststart")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    frames = []
    with pytest.raises(Unreadable):
        for frame in read_frames(path):
            frames.append(which(frame))
    assert frames == list(range(len(frames)))
    assert len(frames) > 10


def test_a_video_is_turned_as_its_camera_was_held(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mov", [numbered(3)] * 2, "mpeg4", "yuv420p")
    (upright, _) = (frame.pixels for frame in read_frames(path))
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40  # the display matrix, 16.16 and 2.30 fixed point
    one = 1 << 16
    content[at : at + 36] = struct.pack(">9i", 0, one, 0, -one, 0, 0, 64 * one, 0, 1 << 30)
    path.write_bytes(content)
    turned = next(read_frames(path)).pixels
    np.testing.assert_array_equal(turned, np.rot90(upright, -1))  # 90 degrees clockwise


@pytest.mark.parametrize("content", [b"", b"nothing", b"\x00" * 1000])
def test_a_file_that_is_no_video_is_unreadable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(Unreadable):
        list(read_frames(tmp_path / "a.mp4"))


def test_a_sound_file_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(Unreadable, match="no video in it"):
        list(read_frames(tmp_path / "a.mp4"))


def test_real_videos_are_read_whole_and_sampled_alike(real_data: Path) -> None:
    paths = [path for path in sorted(real_data.glob("pocus/pocus_videos/*/*")) if path.suffix != ".gif"][::4]
    assert len(paths) > 5
    for path in paths:
        whole = list(read_frames(path))
        assert [frame.index for frame in whole] == list(range(whole[0].in_source))
        for frame in read_frames(path, ReadOptions(Sampling(every=3, at_most=5))):
            np.testing.assert_array_equal(frame.pixels, whole[frame.index].pixels)
