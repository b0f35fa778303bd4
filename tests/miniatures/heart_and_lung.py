"""Miniatures of heart and lung, most of them clips. Where the facts are silent, the choice is marked
`chosen`."""

from __future__ import annotations

import numpy as np

from miniatures.moving import turned, video, volume, write_array
from miniatures.pictures import clip, outline, picture
from miniatures.release import Release


def cactus(release: Release) -> None:
    root = "Cactus Dataset"
    views = {"A4C": 4, "SC": 3, "PL": 2, "PSAV": 2, "PSMV": 3, "Random": 3}
    for view, count in views.items():
        rows = []
        for number in range(count):
            grade = 0 if view == "Random" else 3 + number
            name = f"{grade}_{view}_{number}.jpg"  # the rest of the name after the grade chosen
            release.still(f"{root}/Images Dataset/{view}/{name}", subject="phantom", label=view)
            rows.append((name, view, grade))
        release.csv(f"{root}/Grades/{view}_grades.csv", "Image Name|Subfolder Name|Grade", rows)
    for part in ("Training", "Real Time Scan"):
        path = f"{root}/Videos/{part}/scan.mp4"
        video(release, path, clip(path, 5))
        del release.planted.frames[path]
        release.csv(f"{root}/Videos/{part}/scan.csv", "frame|view", [])
    release.corrupt(f"{root}/Images Dataset/PL/3_PL_0.jpg")


def camus(release: Release) -> None:
    for patient in range(1, 4):
        folder, name = f"database_nifti/patient{patient:04d}", f"patient{patient:04d}"
        for view in ("2CH", "4CH"):
            frames = clip(f"camus/{name}_{view}", 8)
            labels = np.stack([outline(name, 64, 80) // 255] * len(frames))
            volume(release, f"{folder}/{name}_{view}_half_sequence.nii.gz", frames, subject=name)
            write_array(release, f"{folder}/{name}_{view}_half_sequence_gt.nii.gz", labels)
            for phase, index in (("ED", 0), ("ES", -1)):  # repeat the first and the last frame
                write_array(release, f"{folder}/{name}_{view}_{phase}.nii.gz", frames[index])
                write_array(release, f"{folder}/{name}_{view}_{phase}_gt.nii.gz", labels[index])
            release.text(f"{folder}/Info_{view}.cfg", ["EF: 55", "ImageQuality: Good"])
    release.corrupt("database_nifti/patient0002/patient0002_4CH_half_sequence.nii.gz")


def cardiac_udc(release: Release) -> None:
    root = "cardiacUDC_dataset"
    for site, patients in {"Site_G_20": (1, 2), "Site_R_52": (1, 3), "Site_R_73": (4,)}.items():
        for patient in patients:  # numbers restart at each site
            path = f"{root}/{site}/patient-{patient}-4_image.nii.gz"
            frames = turned(clip(path, 9))
            volume(release, path, frames, subject=f"{site} {patient}")
            if site != "Site_R_73":
                label = path.replace("_image", "_label")
                write_array(release, label, np.stack([outline(path, 64, 80) // 255] * len(frames)))
    for kind, frames in (("normal", clip("cardiac_udc/normal", 7)), ("patient", clip(path, 9))):
        labelled = f"{root}/label_all_frame/{kind}-4-4_image.nii.gz"
        volume(release, labelled, turned(frames), subject=f"label_all_frame {kind}")
        lines = np.stack([outline(kind, 64, 80, filled=False) // 255] * len(frames))
        write_array(release, labelled.replace("_image", "_label"), lines)
    release.same(labelled, path)  # "may repeat patients of the Site folders": that it does is chosen
    release.corrupt(f"{root}/Site_R_52/patient-3-4_image.nii.gz")


def echocp(release: Release) -> None:
    rows = []
    for subject in ("001", "002", "017"):
        for action in ("r", "v"):
            path = f"EchoCP_dataset/{subject}_{action}_image.nii.gz"
            frames = clip(f"echocp/{subject}_{action}", 11)
            volume(release, path, turned(frames), subject=subject)
            write_array(release, path.replace("_image", "_label"), np.zeros_like(frames))
            rows.append((subject, action, 1))
    release.xlsx("echoCP_diagnosis_label.xlsx", "Idx|Action|PFO level", rows)


def echonet_dynamic(release: Release) -> None:
    listed, traced = [], []
    for number, split in enumerate(["TRAIN", "TRAIN", "TRAIN", "VAL", "TEST", "TEST"]):
        name = f"0X{0x1A2B3C4D5E6F7081 + 977 * number:016X}"
        path = f"EchoNet-Dynamic/Videos/{name}.avi"
        video(release, path, clip(name, 12, 112, 112), subject=name, split=split)
        listed.append((name, 55.0, 40.1, 90.2, 112, 112, 50, 12, split))
        traced += [(f"{name}.avi", 10, 20, 30, 40, frame) for frame in (2, 9)]
    header = "FileName|EF|ESV|EDV|FrameHeight|FrameWidth|FPS|NumberOfFrames|Split"
    release.csv("EchoNet-Dynamic/FileList.csv", header, listed)  # but for EF, ESV, EDV, Split chosen
    release.csv("EchoNet-Dynamic/VolumeTracings.csv", "FileName|X1|Y1|X2|Y2|Frame", traced)
    release.corrupt("EchoNet-Dynamic/Videos/0X1A2B3C4D5E6F7081.avi", "html")


def echonet_pediatric(release: Release) -> None:
    root = "echonetpediatric/pediatric_echo_avi/pediatric_echo_avi"
    for view, names in {"A4C": ("CR32a7555", "CR32a7556"), "PSAX": ("CR32a7555", "CR32a9001")}.items():
        listed = []
        for name in names:  # the same file name may occur in both views
            video(release, f"{root}/{view}/Videos/{name}.avi", clip(f"{view}{name}", 8, 112, 112))
            listed.append((f"{name}.avi", 60.0, "F", 4, 3))
        release.csv(f"{root}/{view}/FileList.csv", "FileName|EF|Sex|Age|Split", listed)  # three chosen
        traced = [(f"{names[0]}.avi", 10, 20, 3), (f"{names[1]}.avi", "", "", "No Systolic")]
        release.csv(f"{root}/{view}/VolumeTracings.csv", "FileName|X|Y|Frame", traced)
    release.corrupt(f"{root}/PSAX/Videos/CR32a9001.avi", "empty")


def covid_blues(release: Release) -> None:
    scored = []
    for patient, places in {3: ("L1", "R1"), 17: ("L2", "L2_2", "R3"), 42: ("R2",)}.items():
        for place in places:
            path = f"lus_videos/patient_{patient}_{place}.mp4"
            video(release, path, clip(f"covid_blues/{patient}{place}", 14, 70, 70), subject=str(patient))
            scored.append((f"patient_{patient}_{place}.mp4", patient % 4))
    release.csv("severity.csv", "Video|Severity Score", scored)  # `Video` chosen
    release.csv("clinical_variables.csv", "patient|cov_test", [(3, 1), (17, 0), (42, 1)])  # `patient` chosen
    release.csv("variable_explanations.csv", "variable|meaning", [("cov_test", "PCR")])
    release.image("sample_video.gif", picture("sample"))
    release.path("appendix.pdf").write_bytes(b"%PDF-1.4")


def luss_phantom(release: Release) -> None:
    for part, count in (("train", 3), ("test", 2)):
        for number in range(count):
            stem = f"{part}{number}"
            loop = clip(f"luss_phantom/{stem}", 6)
            video(release, f"VideoClips/{stem}.webm", loop)  # repeats the stills: not used
            del release.planted.frames[f"VideoClips/{stem}.webm"]
            for frame in (0, 4):
                name = f"{stem}-F{frame}.png"
                image, mask = (f"data-3/{part}/{kind}/{name}" for kind in ("images", "masks"))
                release.still(image, loop[frame], subject=stem, mask=mask)
                release.image(mask, outline(name, 64, 80) // 255 * 3)  # values 0 to 5 look black


def pocus(release: Release) -> None:
    labels = {"Cov": "covid", "Pneu": "pneumonia", "Reg": "regular", "Vir": "viral"}
    clips = ["Cov-clip 1.mp4", "Cov-second.AVI", "Pneu-a.mpeg", "Reg-b.gif", "Reg-c.MOV", "Vir-d.avi"]
    stills = ["Cov-e.jpg", "Pneu-f.PNG", "Reg-g.png", "Vir-h.JPG"]
    rows = []
    for number, name in enumerate([*clips, *stills]):
        probe = "linear" if number % 4 == 3 else "convex"
        kind, label = ("videos" if name in clips else "images"), labels[name.partition("-")[0]]
        path = f"data/pocus_{kind}/{probe}/{name}"
        if name in clips:
            video(release, path, clip(f"pocus/{name}", 8 + number), label=label, subject=str(number // 2))
        else:
            release.still(path, label=label, subject=str(number // 2))
        kind = "image" if name in stills else "video"
        rows.append((name.partition(".")[0], label, "Yes", kind, probe, number // 2))
    for uncertain in ("Reg-x.mp4", "Cov-y.mp4"):  # clips from Piacenza; the folder's name chosen
        path = f"data/pocus_videos/linear/label_uncertain/{uncertain}"
        video(release, path, clip(uncertain, 4))
        del release.planted.frames[path]
    rows.append(("Cov-Butterfly-COVID Lung 2", "COVID-19", "No", "video", "convex", 99))  # not hosted
    # The columns are of the repository's own table, of which it has many more.
    header = "Filename|Label|InThisRepo|Type|Probe|Patient ID / Name"
    release.csv("data/dataset_metadata.csv", header, rows)
    release.image("pocovidnet/figure.png", picture("figure"))
    release.corrupt("data/pocus_videos/convex/Vir-d.avi", "html")
