"""Miniatures of the breast datasets. Where the facts are silent, the choice is marked `chosen`."""

from __future__ import annotations

from miniatures.pictures import generator, outline, picture
from miniatures.release import Release


def breast_tcia(release: Release) -> None:
    folder, rows = "BrEaST-Lesions_USG-images_and_masks", []
    for case, label in enumerate(["benign"] * 4 + ["malignant"] * 3 + ["normal"], start=1):
        name = f"case{case:03d}"
        mask = f"{folder}/{name}_tumor.png" if label != "normal" else None
        seen = release.still(f"{folder}/{name}.png", mode="LA", subject=name, label=label, mask=mask)
        if mask:
            release.mask(mask, seen)
        if case in (2, 5):  # several masks a case
            release.mask(f"{folder}/{name}_other1.png", seen)
            release.mask(f"{folder}/{name}_other2.png", seen)
        rows.append((case, f"{name}.png", f"{name}_tumor.png", label))
    release.mask(f"{folder}/case005_tumor2.png", seen)
    release.corrupt(f"{folder}/case003.png")
    release.xlsx(
        "BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx",
        "CaseID|Image_filename|Mask_tumor_filename|Classification",  # but for two columns chosen
        rows,
    )


def bus_dataset_b(release: Release) -> None:
    for number in range(1, 8):
        name, mask = f"{number:06d}", f"BUS/GT/{number:06d}.png"
        release.mask(mask, release.still(f"BUS/original/{name}.png", subject=name, mask=mask))
    rows = [(f"{number:06d}", "Malignant" if number % 3 == 0 else "Benign") for number in range(1, 8)]
    release.xlsx("DatasetB.xlsx", "Image|Type", rows)  # columns chosen


def bus_uc(release: Release) -> None:
    for label, count in (("Benign", 4), ("Malignant", 6)):
        for number in range(1, count + 1):
            name = f"{number + (300 if label == 'Malignant' else 0):04d}.png"
            seen = release.still(f"{label}/images/{name}", label=label, mask=f"{label}/masks/{name}")
            release.image(f"All/images/{name}", seen)  # every image a second time
            like = seen[:-1] if number == 2 else seen  # a mask one pixel short, as 0319
            for folder in (label, "All"):
                release.mask(f"{folder}/masks/{name}", like)
    release.corrupt("Malignant/images/0304.png")


def bus_uclm(release: Release) -> None:
    root = "BUS-UCLM Breast ultrasound lesion segmentation dataset/BUS-UCLM"
    colours = {"Benign": (0, 255, 0), "Malignant": (255, 0, 0), "Normal": (0, 0, 0)}
    rows = []
    for subject, labels in {
        "ALWI": ["Normal", "Normal", "Benign"],
        "ANFO": ["Malignant"],
        "VITR": ["Benign", "Normal"],
    }.items():
        for number, label in enumerate(labels):
            name = f"{subject}_{number:03d}.png"
            mask = f"{root}/masks/{name}"
            image = f"{root}/images/{name}"
            seen = release.still(image, mode="RGB", subject=subject, label=label)
            height, width = seen.shape
            if label == "Malignant":  # cropped against its mask
                width += 30
                release.planted.odd_masks.add(image)
            elif label == "Benign":  # the mask of a normal breast is there, and black
                release.planted.masks[image] = mask
            shape = outline(name, height, width)[..., None] > 0
            release.image(mask, (shape * colours[label]).astype("uint8"))
            rows.append((name, label, "Doppler" if number == 1 else "", "Marks" if number == 2 else ""))
    release.csv(f"{root}/INFO.csv", "Image|Label|Doppler|Marks", rows, ";")  # `Image` chosen


def bus_bra(release: Release) -> None:
    cases = {1: "bb", 2: "m", 3: "b", 4: "mm", 5: "b", 6: "bb", 7: "m"}  # a letter an image
    names = {"b": "benign", "m": "malignant"}
    images = [(case, names[letter]) for case, letters in cases.items() for letter in letters]
    rows, folds = [], []
    for number, (case, label) in enumerate(images, start=1):
        side, fold = "lr"[number % 2], case % 5 + 1
        name = f"bus_{case:04d}-{side}"
        mask = f"BUSBRA/Masks/mask_{case:04d}-{side}.png"
        seen = release.still(
            f"BUSBRA/Images/{name}.png", subject=str(case), label=label, split=str(fold), mask=mask
        )
        release.mask(mask, seen)
        birads = 4 if label == "malignant" else 2
        rows.append((name, case, "lesion", label, birads, side, seen.shape[1], seen.shape[0], "GE Logiq 5"))
        folds.append((name, case, label, fold))
    # Columns but ID, Case, Pathology, BIRADS, Device and kFold are chosen.
    release.csv("BUSBRA/bus_data.csv", "ID|Case|Histology|Pathology|BIRADS|Side|Width|Height|Device", rows)
    release.csv("BUSBRA/5-fold-cv.csv", "ID|Case|Pathology|kFold", folds)
    release.csv("BUSBRA/10-fold-cv.csv", "ID|Case|Pathology|kFold", [(*f[:3], f[1]) for f in folds])


def s1(release: Release) -> None:
    train, test = "Data/TrainingDataSet", "Data/TestingDataSet"
    for number in range(1, 7):
        seen = release.still(f"{train}/BreastTumourImages/{number}.jpg")
        release.mask(f"{train}/Expanded-3-channel-Labels/{number}.png", seen, mode="RGB")
        release.mask(f"{train}/General-1-channel-Labels/{number}.png", seen)
    for number in range(1, 4):  # numbers restart, and each image is stored twice
        seen = release.still(f"{test}/Test-General-1-BreastTumourImages/{number}.jpg")
        release.image(f"{test}/Test-Expanded-BreastTumourImages/{number}.jpg", seen)
        for labels in ("Test-Expanded-3-channel-Labels", "Test-General-1-channel-Labels"):  # names chosen
            release.mask(f"{test}/{labels}/{number}.png", seen)
        release.image(f"Segmentation_Results/{number}.jpg", seen)
    release.corrupt(f"{train}/BreastTumourImages/4.jpg")


def stu_hospital(release: Release) -> None:
    for number, side in enumerate((128, 420, 512, 500, 400, 480), start=1):
        image, mask = f"Hospital/Test_Image_{number}.png", f"Hospital/mask_{number}.png"
        release.still(image, picture(f"stu_hospital/{number}", 128, 128), mask=mask)
        grey = outline(mask, side, side).astype(float) * generator(mask).uniform(0.6, 1)
        release.image(mask, grey.astype("uint8"))  # grey: the mean of several experts
    release.text("README.md", ["# STU-Hospital"])
