"""Miniatures of nerves, muscles, vessels, thyroid and spinal cord. Where the facts are silent, the choice
is marked `chosen`."""

from __future__ import annotations

import numpy as np

from miniatures.moving import turned, video, volume, write_array
from miniatures.pictures import clip, outline, picture
from miniatures.release import Release


def bp_nerve(release: Release) -> None:
    for subject in (1, 2, 10):
        for number in range(1, 4):
            seen = release.still(
                f"train/{subject}_{number}.tif",
                subject=str(subject),
                mask=f"train/{subject}_{number}_mask.tif",
            )
            release.mask(f"train/{subject}_{number}_mask.tif", seen)
    for number in range(1, 4):
        release.still(f"test/{number}.tif")
    release.text("train_masks.csv", ["subject,img,pixels"])  # chosen
    release.corrupt("train/2_2.tif", "cut")


def brachial_plexus(release: Release) -> None:
    for machine, count in (("Butterfly", 2), ("Sonosite", 3), ("eSaote", 1)):
        rows = []
        for number in range(1, count + 1):
            name = f"{machine[:1]}{number:02d}"
            path = f"data/{machine}/videos/{name}.mp4"
            video(release, path, clip(f"brachial_plexus/{name}", 10), subject=name)
            for frame in range(3):
                mask = f"data/{machine}/ac_masks/{name}/{name}_{frame:03d}.jpg"
                release.image(mask, outline(mask, 64, 80))
            release.text(f"data/{machine}/bb_annotations/{name}.txt", ["0 10 10 30 30"])
            rows.append((name, 10, "no"))
        release.csv(f"data/{machine}/subjects_data.csv", "video|frames|needle", rows)  # two chosen
    video(release, "data/Sonosite/videos/S02_needle.mp4", clip("needle", 6))
    del release.planted.frames["data/Sonosite/videos/S02_needle.mp4"]  # with a needle: not used
    release.image("other/preview.gif", picture("preview"))
    release.corrupt("data/Sonosite/videos/S03.mp4")


def ubpd(release: Release) -> None:
    for number in range(1, 8):
        release.still(f"{number}.jpg")
        shape = {"label": "shenjing", "points": [[10, 10], [40, 12], [30, 40]], "shape_type": "polygon"}
        release.json(f"{number}.json", {"shapes": [shape], "imagePath": f"{number}.jpg"})
    release.path("3.json").write_bytes(b'{"shapes": [{"label": "\xc9\xf1\xbe\xad"}]}')  # not UTF-8
    release.corrupt("5.jpg", "empty")


def fallmud(release: Release) -> None:
    for part, image, mask in (("NeilCronin", "tif", "jpg"), ("RyanCunningham", "jpg", "tif")):
        for number in range(1, 5):
            seen = release.still(f"FALLMUD/{part}/images/{number:03d}.{image}")
            for kind in ("fascicle_masks", "aponeurosis_masks"):  # the same stem, another ending
                rotated = (part, kind) == ("RyanCunningham", "aponeurosis_masks")
                release.mask(f"FALLMUD/{part}/{kind}/{number:03d}.{mask}", seen.T if rotated else seen)


def stmus_nda(release: Release) -> None:
    root = "Polito-Radboud-DeepLearningUS"
    parts = ["train", "val", "test"]
    for muscle in ("BB", "GM", "TA"):
        for number in range(1, 4):
            name = f"{muscle}_{number:04d}.png"  # names, and the folder `Images`, chosen
            seen = release.still(f"{root}/{muscle}/Images/{name}")
            release.mask(f"{root}/{muscle}/Masks/{name}", seen)
            copy = f"{root}/Segmentation_models/data/MuscleCNN/{parts[number - 1]}"
            release.image(f"{copy}/{name}", seen)
            release.mask(f"{copy}annot/{name}", seen)
    release.corrupt(f"{root}/GM/Images/GM_0002.png")


def thyroid_dataset(release: Release) -> None:
    root = "Thyroid Dataset"
    for part, count in (("trainval", 6), ("test", 3)):
        rows = []
        for number in range(count):  # numbers restart in the test part
            label = number % 2 if part == "trainval" else number // 2
            seen = release.still(f"{root}/tn3k/{part}-image/{number:04d}.jpg", label=str(label))
            release.mask(f"{root}/tn3k/{part}-mask/{number:04d}.jpg", seen)
            rows.append(f"{number:04d}.jpg,{label}")
        release.text(f"{root}/tn3k/label4{part}.csv", rows)  # its two columns, without a header, chosen
    for fold in range(5):
        release.json(f"{root}/tn3k/tn3k-trainval-fold{fold}.json", {"train": [0, 1], "val": [2]})
    for number, frame in enumerate(clip("tg3k", 5)):  # neighbouring frames of one video
        release.still(f"{root}/tg3k/thyroid-image/{number:04d}.jpg", frame)
        if number:
            last = f"{root}/tg3k/thyroid-image/{number - 1:04d}.jpg"
            release.same(f"{root}/tg3k/thyroid-image/{number:04d}.jpg", last, "neighbour")
        release.mask(f"{root}/tg3k/thyroid-mask/{number:04d}.jpg", frame)
    release.json(f"{root}/tg3k/tg3k-trainval.json", {"train": [0, 1, 2], "val": [3, 4]})
    release.corrupt(f"{root}/tn3k/test-image/0001.jpg")


def thyroid_cineclip(release: Release) -> None:
    import h5py

    nodules = {"1_": ("benign", 20), "2_": ("malignant", 16), "3_": ("benign", 24)}
    clips = [clip(f"thyroid_cineclip/{name}", count) for name, (_, count) in nodules.items()]
    frames = np.concatenate(clips)
    names = [name for name, (_, count) in nodules.items() for _ in range(count)]
    with h5py.File(release.path("dataset.hdf5"), "w") as file:
        file["image"] = frames
        file["mask"] = np.stack([outline(name, 64, 80) for name in names])
        file.create_dataset("annot_id", data=names, dtype=h5py.string_dtype())
        file["frame_num"] = np.concatenate([np.arange(len(part)) for part in clips])
    release.tell("dataset.hdf5", len(frames))
    release.planted.frame_subjects["dataset.hdf5"] = names
    rows = [(name, label) for name, (label, _) in nodules.items()]
    release.csv("metadata.csv", "annot_id|histopath_diagnosis", rows)


def segthy(release: Release) -> None:
    root = "US_volunteer_dataset/ground_truth_data"
    for subject in (1, 2, 9):
        for physician, side in ((1, "left"), (2, "right")):
            name = f"{subject:03d}_P{physician}_1_{side}"
            frames = clip(f"segthy/{name}", 7)
            volume(release, f"{root}/US/{name}_US.nii", turned(frames), subject=f"{subject:03d}")
            write_array(release, f"{root}/US_thyroid_label/{name}.nii", np.zeros_like(frames))
    mri = "US_volunteer_dataset/MRI_data/001_MRI.nii"  # place and name chosen
    write_array(release, mri, np.zeros((4, 30, 30), np.uint8))
    release.corrupt(f"{root}/US/009_P2_1_right_US.nii")


def ccaui(release: Release) -> None:
    root = "Common Carotid Artery Ultrasound Images"
    for subject in range(1, 4):
        for number, frame in enumerate(clip(f"ccaui/{subject}", 3, 94, 88)):
            name = f"{subject:02d}_{number:04d}.png"  # names chosen; the blanks are the release's
            image, mask = f"{root}/US images/{name}", f"{root}/Expert mask images/{name}"
            release.mask(mask, release.still(image, frame, "RGB", mask=mask))
            if number:
                last = f"{root}/US images/{subject:02d}_{number - 1:04d}.png"
                release.same(image, last, "neighbour")


def porcine_spinal_cord(release: Release) -> None:
    for animal in (2, 7, 12):
        frames = clip(f"porcine/{animal}", 4, 48, 120)
        for number, frame in enumerate(frames):
            name, part = f"scaled-A{animal}_frame{number}", ("train", "train", "val", "test")[number]
            path = f"SegmentationDataset/{part}_images/{name}.png"
            release.still(path, frame, subject=str(animal))
            release.mask(f"SegmentationDataset/{part}_masks/{name}.png", frame)
            if number < 2:  # probably the same frames
                other = f"Final dataset for object detection/{part}/{name}"
                release.image(f"{other}.png", frame)
                release.text(f"{other}.xml", ["<annotation/>"])
