"""Where each miniature is offered, under the addresses of the fact file, packed as its publisher packs it.

A folder in place of an archive is a host's folder of loose files. What a person must fetch by hand is
under no address; `archives_by_hand` packs it under the name the facts give, or one chosen (marked).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from miniatures.archives import members, pack, seven_zip, split_zip

ZENODO_ZIPS = {  # key → record, archive
    "acouslic": (12697994, "acouslic-ai-train-set.zip"),
    "fetal_planes_db": (3904280, "FETAL_PLANES_ZENODO.zip"),
    "fh_ps_aop": (7851339, "Pubic Symphysis-Fetal Head Segmentation and Angle of Progression.zip"),
    "micro_seg": (10475293, "Micro_Ultrasound_Prostate_Segmentation_Dataset.zip"),
    "psfhs": (10969427, "PSFHS.zip"),
}
ZENODO_FOLDERS = {"aul": 7272660, "dfhi": 8265464, "reg_pro": 8004388}
"""Key → record that holds one zip for each of its top folders."""
SINGLE = {  # key → address, name of the archive; the name chosen where the facts have none (*)
    "bus_bra": ("https://zenodo.org/api/records/8231412/files/BUSBRA.zip/content", "BUSBRA.zip"),
    "feft": ("https://ndownloader.figshare.com/files/37624184", "FEFT.zip"),  # *
    "jnu_ifm": ("https://ndownloader.figshare.com/files/34761769", "JNU-IFM.zip"),  # *
    "mmotu_2d": ("https://ndownloader.figshare.com/files/44222642", "dataset.zip"),
    "mmotu_3d": ("https://ndownloader.figshare.com/files/44222642", "dataset.zip"),
    "fass": (
        "https://data.mendeley.com/public-files/datasets/4gcpm9dsc3/files/"
        "89e74076-ff57-4e81-9634-4fc29c6128ff/file_downloaded",
        "fass.zip",
    ),
    "stmus_nda": (
        "https://data.mendeley.com/public-files/datasets/3jykz7wz8d/files/"
        "b1601a22-98a5-41ce-9fbb-54dd21834b55/file_downloaded",
        "DATASET_10.1016j.compbiomed.2021.104623.zip",
    ),
    "segthy": ("https://www.campar.in.tum.de/public_datasets/2022_plosone_eilers/US_data.zip", "US_data.zip"),
    "thyroid_dataset": (
        "https://drive.google.com/file/d/1reHyY5eTZ5uePXMVMzFOq5j3eFOSp50F/view",
        "Thyroid Dataset.zip",  # *
    ),
    "abdomen_us": ("https://www.kaggle.com/datasets/ignaciorlando/ussimandsegm", "ussimandsegm.zip"),
    "bp_nerve": (
        "https://www.kaggle.com/competitions/ultrasound-nerve-segmentation",
        "ultrasound-nerve-segmentation.zip",
    ),
    "echocp": ("https://www.kaggle.com/datasets/xiaoweixumedicalai/echocp", "echocp.zip"),
    "ultrasound_fetus": (
        "https://www.kaggle.com/datasets/orvile/ultrasound-fetus-dataset",
        "ultrasound-fetus-dataset.zip",
    ),
}
GITHUB = {  # key → repository, folder at the top of its archive
    "covid_blues": ("NinaWie/COVID-BLUES", "COVID-BLUES-1857a6fba9b8d00614f133fe8ffb7bc1f1a14f78"),
    "brachial_plexus": ("Regional-US/brachial_plexus", "brachial_plexus-master"),
    "fast_u_net": ("vahidashkani/Fast-U-Net", "Fast-U-Net-5123c8e12fb9d847cc04eae2c69d6e9508731205"),
    "pocus": ("jannisborn/covid19_ultrasound", "covid19_ultrasound-master"),
    "stu_hospital": ("xbhlk/STU-Hospital", "STU-Hospital-ba4a898"),
}
MENDELEY = {  # key → dataset, version: loose files, and all of them in one zip
    "bus_uc": ("3ksd7w7jkx", 1),
    "bus_uclm": ("7fvgj4jsp7", 3),
    "ccaui": ("d4xt63mgjm", 1),
}
BY_HAND = {  # key → archive; all names but two chosen
    "us105": "105US.zip",
    "bus_dataset_b": "BUS.zip",
    "cactus": "Cactus Dataset.tar.gz",
    "echonet_dynamic": "EchoNet-Dynamic.zip",
    "echonet_pediatric": "echonetpediatric.zip",
    "fallmud": "FALLMUD.7z" if seven_zip() else "FALLMUD.zip",
    "kidney_us": "kidneyUS_images_14_june_2022.zip",  # the facts'
    "luss_phantom": "LUS_model.zip",  # the facts'
    "s1": "Data.zip",
    "thyroid_cineclip": "",  # two loose files
    "ubpd": "UBPD.rar",
}


def hosted(key: str, release: Path, folder: Path) -> dict[str, Path]:
    """Packs the miniature in `release` into `folder`: address of the fact file → what is offered there.

    A GitHub repository, a Kaggle page or a Drive folder stands for its download; the fact file documents
    the page and not the address of the bytes. Empty where a person has to fetch the files.
    """
    if key in BY_HAND:
        return {}
    if key in ZENODO_ZIPS:
        record, name = ZENODO_ZIPS[key]
        address = f"https://zenodo.org/records/{record}/files/{name.replace(' ', '%20')}"
        return {address: pack(folder / name, members(release))}
    if key in ZENODO_FOLDERS:
        address = f"https://zenodo.org/api/records/{ZENODO_FOLDERS[key]}/files-archive"
        return {
            address: pack(folder / "files-archive.zip", members(_by_folder(key, release, folder / "files")))
        }
    if key in SINGLE:
        address, name = SINGLE[key]
        return {address: pack(folder / name, members(release))}
    if key in GITHUB:
        repository, top = GITHUB[key]
        source = _with_rars(release, folder / "repository") if key == "fast_u_net" else release
        files = {f"{top}/{name}": path for name, path in members(source).items()}
        return {f"https://github.com/{repository}.git": pack(folder / f"{top}.zip", files)}
    if key in MENDELEY:
        dataset, version = MENDELEY[key]
        name = f"{dataset}-{version}.zip"
        zipped = pack(folder / name, members(release))
        return {
            f"https://data.mendeley.com/datasets/{dataset}/{version}": release,
            f"https://data.mendeley.com/public-api/zip/{dataset}/download/{version}": zipped,
            f"https://prod-dcd-datasets-cache-zipfiles.s3.eu-west-1.amazonaws.com/{name}": zipped,
        }
    return OTHERS[key](release, folder)


def archives_by_hand(key: str, release: Path, folder: Path) -> list[Path]:
    """What a person puts into `resources/<key>/archives/`: files in `folder`."""
    name = BY_HAND[key]
    files = members(release)
    if not name:
        return list(files.values())
    if key == "kidney_us":  # the masks are in the repository, and not in what is sent
        files = members(release, "kidneyUS_images_14_june_2022")
    return [pack(folder / name, files)]


def _by_folder(key: str, release: Path, folder: Path) -> Path:
    """A zip for each top folder. AUL's bring the Mac's own files along; DFHI's hold another zip."""
    for top in sorted(path.name for path in release.iterdir() if path.is_dir() and path.name != "__MACOSX"):
        files = members(release, top)
        if key == "aul":
            files |= members(release, f"__MACOSX/{top}")
        inner = [name for name in files if "CitySpaces/" in name]
        if inner:
            nested = {name.partition("CitySpaces/")[2]: files.pop(name) for name in inner}
            files[f"{top}/{top}-CitySpaces.zip"] = pack(folder.parent / f"{top}-CitySpaces.zip", nested)
        pack(folder / f"{top}.zip", files)
    return folder


def _with_rars(release: Path, folder: Path) -> Path:
    """Fast-U-Net's repository, where the images of a half are in several RAR archives."""
    shutil.copytree(release / "test_data", folder / "test_data", dirs_exist_ok=True)
    for half in sorted((release / "Dataset").iterdir()):
        for path in sorted(half.iterdir()):
            if path.is_dir():
                pack(folder / "Dataset" / half.name / f"{path.name}.rar", members(half, path.name))
            else:
                (folder / "Dataset" / half.name).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / "Dataset" / half.name)
    return folder


def _breast_tcia(release: Path, folder: Path) -> dict[str, Path]:
    site = "https://www.cancerimagingarchive.net/wp-content/uploads"
    images = folder / "BrEaST-Lesions_USG-images_and_masks-Dec-15-2023.zip"
    table = "BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx"
    pack(images, members(release, "BrEaST-Lesions_USG-images_and_masks"))
    return {f"{site}/{images.name}": images, f"{site}/{table}": release / table}


def _camus(release: Path, folder: Path) -> dict[str, Path]:
    site = "https://humanheart-project.creatis.insa-lyon.fr/database/api/v1"
    files = members(release)
    inside = {f"CAMUS_public/{name}": path for name, path in files.items()}  # top folder chosen
    return {
        f"{site}/collection/6373703d73e9f0047faa1bc8/download": pack(folder / "camus.zip", inside),
        f"{site}/folder/63fde55f73e9f004868fb7ac/download": pack(folder / "database_nifti.zip", files),
    }


def _cardiac_udc(release: Path, folder: Path) -> dict[str, Path]:
    """Kaggle's one zip around a zip of seven parts, the last of which has a made-up ending."""
    *_, last = split_zip(pack(folder / "parts/cardiacUDC_dataset.zip", members(release)), 7)
    last.rename(last.with_suffix(".change2zip"))
    whole = pack(folder / "cardiacudc-dataset.zip", members(folder / "parts"))
    return {"https://www.kaggle.com/datasets/xiaoweixumedicalai/cardiacudc-dataset": whole}


def _gist514(release: Path, folder: Path) -> dict[str, Path]:
    return {"https://drive.google.com/drive/folders/1TG9Bq-OaKkMXV2s42f_oZJdoTOfIAZLi": release}


def _hc18(release: Path, folder: Path) -> dict[str, Path]:
    files = [release / "training_set_pixel_size_and_HC.csv", release / "test_set_pixel_size.csv"]
    files += [pack(folder / f"{part}.zip", members(release, part)) for part in ("training_set", "test_set")]
    return {f"https://zenodo.org/records/1327317/files/{file.name}": file for file in files}


def _porcine_spinal_cord(release: Path, folder: Path) -> dict[str, Path]:
    archives = {  # names chosen
        "1r-r0dcXePMyXiXuVEUhtUgARw-Ktp_O1": "Final dataset for object detection",
        "1JUKakYg10ZsHVDORsv9XvDkx86WVKaFO": "SegmentationDataset",
    }
    return {
        f"https://drive.google.com/file/d/{number}/view": pack(folder / f"{top}.zip", members(release, top))
        for number, top in archives.items()
    }


OTHERS: dict[str, Callable[[Path, Path], dict[str, Path]]] = {
    "breast_tcia": _breast_tcia,
    "camus": _camus,
    "cardiac_udc": _cardiac_udc,
    "gist514": _gist514,
    "hc18": _hc18,
    "porcine_spinal_cord": _porcine_spinal_cord,
}
