"""What frames are compared by: the same picture has the same digest, thumbnail and hash."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from usfmae.corpus.curation.fingerprints import perceptual_hashes, pixel_hash, thumbnail


def picture(seed: int, height: int = 300, width: int = 420) -> np.ndarray:
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 12)
    return np.uint8(255 * (noise - noise.min()) / np.ptp(noise))


@pytest.mark.parametrize("seed", range(5))
def test_the_hashes_are_those_of_imagehash(seed: int) -> None:
    small = thumbnail(picture(seed))
    image = Image.fromarray(small)
    mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    expected = ([str(imagehash.phash(image))] * 2, [str(imagehash.phash(mirrored))] * 2)
    assert perceptual_hashes(np.stack([small, small])) == expected


@pytest.mark.parametrize("size", [(32, 32), (40, 57), (129, 300), (800, 1023), (20, 20)])
def test_a_thumbnail_is_the_whole_picture_without_aliasing(size: tuple[int, int]) -> None:
    image = picture(1, *size)
    small = thumbnail(image)
    assert small.shape == (32, 32)
    assert small.dtype == np.uint8
    box = Image.fromarray(image).resize((32, 32), Image.Resampling.BOX)
    assert np.abs(small.astype(int) - np.asarray(box)).mean() < 4
    stripes = np.tile(np.uint8([0, 255]), (400, 200))
    assert np.abs(thumbnail(stripes).astype(int) - 127).max() <= 2


def test_a_rescaled_picture_has_nearly_the_same_hash() -> None:
    image = picture(2, 600, 800)
    smaller = np.asarray(Image.fromarray(image).resize((331, 250), Image.Resampling.BICUBIC))
    (one, other), _ = perceptual_hashes(np.stack([thumbnail(image), thumbnail(smaller)]))
    assert (int(one, 16) ^ int(other, 16)).bit_count() <= 4


def test_the_digest_is_of_the_pixels_and_their_arrangement() -> None:
    image = picture(3, 20, 30)
    assert pixel_hash(image) == pixel_hash(image.copy())
    assert pixel_hash(image[:, ::-1]) == pixel_hash(image[:, ::-1].copy())
    assert len({pixel_hash(image), pixel_hash(image.reshape(30, 20)), pixel_hash(255 - image)}) == 3
