"""The files that `benchmarks.curation` measures, and the bare decoder of each kind.

Real files are linked from USFMAE_REAL_DATA. A kind of which none is there is made of them: the same pictures,
clips or volumes in another format, as the library that writes it does by default but for the compression that
the kind's name tells. What is made lies in a temporary folder.

A bare decoder is the library's documented way from a file to arrays, one thread: no grey, no digest, no check
of what is cut off. It gives the frames asked for and is spared the others where the library can be asked so:
pydicom and h5py read these alone, PyAV and Pillow stop at the last one; the others read
the whole file. PyAV is asked for RGB whatever the file holds, because nothing tells it that a clip is grey;
asked for grey it takes two thirds of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

Decoder = Callable[[Path, Sequence[int]], Iterator[np.ndarray]]
"""(file, indices of the frames wanted, ascending) → their pixels, each there until the next is asked for."""


def opencv(path: Path, indices: Sequence[int]) -> Iterator[np.ndarray]:
    import cv2

    if path.suffix in (".gif", ".tif"):
        pages = cv2.imreadmulti(str(path), flags=cv2.IMREAD_UNCHANGED)[1]
        yield from (pages[index] for index in indices)
    else:
        yield cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def pillow(path: Path, indices: Sequence[int]) -> Iterator[np.ndarray]:
    from PIL import Image

    with Image.open(path) as image:
        for index in indices:
            image.seek(index)
            yield np.asarray(image)


def pyav(path: Path, indices: Sequence[int]) -> Iterator[np.ndarray]:
    import av
    from av.video.reformatter import VideoReformatter

    wanted, reformatter = set(indices), VideoReformatter()
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        for index, frame in enumerate(container.decode(video=0)):
            if index in wanted:
                yield reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
            if index == indices[-1]:
                break


def pydicom(path: Path, indices: Sequence[int]) -> Iterator[np.ndarray]:
    from pydicom.pixels import iter_pixels

    yield from iter_pixels(path, indices=list(indices))


def simpleitk(path: Path, indices: Sequence[int]) -> Iterator[np.ndarray]:
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayViewFromImage(image)  # a copy would be slower, and nothing here needs one
    yield from (array[index] for index in indices)


def h5py(path: Path, indices: Sequence[int]) -> Iterator[np.ndarray]:
    from h5py import File

    with File(path) as file:
        stored = file["frames"]
        matlab = path.suffix == ".mat"  # its axes stand in reverse
        if len(indices) == stored.shape[-1 if matlab else 0]:
            array = stored[...]
            yield from (array.T if matlab else array)
        else:
            yield from (stored[..., index].T if matlab else stored[index] for index in indices)


def scipy(path: Path, indices: Sequence[int]) -> Iterator[np.ndarray]:
    from scipy.io import loadmat

    array = loadmat(path)["frames"]
    yield from (array[index] for index in indices)


def numpy(path: Path, indices: Sequence[int]) -> Iterator[np.ndarray]:
    array = np.load(path)
    array = array["frames"] if path.suffix == ".npz" else array
    yield from (array[index] for index in indices)


@dataclass(frozen=True)
class Kind:
    """Files of one kind."""

    pattern: str
    """Where the real files are, below USFMAE_REAL_DATA."""
    decoders: tuple[Decoder, ...]
    """Libraries that read it; the fastest is compared with."""
    times: int = 1
    """How often each file is linked, so that what a dataset costs whatever its size (0.1 s) counts as little
    as in a release."""
    like: str | None = None
    """Dataset of config/openus46.yaml whose rule of sampling is measured as well."""
    made: str = ""
    """Ending of the files that are made of the real ones; empty where the real ones are measured."""
    first: int | None = None
    """How many of the real files are used, all by default."""


STILLS = (opencv, pillow)
PICTURES, VOLUMES = "bus_bra/Images/*.png", "plus_us/TestImages/*.mh[ad]"
CLIPS = "pocus/pocus_videos/*/*"


def _picture(ending: str) -> Kind:
    return Kind(PICTURES, STILLS, 10, made=ending, first=150)


def _clip(ending: str, times: int) -> Kind:
    return Kind(CLIPS + ending, (pyav,), times, "pocus")


def _volume(decoder: Decoder, ending: str) -> Kind:
    return Kind(VOLUMES, (decoder,), 10, "segthy", made=ending)


KINDS: dict[str, Kind] = {
    "PNG, grey (BUS-BRA)": Kind(PICTURES, STILLS),
    "JPEG, as released (MMOTU-2D)": Kind("mmotu_2d/*/*/*.[jJ][pP][gG]", STILLS, 4),
    "JPEG, rescaled to 384 px (MMOTU-2D)": Kind("mmotu_2d_384/*/*/*.[jJ][pP][gG]", STILLS),
    "BMP": _picture(".bmp"),
    "TIFF, LZW": _picture(".tif"),
    "WebP": _picture(".webp"),
    "GIF (POCUS)": Kind(CLIPS + ".gif", STILLS, 15, "pocus"),
    "video, AVI (POCUS)": _clip(".avi", 2),
    "video, MP4 (POCUS)": _clip(".mp4", 2),
    "video, MOV (POCUS)": _clip(".mov", 8),
    "video, MPEG (POCUS)": _clip(".mpeg", 3),
    "video, WebM (VP9)": Kind(CLIPS + ".avi", (pyav,), 8, "pocus", made=".webm", first=4),
    "DICOM (pydicom's samples)": Kind("pydicom_us/*.dcm", (pydicom, simpleitk), 15),
    "volume, MHA and MHD (PLUS)": Kind(VOLUMES, (simpleitk,), 10, "segthy"),
    "volume, NIfTI, gzip": _volume(simpleitk, ".nii.gz"),
    "volume, NRRD, gzip": _volume(simpleitk, ".nrrd"),
    "array, HDF5, gzip": _volume(h5py, ".h5"),
    "array, MAT 5, compressed": _volume(scipy, ".mat"),
    "array, MAT 7.3, compressed": _volume(h5py, ".v73.mat"),
    "array, NPY": _volume(numpy, ".npy"),
    "array, NPZ, compressed": _volume(numpy, ".npz"),
}


def prepare(kind: Kind, data: Path, release: Path) -> None:
    """Fills the folder `release` with links to the kind's files. Raises SystemExit where none is there."""
    sources = sorted(data.glob(kind.pattern))[: kind.first]
    if not sources:
        raise SystemExit(f"{data}: no {kind.pattern} there; USFMAE_REAL_DATA names the folder of real files")
    if kind.made:
        made = release.with_name("made")
        made.mkdir(exist_ok=True)
        targets = [made / f"{number}{kind.made}" for number in range(len(sources))]
        for source, target in zip(sources, targets, strict=True):
            convert(source, target)
        sources = targets
    release.mkdir()
    for number, path in enumerate(sources * kind.times):
        (release / f"{number:05d}{kind.made or path.suffix}").symlink_to(path)
    for path in data.glob(f"{kind.pattern.rpartition('/')[0]}/*.raw"):  # values that an .mhd header names
        (release / path.name).symlink_to(path)


def convert(source: Path, target: Path) -> None:
    """Writes a still, clip or volume in the format that the target's ending names."""
    if target.suffix in (".bmp", ".tif", ".webp"):
        from PIL import Image

        with Image.open(source) as image:
            image.save(target, **({"compression": "tiff_lzw"} if target.suffix == ".tif" else {}))
    elif target.suffix == ".webm":
        _webm(source, target)
    else:
        import SimpleITK as sitk

        image = sitk.ReadImage(str(source))
        if target.suffix in (".gz", ".nrrd"):
            sitk.WriteImage(image, str(target), useCompression=True)
        else:
            _array(sitk.GetArrayFromImage(image), target)


def _webm(source: Path, target: Path) -> None:
    import av

    with av.open(str(source)) as container, av.open(str(target), "w") as out:
        clip = container.streams.video[0]
        options = {"deadline": "realtime", "cpu-used": "8"}
        stream: Any = out.add_stream("libvpx-vp9", rate=clip.average_rate or Fraction(25), options=options)
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, "yuv420p"
        for frame in container.decode(clip):
            picture = av.VideoFrame.from_ndarray(frame.to_ndarray(format="rgb24"))
            out.mux(stream.encode(picture))
        out.mux(stream.encode())


def _array(frames: np.ndarray, target: Path) -> None:
    if target.suffix == ".npy":
        np.save(target, frames)
    elif target.suffix == ".npz":
        np.savez_compressed(target, frames=frames)
    elif target.name.endswith(".h5") or target.name.endswith(".v73.mat"):
        from h5py import File

        with File(target, "w") as file:
            stored = frames if target.suffix == ".h5" else frames.T
            file.create_dataset("frames", data=stored, compression="gzip")
    else:
        from scipy.io import savemat

        savemat(target, {"frames": frames}, do_compression=True)
