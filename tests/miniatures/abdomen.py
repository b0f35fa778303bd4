"""Miniatures of liver, kidney, gut, ovary and prostate. Where the facts are silent, the choice is marked
`chosen`."""

from __future__ import annotations

import numpy as np

from miniatures.moving import turned, volume, write_array
from miniatures.pictures import captioned, clip, doppler, generator, outline, picture
from miniatures.release import Release


def us105(release: Release) -> None:
    for number in range(1, 8):
        seen = release.still(f"105US/105 US Images/{number:03d}.png", mode="RGB")
        release.mask(f"105US/105 US Masks/{number:03d} G man.png", seen)
    release.text("105US/105 US Images/readme.txt", ["105 images of liver metastases"])
    release.corrupt("105US/105 US Images/004.png", "empty")


def abdomen_us(release: Release) -> None:
    liver, kidney = (100, 0, 100), (255, 255, 0)
    for kind in ("AUS", "RUS"):  # A: artificial, from CT. R: real
        for split, count in (("train", 4), ("test", 3)):
            for number in range(count):
                stem = f"abdominal_US/abdominal_US/{kind}/images/{split}/{number}"
                if kind == "RUS":
                    seen = release.still(f"{stem}.{'jpg' if number == 1 else 'png'}", mode="RGB")
                else:
                    release.image(f"{stem}.png", seen := picture(stem), "RGB")
                shape = outline(stem, *seen.shape)[..., None] > 0
                colours = (shape * np.array(liver if number % 2 else kidney)).astype("uint8")
                release.image(f"{stem.replace('images', 'annotations')}.png", colours, "RGBA")


def aul(release: Release) -> None:
    for label, count in (("Benign", 3), ("Malignant", 5), ("Normal", 2)):
        for number in range(1, count + 1):  # numbers restart in each class
            path, subject = f"{label}/image/{number}.jpg", f"{label} {number}"
            pixels = picture(f"aul/{path}")
            if number % 2:
                pixels = captioned(pixels, f"{label[0]}{number} 12 cm")
            release.still(path, pixels, subject=subject, label=label)
            release.json(f"{label}/segmentation/liver/{number}.json", [[10, 12], [60, 14], [40, 50]])
            release.json(f"{label}/segmentation/outline/{number}.json", [[2, 2], [80, 2], [40, 60]])
            release.path(f"__MACOSX/{label}/image/._{number}.jpg").write_bytes(b"\0\5\x16\7Mac OS X")
    release.corrupt("Malignant/image/2.jpg")


def kidney_us(release: Release) -> None:
    folder = "kidneyUS_images_14_june_2022/kidneyUS_images_14_june_2022"
    tokens = [f"IM-{number:04d}-{17 * number:04d}" for number in range(1, 8)]
    names: dict[str, str] = {}
    for number, token in enumerate([*tokens, tokens[1], tokens[4]]):  # two deliberate repeats
        path = f"{folder}/{number}_{token}_anon.png"
        release.still(path, picture(f"kidney_us/{token}"), subject=token)
        if token in names:
            release.same(path, names[token])
        names[token] = path
        for reader in (1, 2):
            for part in ("capsule", "regions"):
                release.mask(
                    f"labels/reviewed_masks_{reader}/{part}/{number}_{token}_anon.png", np.zeros((70, 90))
                )
    release.csv("labels/reviewed_labels_1.csv", "filename|file_attributes", [])  # `filename` chosen
    release.image("kidneyUSlogo.png", picture("logo"))
    release.corrupt(f"{folder}/3_{tokens[3]}_anon.png", "cut")


def gist514(release: Release) -> None:
    root, images, annotations = "usd514-db", [], []
    for number in range(1, 13):
        label, fold = ("lmym", "gist")[number % 2], number % 5
        name = f"{number:04d}.jpg"  # names chosen
        path = f"{root}/usd514_jpeg_roi/images/{name}"
        seen = release.still(path, subject=name, label=label, split=str(fold))
        release.image(f"{root}/usd514_jpeg_raw/images/{name}", np.pad(seen, 12, mode="edge"))
        height, width = seen.shape
        images.append({"id": number, "file_name": name, "height": height, "width": width, "anatomy_id": 1})
        box = [20, 20, 30, 30]
        corners = [[20, 20, 50, 20, 50, 50, 20, 50]]
        annotations.append(
            {"id": number, "image_id": number, "category_id": 1 + (label == "gist"), "bbox": box}
            | {"segmentation": corners, "area": 900, "iscrowd": 0}
        )
    categories = [{"id": 1, "name": "lmym"}, {"id": 2, "name": "gist"}]

    def coco(name: str, keep: set[int]) -> None:
        release.json(
            f"{root}/usd514_jpeg_roi/annotations/{name}.json",
            {
                "images": [i for i in images if i["id"] in keep],
                "annotations": [a for a in annotations if a["image_id"] in keep],
                "categories": categories,
            },
        )

    everything = set(range(1, 13))
    coco("all_anno_crop", everything)
    for fold in range(5):
        held = {number for number in everything if number % 5 == fold}
        coco(f"val_anno_crop_split_{fold}", held)
        coco(f"train_anno_crop_split_{fold}", everything - held)


def _mmotu(release: Release) -> dict[str, dict[str, str]]:
    """The figshare mirror: both subsets lie in one archive. Part → image → its mask."""
    parts: dict[str, dict[str, str]] = {"train": {}, "test": {}, "contrast": {}}
    folders = {
        "train": ("OTU_2D/train/train_image", "OTU_2D/train/train_label/label", range(1, 8)),
        "test": ("OTU_2D/test/image", "OTU_2D/test/label/black_write", range(21, 25)),
        "contrast": ("OTU_CEUS/image", "OTU_CEUS/label", range(1, 6)),
    }
    for part, (images, masks, numbers) in folders.items():
        for number in numbers:
            image, mask = f"dataset/{images}/{number}.JPG", f"dataset/{masks}/{number}.PNG"
            frame = picture(f"mmotu/{part}/{number}")
            release.image(image, doppler(frame) if number == 3 or part == "contrast" else frame)
            release.mask(mask, frame, mode="RGB")
            parts[part][image] = mask
    return parts


def mmotu_2d(release: Release) -> None:
    parts = _mmotu(release)
    for part in ("train", "test"):
        for image, mask in parts[part].items():
            release.tell(image, 1, split=part, mask=mask)
    release.corrupt("dataset/OTU_2D/train/train_image/5.JPG")


def mmotu_3d(release: Release) -> None:
    for image, mask in _mmotu(release)["contrast"].items():
        release.tell(image, 1, mask=mask)


def mmotu_2d_drive(release: Release) -> None:
    """The original release on Google Drive: another layout, with the official lists."""
    listed: dict[str, list[tuple[str, int]]] = {"train": [], "val": []}
    for number in range(1, 13):
        name, split, label = f"{number}.JPG", "val" if number % 3 == 0 else "train", number % 8
        path = f"OTU_2d/images/{name}"
        seen = release.still(path, split=split, label=str(label))
        for ending in (".PNG", "_binary.PNG"):
            release.mask(f"OTU_2d/annotations/{number}{ending}", seen, mode="RGB")
        listed[split].append((name, label))
        release.image(f"OTU_3d/images/{number}.JPG", picture(f"mmotu_3d/{number}"))
    for split, rows in listed.items():
        release.text(f"OTU_2d/{split}.txt", [name[:-4] for name, _ in rows])  # without ending: chosen
        release.text(f"OTU_2d/{split}_cls.txt", [f"{name}  {label}" for name, label in rows])


def micro_seg(release: Release) -> None:
    root = "Micro_Ultrasound_Prostate_Segmentation_Dataset"
    for split, count in (("train", 4), ("test", 2)):
        for number in range(1, count + 1):  # numbers restart in the test part
            name = f"{split}_{number:02d}.nii.gz"
            scan = f"{root}/{split}/micro_ultrasound_scans/microUS_{name}"
            frames = clip(f"micro_seg/{name}", 5 + number)
            volume(release, scan, turned(frames), subject=f"{split} {number}")
            labels = np.stack([outline(name, 64, 80) // 255 for _ in frames])
            write_array(release, f"{root}/{split}/expert_annotations/expert_annotation_{name}", labels)
            if split == "train":
                other = f"{root}/train/non_expert_annotations/non_expert_annotation_{name}"
                write_array(release, other, labels)
    release.corrupt(f"{root}/train/micro_ultrasound_scans/microUS_train_03.nii.gz")


def reg_pro(release: Release) -> None:
    for split, cases in (("train", (0, 1, 2, 3)), ("val", (65, 66))):
        for case in cases:
            name = f"case{case:06d}.nii.gz"
            frames = turned(clip(f"reg_pro/{case}", 9, 40, 44))  # sagittal slices: the last axis
            scan = np.ascontiguousarray(frames.transpose(1, 2, 0).astype(np.float32) / 255)
            volume(release, f"{split}/us_images/{name}", scan, frames=9, subject=str(case))
            write_array(release, f"{split}/us_labels/{name}", np.zeros((2, *scan.shape), np.uint8))
            mri = generator(name).normal(300, 40, (8, 30, 30)).astype(np.float32)
            write_array(release, f"{split}/mr_images/{name}", mri)
            write_array(release, f"{split}/mr_labels/{name}", np.zeros((2, 8, 30, 30), np.uint8))
