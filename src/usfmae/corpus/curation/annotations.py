"""Burnt-in annotations: which pixels of a frame are text, calipers, markers or arrows, by two methods."""

from __future__ import annotations

import warnings

import cv2
import numpy as np

#: Side of a square that fits into no stroke, pixels: what is wider is a structure.
STROKE = 9
#: A frame with a longer side, pixels, has wider strokes too: it is searched once more at half the size.
LONG_SIDE = 1400
#: (height above the surroundings in grey values, least sharpness, least roundness), in the order of search.
#: What stands out more may be less sharp: releases are resampled and went through JPEG. See `_strokes`.
LEVELS = ((120, 0.35, 0.40), (80, 0.50, 0.45), (40, 0.57, 0.50))
#: What a faint stroke (last level) must have: mean height in grey values, and pixels.
FAINT_HEIGHT, FAINT_AREA = 60, 6
#: No ink is darker, grey values.
DARKEST_INK = 140
#: Side of a square that fits into no coloured marker, pixels.
MARKER = 25
#: A chroma (largest less smallest channel) above this is colour; tinted grey stays below.
COLOURED = 60
#: A pixel beside a stroke that differs from its surroundings by more belongs to the stroke, grey values.
RIM = 40


def published_mask(frame: np.ndarray) -> np.ndarray:
    """USF-MAE's annotation mask, uint8 `(H, W)`, 0 or 255, of a frame `(H, W)` or RGB `(H, W, 3)`.

    Source: `get_combined_annotation_mask` and `clean_and_inpaint` of the authors' notebook
    `US_images_preprocessing.ipynb` (github Yusufii9/USF-MAE), step by step, with the flaws: true speckle and
    edges are small bright contours too, and Doppler colour is colour. Needs the program `tesseract`, whose
    version the result depends on; scikit-learn's KMeans with its defaults, as the authors call it.
    """
    image = cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR if frame.ndim == 2 else cv2.COLOR_RGB2BGR)
    found = _coloured_clusters(image) | _small_contours(image) | _words(image)
    square = np.ones((5, 5), np.uint8)
    return cv2.morphologyEx(cv2.morphologyEx(found, cv2.MORPH_CLOSE, square), cv2.MORPH_OPEN, square)


def _equalised(channel: np.ndarray) -> np.ndarray:
    return cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(channel)


def _coloured_clusters(image: np.ndarray) -> np.ndarray:
    """Pixels of the BGR image in saturated clusters, uint8 `(H, W)`, 0 or 255."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    lab = cv2.cvtColor(image, cv2.COLOR_BGR2LAB)
    lab[..., 0] = _equalised(lab[..., 0])
    hsv = cv2.cvtColor(cv2.cvtColor(lab, cv2.COLOR_LAB2BGR), cv2.COLOR_BGR2HSV)
    saturated = hsv[..., 1] > 40
    found = np.zeros(image.shape[:2], np.uint8)
    if saturated.sum() < 3:
        return found
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer than three different colours
        clusters = KMeans(n_clusters=3, random_state=42).fit(hsv[saturated])
    _, saturation, value = clusters.cluster_centers_.T
    found[saturated] = np.where((saturation > 40) & (value > 20), 255, 0)[clusters.labels_]
    _, labels, components, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
    return np.where(components[labels, cv2.CC_STAT_AREA] >= 20, found, 0).astype(np.uint8)


def _small_contours(image: np.ndarray) -> np.ndarray:
    """Insides of outer contours of 30 to 2000 square pixels, uint8 `(H, W)`, 0 or 255."""
    edges = cv2.Canny(_equalised(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)), 50, 150)
    contours, _ = cv2.findContours(
        cv2.dilate(edges, np.ones((3, 3), np.uint8)), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    found = np.zeros(edges.shape, np.uint8)
    for contour in contours:
        if 30 < cv2.contourArea(contour) < 2000:
            cv2.drawContours(found, [contour], -1, 255, cv2.FILLED)
    return found


def _words(image: np.ndarray) -> np.ndarray:
    """Boxes in which Tesseract reads anything, uint8 `(H, W)`, 0 or 255."""
    import pytesseract  # type: ignore[import-untyped]

    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    try:
        read = pytesseract.image_to_data(grey, output_type=pytesseract.Output.DICT)
    except pytesseract.TesseractNotFoundError as error:
        raise RuntimeError(
            "`cleaning: published` reads text with the program `tesseract`, which is not installed here: "
            "install it, or set `cleaning: corrected` or `none` in the corpus"
        ) from error
    found = np.zeros(grey.shape, np.uint8)
    for x, y, w, h, text in zip(
        read["left"], read["top"], read["width"], read["height"], read["text"], strict=True
    ):
        if text.strip():
            cv2.rectangle(found, (x, y), (x + w, y + h), 255, cv2.FILLED)
    return found


def corrected_mask(frame: np.ndarray) -> np.ndarray:
    """What a graphics card drew, uint8 `(H, W)`, 0 or 255, of a frame `(H, W)` or RGB `(H, W, 3)`.

    Strokes: echoes are blurred by the point-spread function, drawn strokes are not. A thin bright component
    is a stroke where it falls off within a pixel, along rows as well as along columns (a specular echo is
    sharp in depth alone), and is as bright as the brightest tissue. How sharp it has to be follows the
    frame's own speckle. Beside a stroke, as between the letters of a word, less is asked.

    Colour: a drawn marker has one hue and is narrow. A coloured component of several hues is Doppler; in a
    frame that has one, every thick or many-hued component is Doppler, and so is colour close to it.

    Not found: strokes wider than 4 pixels (8 at half the size, see `LONG_SIDE`), dark ink, drawings on
    Doppler colour. Taken by mistake: bright specks, calcifications among them, in frames so small that tissue
    is as sharp as ink (128 pixels), and the tips of a sector that ends abruptly. `benchmarks/cleaning.py`
    measures how much.
    """
    if frame.ndim == 2:
        return _grown(_strokes_of_all_widths(frame), frame)
    brightest, chroma = colours(frame)
    found = _strokes_of_all_widths(brightest)
    coloured = above(chroma, COLOURED)
    if cv2.countNonZero(coloured):
        narrow = cv2.morphologyEx(chroma, cv2.MORPH_TOPHAT, np.ones((MARKER, MARKER), np.uint8))
        found |= above(narrow, COLOURED)
        doppler = _doppler(frame, coloured)
        found[doppler > 0] = 0
        return _grown(found, brightest) & ~doppler
    return _grown(found, brightest)


def colours(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest channel of an RGB frame, and largest less smallest (0 where it is grey), uint8 `(H, W)`."""
    red, green, blue = cv2.split(frame)
    brightest = cv2.max(cv2.max(red, green), blue)
    return brightest, cv2.subtract(brightest, cv2.min(cv2.min(red, green), blue))


def above(image: np.ndarray, level: float) -> np.ndarray:
    """255 where a grey image is larger than `level`, else 0; uint8 `(H, W)`."""
    return cv2.threshold(image, level, 255, cv2.THRESH_BINARY)[1]


def _strokes_of_all_widths(image: np.ndarray) -> np.ndarray:
    found = _strokes(image)
    if max(image.shape) > LONG_SIDE:
        half_size = tuple(max(1, side // 2) for side in image.shape[::-1])  # width, height
        half = cv2.resize(image, half_size, interpolation=cv2.INTER_AREA)
        wide = _grown(_strokes_of_all_widths(half), half)
        found |= cv2.resize(wide, image.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return found


def _strokes(image: np.ndarray) -> np.ndarray:
    """Strokes of a grey image, uint8 `(H, W)`, 0 or 255, without their anti-aliased rim.

    Sharpness of a component: mean step to the next pixel over mean height. Roundness: the smaller of its
    largest steps along rows and along columns, over its largest height. Both are 1 for a drawn stroke.
    """
    height = cv2.morphologyEx(image, cv2.MORPH_TOPHAT, np.ones((STROKE, STROKE), np.uint8))
    found = np.zeros(image.shape, np.uint8)
    candidates = np.flatnonzero(height > LEVELS[-1][0])  # (n,), positions in the flat image
    if not len(candidates):
        return found
    across = cv2.subtract(image, cv2.erode(image, np.ones((1, 3), np.uint8))).ravel()[candidates]
    down = cv2.subtract(image, cv2.erode(image, np.ones((3, 1), np.uint8))).ravel()[candidates]
    high, value, step = (
        height.ravel()[candidates],
        image.ravel()[candidates],
        np.maximum(across, down),
    )  # (n,)
    # 0.3 to 0.6: a frame full of text is not taken for sharp tissue.
    speckle = 0.5 * (float(np.clip(np.median(step / high), 0.3, 0.6)) - 0.35)
    ink = max(DARKEST_INK, float(np.percentile(cv2.subtract(image, height)[::2, ::2], 97)))

    def search(where: np.ndarray, slack: float, least_mean: float) -> None:
        """Adds the strokes inside `where`; sharpness and roundness may be smaller by the factor `slack`."""
        for level, sharp, round_ in LEVELS:
            mask = above(height, level) & where & ~found
            count, labels = cv2.connectedComponents(mask, connectivity=8)
            label = labels.ravel()[candidates]
            area = np.maximum(np.bincount(label, minlength=count), 1)
            mean_height, mean_step, mean = (
                np.bincount(label, values, count) / area for values in (high, step, value)
            )
            largest = np.zeros((4, count), np.uint8)
            for row, values in zip(largest, (across, down, high, value), strict=True):
                np.maximum.at(row, label, values)
            stroke = mean_step > slack * (sharp + speckle) * mean_height
            stroke &= largest[:2].min(axis=0) > slack * (round_ + speckle) * largest[2]
            stroke &= (largest[3] > ink) & (mean > least_mean)
            if level == LEVELS[-1][0]:
                stroke &= (mean_height > FAINT_HEIGHT) & (area >= FAINT_AREA)
            stroke[0] = False
            found.ravel()[candidates[stroke[label]]] = 255

    search(np.full_like(found, 255), 1, 0)
    if found.any():
        search(cv2.dilate(found, np.ones((9, 21), np.uint8)), 0.7, 0.8 * float(np.median(image[found > 0])))
    return found


def _doppler(frame: np.ndarray, coloured: np.ndarray) -> np.ndarray:
    """Colour Doppler and its colour bar, uint8 `(H, W)`, 0 or 255; `coloured` is a mask of the same kind.

    How alike the hues of a component are: length of their mean on the unit circle. Text measures 0.98 to 1,
    the largest Doppler component of a frame 0.05 to 0.97 (MMOTU-2D, pydicom's samples).
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(coloured, connectivity=8)
    at = np.nonzero(coloured)
    label, area = labels[at], np.maximum(stats[:, cv2.CC_STAT_AREA], 1)
    hue = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)[..., 0][at] * np.float64(np.pi / 90)
    alike = np.hypot(np.bincount(label, np.cos(hue), count), np.bincount(label, np.sin(hue), count)) / area
    many_hued = alike < 0.98
    many_hued[0] = False
    if not (many_hued & (area >= 100)).any():
        return np.zeros(coloured.shape, np.uint8)
    thick = cv2.morphologyEx(coloured, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))
    flow = many_hued & (area >= 25)
    flow[np.unique(labels[thick > 0])] = True
    flow[0] = False
    reach = 2 * (max(frame.shape[:2]) // 50) + 1  # 2 % of the frame to each side
    flowing = np.where(flow, 255, 0).astype(np.uint8)[labels]
    return cv2.dilate(flowing, np.ones((reach, reach), np.uint8)) & coloured


def _grown(found: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Strokes with their rim: the next pixel, and the one after it where it is still bright or drawn dark."""
    near, far = cv2.dilate(found, np.ones((3, 3), np.uint8)), cv2.dilate(found, np.ones((5, 5), np.uint8))
    square = np.ones((STROKE, STROKE), np.uint8)
    rim = cv2.max(
        cv2.morphologyEx(image, cv2.MORPH_TOPHAT, square), cv2.morphologyEx(image, cv2.MORPH_BLACKHAT, square)
    )
    return near | far & above(rim, RIM)
