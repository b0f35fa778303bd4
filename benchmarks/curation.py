"""Speed and memory of curation on real files, beside the bare decoder in the same run.

    USFMAE_REAL_DATA=… python -m benchmarks.curation

Prints a Markdown table and the machine's load. Speeds are frames for each second of processor time, which
another job disturbs less than the clock, with one worker: medians of seven rounds, in which each has its
turn; a share is the median of the shares within the rounds. The bare decoder is the library's documented
way from a file to an array, one thread: Pillow's `np.asarray(image)`, PyAV's `to_ndarray` in RGB, pydicom's
`iter_pixels`, SimpleITK's `GetArrayFromImage`. It decodes the very frames that curation decodes.

Curation gets the same pixels (their digests are the same) with less: JPEG through OpenCV, other stills out of
Pillow's memory through Arrow, and of a grey video the luma alone. It then adds a digest of all pixels, the
crop, the overlays, a thumbnail, two hashes, the resizing, both writes of the arrays (chunk, then dataset) and
the table. Memory is the largest resident set of the job and of its worker, added.

Every frame is kept but in the last two columns: there, videos and volumes are sampled by the rule that a
dataset of config/openus46.yaml has. Speed is still that of all frames in the files, used or not.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import yaml

# name → pattern below USFMAE_REAL_DATA, times each file is linked, how it is decoded, dataset whose rule of
# sampling is measured as well. Few files are linked more than once, so that what a dataset costs whatever its
# size (0.1 s) counts as little as in a release.
KINDS = {
    "PNG, grey (BUS-BRA)": ("bus_bra/Images/*.png", 1, "still", None),
    "JPEG, as released (MMOTU-2D)": ("mmotu_2d/*/*/*.[jJ][pP][gG]", 6, "still", None),
    "JPEG, rescaled to 384 px (MMOTU-2D)": ("mmotu_2d_384/*/*/*.[jJ][pP][gG]", 1, "still", None),
    "video, AVI (POCUS)": ("pocus/pocus_videos/*/*.avi", 3, "video", "pocus"),
    "video, MP4 (POCUS)": ("pocus/pocus_videos/*/*.mp4", 2, "video", "pocus"),
    "DICOM (pydicom's samples)": ("pydicom_us/*.dcm", 10, "dicom", None),
    "volume, MHA and MHD (PLUS)": ("plus_us/TestImages/*.mh[ad]", 15, "volume", "segthy"),
}
ROUNDS = 7
REGISTRY = Path(__file__).parents[1] / "config/openus46.yaml"


def still(path: Path) -> int:
    from PIL import Image

    with Image.open(path) as image:
        return int(np.asarray(image).ndim > 0)


def video(path: Path) -> int:
    import av
    from av.video.reformatter import VideoReformatter

    count, reformatter = 0, VideoReformatter()
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        for frame in container.decode(video=0):
            reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray()
            count += 1
    return count


def dicom(path: Path) -> int:
    from pydicom.pixels import iter_pixels

    return sum(1 for _ in iter_pixels(path))


def volume(path: Path) -> int:
    import SimpleITK as sitk

    return len(sitk.GetArrayFromImage(sitk.ReadImage(str(path))))


def processor_seconds(work: Callable[[], object]) -> float:
    """User and system time of this process and of those that it waits for."""

    def spent() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(usage.ru_utime + usage.ru_stime for usage in used)

    before = spent()
    work()
    return spent() - before


def measure(kind: str, release: Path, out: Path) -> dict[str, float]:
    """Speeds and memory of one kind; run in a process of its own."""
    from usfmae.corpus.curation.frames import curate
    from usfmae.settings.datasets import Dataset
    from usfmae.settings.study import Corpus

    decode = {"still": still, "video": video, "dicom": dicom, "volume": volume}[KINDS[kind][2]]
    files = sorted(path for path in release.iterdir() if path.suffix not in (".raw", ".json"))
    entry = {"title": "x", "anatomy": "x", "access": {"host": "folder"}, "licence": {"name": "x"}}
    entry |= {"citation": "x", "exclude": ["*.raw"]}
    corpus, fetched = Corpus(datasets=["x"], size=224), release / "fetched.json"
    samplings: dict[str, dict[str, int]] = {"curated": {}}
    if like := KINDS[kind][3]:
        registry = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))
        samplings["sampled"] = registry["datasets"][like]["sampling"]
    frames, seconds = 0, defaultdict[str, list[float]](list)
    for round_number in range(ROUNDS):
        started = time.monotonic()
        frames = 0

        def decode_all() -> None:
            nonlocal frames
            frames = sum(map(decode, files))

        seconds["bare"].append(processor_seconds(decode_all))
        for name, sampling in samplings.items():
            dataset, where = (
                Dataset.model_validate(entry | {"sampling": sampling}),
                out / f"{name}-{round_number}",
            )
            seconds[name].append(
                processor_seconds(lambda: curate("x", dataset, corpus, fetched, where, workers=1))  # noqa: B023
            )
        print(f"{kind}: round {round_number + 1}, {time.monotonic() - started:.0f} s", file=sys.stderr)
    memory = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    speeds = {name: frames / median(taken) for name, taken in seconds.items()}
    shares = {
        f"{name} share": median(bare / own for bare, own in zip(seconds["bare"], seconds[name], strict=True))
        for name in samplings
    }
    return {"files": len(files), "frames": frames, "memory": sum(memory) / 1024} | speeds | shares


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))
        return
    data = Path(os.environ["USFMAE_REAL_DATA"])
    print("| kind | files | frames | bare decoder | curation | share | memory | sampled | share |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for kind, (pattern, times, *_) in KINDS.items():
        with tempfile.TemporaryDirectory() as folder:
            release, out = Path(folder) / "release", Path(folder) / "out"
            release.mkdir()
            for number, path in enumerate(sorted(data.glob(pattern)) * times):
                (release / f"{number:05d}{path.suffix}").symlink_to(path)
            for path in data.glob(f"{pattern.rpartition('/')[0]}/*.raw"):  # values that an .mhd header names
                (release / path.name).symlink_to(path)
            (release / "fetched.json").write_text(json.dumps({"status": "available", "root": "."}))
            command = [sys.executable, __file__, kind, str(release), str(out)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        sampled = found.get("sampled")
        last = f"{sampled:.0f} /s | {found['sampled share']:.0%} |" if sampled else "| |"
        print(
            f"| {kind} | {found['files']:,} | {found['frames']:,} | {found['bare']:.0f} /s | "
            f"{found['curated']:.0f} /s | {found['curated share']:.0%} | {found['memory']:.0f} MB | {last}"
        )
    print("\nload average", " ".join(f"{load:.1f}" for load in os.getloadavg()))


if __name__ == "__main__":
    main()
