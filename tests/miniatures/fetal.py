"""Miniatures of the fetal and obstetric datasets, which reuse each other's images. Where the facts are
silent, the choice is marked `chosen`.

An image that two datasets share is drawn by one name in both: HC18's by its path in HC18, the planes of
FETAL_PLANES_DB by their file names, the challenge images of FH-PS-AOP and PSFHS by their numbers.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from miniatures.moving import volume, write_array
from miniatures.pictures import clip, doppler, outline, picture, resized
from miniatures.release import Release

HC18 = ["001_HC", "002_HC", "002_2HC", "003_HC", "004_HC", "004_2HC", "004_3HC", "005_HC"]
BRAIN_PLANES = {
    "Patient00168_Plane3_1_of_2": "Trans-thalamic",
    "Patient00168_Plane3_2_of_2": "Trans-cerebellum",
    "Patient00309_Plane3_1_of_1": "Trans-ventricular",
    "Patient00412_Plane3_1_of_1": "Trans-thalamic",
}
SHARED_FRAMES = {3: ("1", 4), 4: ("1", 9), 7: ("2", 4)}
"""Number in FH-PS-AOP → video and frame of JNU-IFM."""


def shared(name: str) -> np.ndarray:
    """A shared frame, nearly of the shape (540, 800) of HC18's; mixed sizes where it is FETAL_PLANES_DB's."""
    return picture(f"shared/{name}", 80, 118)


def hc18(release: Release) -> None:
    for name in HC18:
        subject = f"train {name.partition('_')[0]}"
        seen = release.still(f"training_set/{name}.png", shared(name), subject=subject)
        release.mask(f"training_set/{name}_Annotation.png", seen, filled=False)
    for number in (1, 2, 3):  # other fetuses than those of the same numbers in the training set
        release.still(f"test_set/{number:03d}_HC.png", subject=f"test {number}")
    release.corrupt("test_set/003_HC.png")
    rows = [(f"{name}.png", 0.1, 44.3 if name[:3] != "001" else 60.1) for name in HC18]
    release.csv("training_set_pixel_size_and_HC.csv", "filename|pixel size(mm)|head circumference (mm)", rows)
    tested = [(f"{number:03d}_HC.png", 0.1) for number in (1, 2, 3)]
    release.csv("test_set_pixel_size.csv", "filename|pixel size(mm)", tested)


def fetal_planes_db(release: Release) -> None:
    planes = dict.fromkeys(BRAIN_PLANES, "Fetal brain")
    for number, plane in enumerate(
        ["Fetal abdomen", "Fetal femur", "Fetal thorax", "Maternal cervix", "Other", "Other"], start=1
    ):
        planes[f"Patient{number:05d}_Plane{number % 6 + 1}_1_of_1"] = plane
    rows = []
    for number, (name, plane) in enumerate(planes.items()):
        subject, train = name[7:12], int(number % 3 > 0)
        release.still(
            f"Images/{name}.png", shared(name), "RGBA", subject=subject, label=plane, split=str(train)
        )
        brain = BRAIN_PLANES.get(name, "Not A Brain")
        rows.append((name, int(subject), plane, brain, "Op. 1", "Voluson E6", train))
    release.corrupt("Images/Patient00003_Plane4_1_of_1.png", "html")
    # `Image_name`, `Operator` and `US_Machine` are chosen, as is which headers end with a blank.
    header = "Image_name|Patient_num|Plane |Brain_plane|Operator|US_Machine|Train "
    release.csv("FETAL_PLANES_DB_data.csv", header, rows, ";")
    release.xlsx("FETAL_PLANES_DB_data.xlsx", header, rows)


def dfhi(release: Release) -> None:
    def plane(path: str, source: np.ndarray, original: str, **facts: str) -> None:
        colour = np.repeat(resized(source, 66, 96)[..., None], 3, axis=-1)  # 661 x 959 in the release
        release.still(path, colour, **facts)
        release.same(path, original, "near")

    for name, label in BRAIN_PLANES.items():
        path = f"{label}/{label}/{name}.png"
        plane(path, shared(name), f"fetal_planes_db/Images/{name}.png", subject=name[:12], label=label)
        release.image(f"{label}/{label}-orginal-size/{name}.png", shared(name), "RGBA")
        cities = f"{label}/{label}-CitySpaces/gtFine/{name}_gtFine_color.png"  # place chosen
        release.mask(cities, shared(name), mode="RGB")
    for name in HC18[:4]:
        path = f"Diverse Fetal Head Images/Orginal_train_images_to_959_661/{name}.png"
        plane(path, shared(name), f"hc18/training_set/{name}.png", subject=name[:3], label="Diverse")
        release.image(f"Diverse Fetal Head Images-orginal-image/{name}.png", shared(name), "RGBA")
    for label in ("Trans-thalamic", "Trans-cerebellum", "Trans-ventricular"):
        release.csv(f"{label}/{label}-Pixel-Size.csv", "image|pixel", [])


def fast_u_net(release: Release) -> None:
    """The folders as they come out of the RAR archives; that each is named as its archive is chosen."""
    lists: dict[str, list[str]] = {}
    for number in range(1, 7):
        path = f"Dataset/AC/AC_image{1 + number // 4}/{number}.png"
        seen = release.still(path)
        release.mask(f"Dataset/AC/AC_mask/{number}.png", seen)
        lists.setdefault("AC", []).append(f"{number}.png")
    for number, name in enumerate(HC18):
        whole = shared(name)
        path = f"Dataset/HC/HC_image{1 + number // 3}/{name}.png"
        small = resized(whole, round(0.8 * whole.shape[0]), round(0.8 * whole.shape[1]))
        release.still(path, small, subject=name[:3])
        release.same(path, f"hc18/training_set/{name}.png", "near")
        release.mask(f"Dataset/HC/HC_mask/{name}.png", small)
        lists.setdefault("HC", []).append(f"{name}.png")
    for half, names in lists.items():
        lines = [f"resized_data/image/{name} resized_data/mask/{name}" for name in names]
        release.text(f"Dataset/{half}/train.txt", lines[:-2])
        release.text(f"Dataset/{half}/val.txt", lines[-2:])
    for number in (1576, 1582, 1588):
        release.image(f"test_data/image/{number}.jpg", picture(f"{number}"))
        release.mask(f"test_data/mask/{number}.jpg", picture(f"{number}"))


def ultrasound_fetus(release: Release) -> None:
    root = "Ultrasound Fetus Dataset/Ultrasound Fetus Dataset/Data/Data"
    names = iter(HC18)
    for split, labels in {
        "train": ["benign", "malignant", "malignant", "normal"],
        "test": ["benign", "malignant"],
        "validation": ["normal", "malignant"],
    }.items():
        for label in labels:
            name = next(names)
            path = f"{root}/{split}/{label}/{name}.png"
            seen = release.still(path, shared(name), subject=name[:3], label=label)
            release.same(path, f"hc18/training_set/{name}.png")
            release.image(f"{root}/Datasets/{label}/{name}.png", seen)
            if label == "malignant":
                release.mask(f"{root}/{split}/{label}/{name}_Annotation.png", seen, filled=False)
                release.mask(f"{root}/Datasets/{label}/{name}_Annotation.png", seen, filled=False)


def feft(release: Release) -> None:
    root = "Fetal Echocardiography First Trimester"
    parts = ("train", "valid", "test")
    counts = {"Aorta": "412", "Flows": "422", "Other": "533", "V sign": "532", "X sign": "311"}
    leaks = {("V sign", "valid", 1): ("train", 4), ("V sign", "valid", 2): ("train", 5)}
    leaks[("V sign", "test", 1)] = ("valid", 3)
    for label, digits in counts.items():
        for split, count in zip(parts, map(int, digits), strict=True):
            for number in range(1, count + 1):
                first_split, first = leaks.get((label, split, number), (split, number))
                path = f"{root}/{split}/{label}/{label} {split} ({number}).jpg"
                original = f"{root}/{first_split}/{label}/{label} {first_split} ({first}).jpg"
                frame = picture(f"feft/{original}")
                release.still(path, doppler(frame) if label == "Flows" else frame, label=label, split=split)
                if original != path:
                    release.same(path, original)
    release.corrupt(f"{root}/test/Other/Other test (2).jpg")


def fass(release: Release) -> None:
    for number, token in enumerate(["P01", "P01", "P02", "P0149", "P0149", "P149", "P77"], start=1):
        name = f"{token}_IMG{number}"  # tokens are strings: P0149 is not P149
        mode = "L" if number == 3 else "RGB"
        seen = release.still(f"IMAGES/{name}.png", mode=mode, subject=token)
        array = release.path(f"ARRAY_FORMAT/{name}.npy")
        content = np.array({"image": seen, "structures": {"liver": outline(name, *seen.shape)}}, object)
        np.save(array, content, allow_pickle=True)
    release.path("ARRAY_FORMAT/P77_IMG8.npy").write_bytes(_trap(release.path("ARRAY_FORMAT/PICKLE_WAS_RUN")))
    release.corrupt("IMAGES/P02_IMG3.png")


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def _trap(path: Path) -> bytes:
    """A pickle that makes the file `path` when it is loaded."""
    return pickle.dumps(_Touch(path))


def jnu_ifm(release: Release) -> None:
    for video, frames in {"1": (2, 4, 9), "2": (4, 6), "3": (1, 2, 3)}.items():
        rows = []
        for frame in frames:
            path = f"us_data/{video}/image/{video}_{frame}.png"
            mask = f"us_data/{video}/mask/{video}_{frame}_mask.png"
            seen = release.still(path, _sweep(video, frame), "RGB", subject=video, mask=mask)
            dark = outline(mask, *seen.shape) // 255 * 7  # values 7 and 8 look black
            release.image(mask, dark.astype("uint8"))
            release.mask(f"us_data/{video}/mask_enhance/{video}_{frame}_mask.png", seen, mode="RGB")
            rows.append((f"{video}_{frame}.png", 6 if (video, frame) in SHARED_FRAMES.values() else 4))
        release.csv(f"us_data/{video}/frame_label.csv", "frame|frame_label", rows)  # columns chosen
    release.corrupt("us_data/3/image/3_2.png")


def _sweep(video: str, frame: int) -> np.ndarray:
    """Square, because the facts do not give JNU-IFM's own shape: chosen."""
    return picture(f"jnu_ifm/{video}_{frame}", 96, 96)


def fh_ps_aop(release: Release) -> None:
    root = "Pubic Symphysis-Fetal Head Segmentation and Angle of Progression"
    for number in (1, 2, *SHARED_FRAMES, 3744, 3745, 4000):
        path = f"{root}/image_mha/{number:05d}.mha"
        if number in SHARED_FRAMES:
            video, frame = SHARED_FRAMES[number]
            _three_channels(release, path, resized(_sweep(video, frame), 64, 64))  # 256 x 256 in the release
            release.same(path, f"jnu_ifm/us_data/{video}/image/{video}_{frame}.png", "near")
        else:
            _three_channels(release, path, picture(f"challenge/{number}", 64, 64))


def psfhs(release: Release) -> None:
    for number in (3744, 3745, 4000, 4001, 4002, 5101):
        path = f"PSFHS/image_mha/{number:05d}.mha"
        _three_channels(release, path, picture(f"challenge/{number}", 64, 64))
        if number <= 4000:
            root = "Pubic Symphysis-Fetal Head Segmentation and Angle of Progression"
            release.same(path, f"fh_ps_aop/{root}/image_mha/{number:05d}.mha")
    release.corrupt("PSFHS/image_mha/04002.mha")


def _three_channels(release: Release, path: str, frame: np.ndarray) -> None:
    """`(3, H, W)`, three times the same: one picture that looks like a volume of slices; and its mask."""
    mask = path.replace("image_mha", "label_mha")
    volume(release, path, np.stack([frame] * 3), frames=1, mask=mask)
    write_array(release, mask, outline(path, 64, 64) // 255)


def acouslic(release: Release) -> None:
    root, rows = "acouslic-ai-train-set", []
    for number, subject in enumerate((11, 11, 23, 47, 47)):  # several uuids may share one subject
        uuid = f"{number:08x}-0c1d-4e2f-8a3b-{7919 * (number + 1):012x}"
        scan = f"{root}/images/stacked_fetal_ultrasound/{uuid}.mha"
        frames = clip(f"acouslic/{uuid}", 12, 56, 74)
        volume(release, scan, frames, subject=str(subject))
        labels = np.zeros_like(frames)
        labels[4:6, 20:30, 20:40] = 1
        write_array(release, f"{root}/masks/stacked_fetal_abdomen/{uuid}.mha", labels)
        rows += [(uuid, subject, sweep, 250.0) for sweep in (1, 2)]  # a row a sweep: chosen
    header = "uuid|subject_id|sweep|fetal_abdominal_circumference"  # the last two chosen
    release.csv(f"{root}/circumferences/fetal_abdominal_circumferences_per_sweep.csv", header, rows)
