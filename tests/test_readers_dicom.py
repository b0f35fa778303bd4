"""DICOM: what is stored becomes what a viewer shows, and nothing of the patient comes with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, RLELossless, UltrasoundMultiFrameImageStorage

from usfmae.corpus.readers import ReadOptions, Unreadable, dicom, read_frames
from usfmae.settings.datasets import Sampling

SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)  # every value of 12 bits


def save(path: Path, values: np.ndarray, *, bits: int = 12, **tags: Any) -> Path:
    """A DICOM file of `values` `(H, W)` or `(n, H, W)`, grey."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UltrasoundMultiFrameImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    header = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    header.PhotometricInterpretation, header.SamplesPerPixel = "MONOCHROME2", 1
    header.Rows, header.Columns = values.shape[-2:]
    header.NumberOfFrames = len(values) if values.ndim == 3 else 1
    header.BitsAllocated = values.dtype.itemsize * 8
    header.BitsStored, header.HighBit = bits, bits - 1
    header.PixelRepresentation = int(values.dtype.kind == "i")
    header.PixelData = values.tobytes()
    header["PixelData"].VR = "OW"
    for name, value in tags.items():
        setattr(header, name, value)
    header.save_as(path, enforce_file_format=True)
    return path


def pixels(path: Path) -> np.ndarray:
    return np.stack([frame.pixels for frame in read_frames(path)])


def test_the_window_of_the_file_decides_what_is_black_and_white(tmp_path: Path) -> None:
    (frame,) = pixels(save(tmp_path / "a.dcm", RAMP, WindowCenter=[1000, 5], WindowWidth=[501, 9]))
    shown = frame.ravel()
    assert (shown[:750] == 0).all()
    assert shown[1000] in (127, 128)
    assert (shown[1250:] == 255).all()
    assert (np.diff(shown.astype(int)) >= 0).all()


def test_rescaling_comes_before_the_window(tmp_path: Path) -> None:
    tags = {"RescaleSlope": 2, "RescaleIntercept": -1000, "WindowCenter": 1000, "WindowWidth": 1001}
    (frame,) = pixels(save(tmp_path / "a.dcm", RAMP, **tags))
    assert (frame.ravel()[:750] == 0).all()
    assert frame.ravel()[1000] in (127, 128)
    assert (frame.ravel()[1251:] == 255).all()


def test_a_table_of_the_file_decides_where_there_is_one(tmp_path: Path) -> None:
    item = pydicom.Dataset()
    item.LUTDescriptor = [4096, 0, 16]
    item.LUTData = (65535 - np.arange(4096) * 16).astype(np.uint16).tolist()
    item["LUTData"].VR = "US"
    path = save(tmp_path / "a.dcm", RAMP, VOILUTSequence=Sequence([item]), WindowCenter=9, WindowWidth=2)
    (frame,) = pixels(path)
    assert frame.ravel()[[0, 2048, 4095]].tolist() == [255, 127, 0]


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_without_a_window_the_range_of_the_whole_file_is_stretched(tmp_path: Path, kind: type) -> None:
    clip = np.stack([RAMP // 2, RAMP]).astype(kind) - (2000 if kind is np.int16 else 0)
    frames = pixels(save(tmp_path / "a.dcm", clip, bits=16))
    assert frames[1].min() == 0
    assert frames[1].max() == 255
    assert frames[0].max() in (127, 128)  # as dark beside the other as it was stored


def test_monochrome1_is_turned_to_white_on_black(tmp_path: Path) -> None:
    eight = (RAMP >> 4).astype(np.uint8)
    path = save(tmp_path / "a.dcm", eight, bits=8, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(pixels(path)[0], 255 - eight)
    path = save(tmp_path / "b.dcm", RAMP, PhotometricInterpretation="MONOCHROME1")
    assert pixels(path)[0].ravel()[[0, 4095]].tolist() == [255, 0]


def test_eight_bits_stay_as_they_are(tmp_path: Path) -> None:
    eight = (RAMP >> 5).astype(np.uint8)  # 0 to 127
    np.testing.assert_array_equal(pixels(save(tmp_path / "a.dcm", eight, bits=8))[0], eight)


def test_a_compressed_clip_is_sampled(tmp_path: Path) -> None:
    clip = np.stack([np.full((16, 16), 10 * i, np.uint8) for i in range(9)])
    path = save(tmp_path / "a.dcm", clip, bits=8)
    header = pydicom.dcmread(path)
    header.compress(RLELossless)
    header.save_as(path)
    for name in (path, save(tmp_path / "b.dcm", clip, bits=8)):
        frames = list(read_frames(name, ReadOptions(Sampling(at_most=3))))
        shown = [(f.index, f.in_source, int(f.pixels[0, 0])) for f in frames]
        assert shown == [(0, 9, 0), (4, 9, 40), (8, 9, 80)]


def test_jpeg_and_jpeg_2000_of_one_picture_agree() -> None:
    (small,), (large,) = (
        [frame.pixels for frame in read_frames(SAMPLES / f"examples_{name}.dcm")]
        for name in ("rgb_color", "jpeg2k")
    )
    halved = large.reshape(240, 2, 320, 2, 3).mean(axis=(1, 3))
    assert np.corrcoef(halved.ravel(), small.ravel())[0, 1] > 0.95


def test_no_identifying_tag_is_read_or_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recwarn: pytest.WarningsRecorder,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "a.dcm"
    tags = {"PatientName": "DOE^JANE", "PatientID": "4711", "InstitutionName": "St. Elsewhere"}
    save(path, RAMP, PatientBirthDate="19700101", StudyDate="20200101", **tags)
    broken = (
        path.read_bytes()
        .replace(b"19700101", b"19DOE^JA")
        .replace(b"DA\x08\x0020200101", b"DA\x08\x004711DOEX")
    )
    path.write_bytes(broken)
    headers = []
    monkeypatch.setattr(
        dicom, "dcmread", lambda *a, **k: headers.append(pydicom.dcmread(*a, **k)) or headers[-1]
    )
    assert len(pixels(path)) == 1
    assert {element.tag.group for element in headers[0]} == {0x0028}  # the image pixel module
    path.write_bytes(broken[:-100])
    with pytest.raises(Unreadable) as error:
        list(read_frames(path))
    told = [
        str(error.value),
        str(error.value.__cause__),
        *(str(w.message) for w in recwarn),
        *capfd.readouterr(),
    ]
    assert not [text for text in told if "DOE" in text or "4711" in text or "Elsewhere" in text]


def test_a_dicom_file_without_pixels_says_so(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", RAMP)
    header = pydicom.dcmread(path)
    del header.PixelData
    header.save_as(path)
    with pytest.raises(Unreadable, match="a DICOM file without pixels"):
        list(read_frames(path))
