"""Every file that people call an ultrasound image becomes frames of one kind, or a reason why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from PIL import ExifTags, Image, ImageOps
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRLittleEndian

from usfmae.corpus.readers import Unreadable, grey, read_frames, read_masks

SAMPLES = Path(pydicom.__file__).parent / "data" / "test_files"
GREY = (np.arange(48 * 64).reshape(48, 64) // 12).astype(np.uint8)  # every value of 0 to 255
COLOUR = np.stack([GREY, GREY[::-1], 255 - GREY], axis=-1)  # (48, 64, 3)


def only_frame(path: Path) -> np.ndarray:
    (frame,) = read_frames(path)
    assert (frame.index, frame.in_source) == (0, 1)
    assert frame.pixels.dtype == np.uint8
    return frame.pixels


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.tiff", "a.bmp", "A.PNG"])
@pytest.mark.parametrize("picture", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_lossless_image_is_read_as_it_is(tmp_path: Path, name: str, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(tmp_path / name)
    np.testing.assert_array_equal(only_frame(tmp_path / name), picture)


@pytest.mark.parametrize("shape", [(1, 1), (31, 37), (31, 37, 3), (2100, 2001), (2100, 2001, 3)])
def test_images_of_any_size_are_read_without_shifts(tmp_path: Path, shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)  # the last is above 16 MB
    Image.fromarray(picture).save(tmp_path / "a.bmp")
    np.testing.assert_array_equal(only_frame(tmp_path / "a.bmp"), picture)


def test_grey_but_for_one_pixel_is_colour(tmp_path: Path) -> None:
    picture = np.repeat(GREY[..., None], 3, axis=-1)
    picture[17, 5, 2] ^= 1
    Image.fromarray(picture).save(tmp_path / "a.png")
    np.testing.assert_array_equal(only_frame(tmp_path / "a.png"), picture)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_saved_in_another_mode_is_read_as_grey(tmp_path: Path, mode: str) -> None:
    Image.fromarray(GREY).convert(mode).save(tmp_path / "a.png")
    np.testing.assert_array_equal(only_frame(tmp_path / "a.png"), GREY)


def test_a_colour_palette_is_read_as_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.tile(np.uint8([0, 1, 2]), (8, 4)), mode="P")
    image.putpalette([0, 0, 0, 200, 30, 0, 0, 30, 200])
    image.save(tmp_path / "a.png")
    frame = only_frame(tmp_path / "a.png")
    assert frame[0, :3].tolist() == [[0, 0, 0], [200, 30, 0], [0, 30, 200]]


def test_a_black_and_white_image_is_0_and_255(tmp_path: Path) -> None:
    Image.fromarray(GREY > 100).save(tmp_path / "a.png")
    np.testing.assert_array_equal(only_frame(tmp_path / "a.png"), 255 * (GREY > 100))


def test_sixteen_bits_are_stretched_over_their_range(tmp_path: Path) -> None:
    Image.fromarray(GREY.astype(np.uint16) * 8 + 100).save(tmp_path / "a.png")
    np.testing.assert_array_equal(only_frame(tmp_path / "a.png"), GREY)


def test_a_jpeg_is_read_within_its_loss(tmp_path: Path) -> None:
    smooth = np.tile(np.linspace(20, 220, 64).astype(np.uint8), (48, 1))
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(only_frame(tmp_path / "a.jpg").astype(int) - smooth).max() <= 4


def test_a_photograph_is_turned_as_its_camera_was_held(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(GREY).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(only_frame(tmp_path / "a.png"), np.rot90(GREY, -1))


def test_every_page_of_a_tiff_is_a_frame_in_order(tmp_path: Path) -> None:
    pages = [Image.fromarray(np.full((8, 8), value, np.uint8)) for value in (10, 20, 30)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert [int(frame.pixels[0, 0]) for frame in read_frames(tmp_path / "a.tif")] == [10, 20, 30]


def test_grey_follows_the_luma_of_bt_601() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    np.testing.assert_allclose(grey(colours)[0], [0.299 * 255, 0.587 * 255, 0.114 * 255, 255], atol=1)


def test_a_mask_is_the_union_of_what_is_not_zero(tmp_path: Path) -> None:
    levels = np.zeros((8, 8, 3), np.uint8)
    levels[1, 1], levels[2, 2, 1] = 255, 1
    Image.fromarray(levels).save(tmp_path / "mask.png")
    (mask,) = (frame.pixels for frame in read_masks(tmp_path / "mask.png"))
    assert mask.dtype == bool
    assert np.argwhere(mask).tolist() == [[1, 1], [2, 2]]


def broken(path: Path) -> str:
    with pytest.raises(Unreadable) as error:
        list(read_frames(path))
    return str(error.value)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_a_truncated_image_is_unreadable(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    assert broken(tmp_path / name)


def test_a_truncated_dicom_file_is_unreadable(tmp_path: Path) -> None:
    whole = (SAMPLES / "examples_rgb_color.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(whole[: len(whole) // 2])
    assert broken(tmp_path / "a.dcm")


def test_a_page_that_was_downloaded_instead_of_an_image_is_called_html(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("\n<!DOCTYPE html><html><body>Sign in</body></html>")
    assert broken(tmp_path / "a.png").startswith("an HTML page, not an image")


def test_a_file_that_is_no_image_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("nothing")
    (tmp_path / "empty.png").touch()
    (tmp_path / "IM0001").write_text("nothing")
    assert broken(tmp_path / "a.png") == broken(tmp_path / "empty.png") == "not an image file"
    assert broken(tmp_path / "IM0001") == "neither a known image ending nor a DICOM file"


@pytest.mark.parametrize("picture", [GREY, COLOUR], ids=["grey", "colour"])
@pytest.mark.parametrize(
    "how", [{}, {"progressive": True}, {"subsampling": 0}, {"exif": 6}, {"keep_rgb": True}]
)
def test_a_jpeg_has_the_pixels_that_pillow_gives(
    tmp_path: Path, picture: np.ndarray, how: dict[str, Any]
) -> None:
    if "exif" in how:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = how["exif"]
        how = {"exif": exif}
    Image.fromarray(picture).save(tmp_path / "a.jpg", **how)
    with Image.open(tmp_path / "a.jpg") as image:
        np.testing.assert_array_equal(only_frame(tmp_path / "a.jpg"), ImageOps.exif_transpose(image))


def test_a_jpeg_in_four_inks_has_the_pixels_that_pillow_gives(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        np.testing.assert_array_equal(only_frame(tmp_path / "a.jpg"), image.convert("RGB"))


def test_a_jpeg_of_another_name_and_one_with_two_pictures_are_read_whole(tmp_path: Path) -> None:
    pictures = [Image.fromarray(COLOUR), Image.fromarray(255 - COLOUR)]
    pictures[0].save(tmp_path / "a.png", format="JPEG")
    pictures[0].save(tmp_path / "b.jpg", format="MPO", save_all=True, append_images=pictures[1:])
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(only_frame(tmp_path / "a.png"), image)
    first, second = (frame.pixels for frame in read_frames(tmp_path / "b.jpg"))
    assert np.abs(first.astype(int) + second - 255).mean() < 10


def test_a_jpeg_that_states_more_pixels_than_pillow_takes_for_harmless_is_unreadable(tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.jpg")
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    size = content.index(b"\xff\xc0") + 5
    content[size : size + 4] = b"\x4e\x20\x4e\x20"  # 20,000 x 20,000
    (tmp_path / "a.jpg").write_bytes(content)
    assert "decompression bomb" in broken(tmp_path / "a.jpg")


@pytest.mark.parametrize("harm", ["cut off", "broken"])
def test_a_jpeg_of_which_opencv_would_give_a_part_is_unreadable(tmp_path: Path, harm: str) -> None:
    Image.fromarray(np.tile(COLOUR, (4, 4, 1))).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    first = content.index(b"\x3f\x00", content.index(b"\xff\xda")) + 2  # byte of the scan
    harmed = {"cut off": content[:-2], "broken": content[:first] + b"\xff" + content[first + 1 :]}
    (tmp_path / "a.jpg").write_bytes(harmed[harm])
    assert cv2.imread(str(tmp_path / "a.jpg")) is not None
    assert "image file" in broken(tmp_path / "a.jpg")


def test_a_file_that_is_not_there_is_unreadable(tmp_path: Path) -> None:
    assert "FileNotFoundError" in broken(tmp_path / "none.png")


def test_a_broken_mask_is_told_apart_from_a_broken_frame(tmp_path: Path) -> None:
    (tmp_path / "m.png").touch()
    with pytest.raises(Unreadable, match=r"its mask m\.png: not an image file"):
        next(read_masks(tmp_path / "m.png"))


# name, frames, shape
DICOM = [
    ("examples_ybr_color.dcm", 30, (240, 320, 3)),  # a video in JPEG
    ("examples_palette.dcm", 1, (350, 800, 3)),
    ("examples_rgb_color.dcm", 1, (240, 320, 3)),
    ("examples_jpeg2k.dcm", 1, (480, 640, 3)),
]


@pytest.mark.parametrize(("name", "count", "shape"), DICOM)
def test_the_dicom_samples_are_read_frame_by_frame(name: str, count: int, shape: tuple[int, ...]) -> None:
    frames = [frame.pixels for frame in read_frames(SAMPLES / name)]
    assert len(frames) == count
    assert {frame.shape for frame in frames} <= {shape, shape[:2]}
    assert frames[0].shape == shape
    assert all(frame.dtype == np.uint8 for frame in frames)
    assert frames[0].max() > 150


def test_a_dicom_video_moves() -> None:
    frames = [frame.pixels for frame in read_frames(SAMPLES / "examples_ybr_color.dcm")]
    decoded = pydicom.dcmread(SAMPLES / "examples_ybr_color.dcm").pixel_array  # YBR, (30, 240, 320, 3)
    assert len({frame.tobytes() for frame in frames}) == len({frame.tobytes() for frame in decoded}) == 28


@pytest.mark.parametrize("brightest", [255, 60], ids=["as it is", "a dark frame"])
def test_a_dicom_palette_becomes_its_colours_whatever_the_frame_shows(tmp_path: Path, brightest: int) -> None:
    header = pydicom.dcmread(SAMPLES / "examples_palette.dcm")
    red = np.frombuffer(header.RedPaletteColorLookupTableData, np.uint16) >> 8
    indices = header.pixel_array
    indices[red[indices] > brightest] = 0
    header.PixelData = indices.tobytes()
    header.save_as(tmp_path / "a.dcm")
    frame = only_frame(tmp_path / "a.dcm")
    np.testing.assert_array_equal(frame[..., 0] if frame.ndim == 3 else frame, red[indices])


def dicom(path: Path, pixels: np.ndarray, photometric: str = "MONOCHROME2") -> Path:
    header = FileDataset(str(path), {}, preamble=b"\0" * 128)
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SOPClassUID, header.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.6.1", "1.2.3"
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PixelRepresentation = 1, 0
    header.PhotometricInterpretation = photometric
    header.BitsAllocated = header.BitsStored = 8 * pixels.itemsize
    header.HighBit = header.BitsStored - 1
    header.PixelData = pixels.tobytes()
    header.save_as(path, enforce_file_format=True)
    return path


def test_a_dicom_file_without_an_ending_is_read(tmp_path: Path) -> None:
    np.testing.assert_array_equal(only_frame(dicom(tmp_path / "IM0001", GREY)), GREY)


def test_monochrome1_is_turned_so_that_bright_is_bright(tmp_path: Path) -> None:
    np.testing.assert_array_equal(only_frame(dicom(tmp_path / "a.dcm", GREY, "MONOCHROME1")), 255 - GREY)


def test_a_sixteen_bit_dicom_file_is_stretched(tmp_path: Path) -> None:
    np.testing.assert_array_equal(only_frame(dicom(tmp_path / "a.dcm", GREY.astype(np.uint16) * 16)), GREY)


def test_a_dicom_file_without_pixels_is_unreadable(tmp_path: Path) -> None:
    header = pydicom.dcmread(dicom(tmp_path / "a.dcm", GREY))
    del header.PixelData
    header.save_as(tmp_path / "a.dcm")
    assert broken(tmp_path / "a.dcm") == "a DICOM file without pixels"


@pytest.mark.parametrize("folder", ["pydicom_us", "hc18", "stu_hospital"])
def test_real_files_are_read(real_data: Path, folder: str) -> None:
    files = [path for path in (real_data / folder).rglob("*") if path.suffix in (".png", ".dcm")]
    assert len(files) >= 4
    for path in files:
        frame = next(read_frames(path)).pixels
        assert frame.dtype == np.uint8
        assert frame.max() > 50
        assert min(frame.shape[:2]) >= 100
