"""config/openus46.yaml: 46 entries, true to the facts they were written from, and the page made of them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from usfmae.corpus.registry import PAGE, REGISTRY, bibtex, read_registry, registry_page
from usfmae.corpus.releases.layout import missing, sources
from usfmae.corpus.releases.patterns import matches
from usfmae.settings.datasets import Dataset

DATASETS = read_registry()
WRITTEN = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))["datasets"]
every_dataset = pytest.mark.parametrize("key", DATASETS)


@pytest.fixture(scope="session")
def facts() -> dict[str, dict[str, Any]]:
    """The fact file's datasets, which lies beside the folder of real data."""
    file = Path(os.environ.get("USFMAE_REAL_DATA", "nowhere")).parent / "facts/openus46.yaml"
    if not file.is_file():
        pytest.skip("USFMAE_REAL_DATA is not set, or no facts lie beside it")
    return {fact["key"]: fact for fact in yaml.safe_load(file.read_text(encoding="utf-8"))["datasets"]}


def test_there_are_forty_six_entries_each_number_once() -> None:
    assert [dataset.number for dataset in DATASETS.values()] == list(range(1, 47))
    assert {key for key, dataset in DATASETS.items() if dataset.evaluation} == {
        "bus_bra",
        "mmotu_2d",
        "gist514",
    }


def test_the_page_is_the_registry() -> None:
    assert PAGE.read_text(encoding="utf-8") == registry_page(DATASETS), "python -m usfmae.corpus.registry"


def test_the_page_shows_what_is_unknown_and_both_sides_of_an_overlap() -> None:
    page = registry_page(DATASETS)
    rows = {line.split("(#")[1].split(")")[0]: line for line in page.splitlines() if "](#" in line}
    assert len(rows) == 46
    assert "| unknown | unknown | unknown | no | no | yes | none known |" in rows["us105"]
    assert "dfhi, fast_u_net, ultrasound_fetus" in rows["hc18"]
    assert "only unchanged" in rows["covid_blues"]
    assert "| by hand | form, approved by hand |" in rows["kidney_us"]


def test_bibtex_has_an_entry_a_dataset_under_its_key() -> None:
    text = bibtex({key: DATASETS[key] for key in ("bus_bra", "us105")})
    assert re.findall(r"@misc\{(\w+),", text) == ["bus_bra", "us105"]
    assert "doi = {10.1002/mp.16812}" in text
    assert "doi" not in text.split("@misc{us105")[1]
    assert text.count("{") == text.count("}")


@every_dataset
def test_every_fact_with_a_place_in_the_registry_is_in_it_unchanged(key: str, facts: dict) -> None:
    fact, entry, text = facts[key], DATASETS[key], str(WRITTEN[key])
    assert (entry.number, entry.page) == (fact["index"], fact["landing_url"])
    assert entry.evaluation is fact["evaluation_holdout"]
    assert entry.in_usf_mae is fact["in_usf_mae_pretraining"]
    for doi in (fact["citation"]["paper_doi"], fact["citation"]["data_doi"]):
        assert doi is None or doi in text, doi
    licence = fact["licence"]["spdx"]
    assert entry.licence.name == licence if licence else not entry.licence.name.startswith("CC-")
    for file in fact["files"]:
        for value in (file["md5"], file["sha256"], file["size_bytes"]):
            assert value is None or str(value) in text, value
        assert file["url"] is None or _reaches(entry, file["url"], text), file["url"]
    for mirror in fact["mirrors"]:
        address = re.match(r"https://\S+", mirror)
        assert address is None or address[0].removeprefix("https://doi.org/") in text, mirror


def _reaches(entry: Dataset, url: str, text: str) -> bool:
    """Whether the address stands in the entry, or follows from its host's own numbers."""
    if url in text:
        return True
    access: Any = entry.access
    if access.host == "zenodo":
        names = [file.name for file in access.files]
        return f"/{access.record}/files/" in url and any(name.replace(" ", "%20") in url for name in names)
    if access.host == "github":
        return access.repository in url
    return access.host == "google_drive" and (access.folder or "") in url


@every_dataset
def test_what_is_unknown_stays_unknown(key: str, facts: dict) -> None:
    fact, entry = facts[key], DATASETS[key]
    counts = fact["counts"]
    published = {
        "image_2d": counts["images"],
        "video": counts["videos"],
        "volume": counts["volumes"],
        "hdf5": None,  # all clips in one file
        "mixed": counts["images"] + (counts["videos"] if key == "pocus" else 0)  # other videos are left out
        if fact["media"]["kind"] == "mixed"
        else None,
    }[fact["media"]["kind"]]
    assert entry.counts.files == published
    patients_of_one_part = key == "thyroid_dataset"
    assert entry.counts.subjects == (None if patients_of_one_part else counts["subjects"])
    assert entry.counts.frames == counts["frames"]
    told = fact["redistribution"]
    expected = {True: True, False: False, None: None}.get(told, str(told).split(" ")[0])
    assert (
        entry.licence.redistribution
        in {
            True: [True],
            False: [False],
            None: [None],
            "true": [True],
            "false": [False],
            "conditional:": [True],
            "conditional": [None],
        }[expected]
    )
    if fact["licence"]["spdx"] is None and fact["licence"]["text"] in (
        "unknown",
        "not stated",
        "none stated",
    ):
        assert (entry.licence.name, entry.licence.use) == ("unknown", "unknown")


@every_dataset
def test_the_labels_counted_are_those_published(key: str, facts: dict) -> None:
    published = facts[key]["labels"]["counts"] or {}
    published = published.get("total") or published.get("images") or published
    if isinstance(published, list):  # in the order of the classes
        published = dict(zip(facts[key]["labels"]["classes"], published, strict=True))
    for label, count in DATASETS[key].counts.labels.items():
        assert published[label] == count, label
    if DATASETS[key].counts.labels and DATASETS[key].counts.files:
        assert sum(DATASETS[key].counts.labels.values()) == DATASETS[key].counts.files


#: Paths of the releases as the fact file lays them out, section 5 of its reading guide above all.
FRAMES = {
    "abdomen_us": ["abdominal_US/abdominal_US/RUS/images/train/1.png"],
    "bp_nerve": ["train/1_2.tif", "test/7.tif"],
    "brachial_plexus": ["data/Sonosite/videos/3.mp4", "data/us_videos/3.mp4"],
    "breast_tcia": ["BrEaST-Lesions_USG-images_and_masks/case001.png"],
    "camus": ["database_nifti/patient0001/patient0001_2CH_half_sequence.nii.gz"],
    "fast_u_net": ["Dataset/HC/HC_image1/001_HC.png"],
    "hc18": ["training_set/001_HC.png", "training_set/010_2HC.png", "test_set/001_HC.png"],
    "jnu_ifm": ["us_data/v1/image/v1_3.png"],
    "mmotu_2d": ["OTU_2d/images/1.JPG", "dataset/OTU_2D/test/image/1.JPG"],
    "mmotu_3d": ["OTU_3d/images/1.JPG", "dataset/OTU_CEUS/image/1.JPG"],
    "reg_pro": ["train/us_images/case000001.nii.gz"],
    "segthy": ["US_volunteer_dataset/ground_truth_data/US/001_P1_1_left_US.nii"],
    "stu_hospital": ["Hospital/Test_Image_1.png"],
    "thyroid_dataset": ["Thyroid Dataset/tn3k/test-image/0001.jpg", "tg3k/thyroid-image/0001.jpg"],
}
NOT_FRAMES = {
    "us105": ["105US/105 US Masks/001 G man.png"],
    "abdomen_us": ["abdominal_US/RUS/annotations/train/1.png", "abdominal_US/AUS/images/train/1.png"],
    "acouslic": ["acouslic-ai-train-set/masks/stacked_fetal_abdomen/a.mha"],
    "aul": ["Benign/segmentation/liver/1.json", "Images Dataset Mask/Benign/image/1_mask.png"],
    "bp_nerve": ["train/1_2_mask.tif"],
    "brachial_plexus": ["data/Sonosite/ac_masks/1/1_001.jpg", "data/eSaote/videos/1_needle.mp4"],
    "breast_tcia": ["x/case001_tumor.png", "x/case001_other1.png"],
    "bus_bra": ["BUSBRA/Masks/mask_0001-l.png"],
    "bus_dataset_b": ["BUS/GT/000001.png"],
    "bus_uc": ["Benign/masks/0001.png", "All/images/0001.png"],
    "bus_uclm": ["BUS-UCLM/masks/ALWI_000.png"],
    "camus": ["a/patient0001_2CH_half_sequence_gt.nii.gz", "a/patient0001_2CH_ED.nii.gz"],
    "cardiac_udc": ["Site_G_20/patient-1-4_label.nii.gz"],
    "ccaui": ["Common Carotid Artery Ultrasound Images/Expert mask images/1.png"],
    "dfhi": ["Trans-thalamic/gtFine/1.png", "Diverse Fetal Head Images/orginal-size/1.png"],
    "echocp": ["EchoCP_dataset/001_r_label.nii.gz"],
    "fallmud": ["FALLMUD/NeilCronin/fascicle_masks/1.jpg"],
    "fass": ["ARRAY_FORMAT/P01_IMG1.npy"],
    "fast_u_net": ["Dataset/HC/HC_mask/001_HC.png", "test_data/image/1576.jpg"],
    "fh_ps_aop": ["Pubic/label_mha/00001.mha"],
    "gist514": ["usd514-db/usd514_jpeg_raw/images/1.jpg"],
    "hc18": ["training_set/001_HC_Annotation.png"],
    "jnu_ifm": ["us_data/v1/mask/v1_3_mask.png", "us_data/v1/mask_enhance/v1_3.png"],
    "kidney_us": ["labels/reviewed_masks_1/capsule/1.png", "kidneyUSlogo.png"],
    "luss_phantom": ["data-3/train/masks/1.png", "VideoClips/1.webm"],
    "micro_seg": ["train/expert_annotations/expert_annotation_train_01.nii.gz"],
    "mmotu_2d": ["OTU_2d/annotations/1_binary.PNG", "dataset/OTU_2D/train/train_label/label/1.PNG"],
    "mmotu_3d": ["OTU_3d/annotations/1.PNG", "dataset/OTU_CEUS/label/1.PNG"],
    "porcine_spinal_cord": ["SegmentationDataset/train_masks/scaled-A1_frame1.png"],
    "psfhs": ["PSFHS/label_mha/03744.mha"],
    "reg_pro": ["train/us_labels/case000001.nii.gz", "train/mr_images/case000001.nii.gz"],
    "s1": ["Data/TrainingDataSet/General-1-channel-Labels/1.png", "Segmentation_Results/1.jpg"],
    "segthy": ["ground_truth_data/US_thyroid_label/001_P1_1_left.nii", "MRI_data/1.nii"],
    "stmus_nda": ["P/BB/Masks/1.png", "P/Segmentation_models/data/MuscleCNN/train/1.png"],
    "stu_hospital": ["Hospital/mask_1.png"],
    "thyroid_dataset": ["tn3k/test-mask/0001.jpg", "tg3k/thyroid-mask/0001.jpg"],
    "ultrasound_fetus": ["Data/train/malignant/1_HC_Annotation.png", "Data/Datasets/train/normal/1.png"],
}


def holds_frames(dataset: Dataset, path: str) -> bool:
    return any(matches(path, p) for p in dataset.include) and not any(
        matches(path, p) for p in dataset.exclude
    )


@pytest.mark.parametrize(("key", "path"), [(key, path) for key in FRAMES for path in FRAMES[key]])
def test_images_are_taken(key: str, path: str) -> None:
    assert holds_frames(DATASETS[key], path)


@pytest.mark.parametrize(("key", "path"), [(key, path) for key in NOT_FRAMES for path in NOT_FRAMES[key]])
def test_pictures_that_are_not_images_are_left_out(key: str, path: str) -> None:
    assert not holds_frames(DATASETS[key], path)


REAL = {"bus_bra": (1873, 1063), "pocus": (64, 51), "hc18": (42, 30), "stu_hospital": (42, 42)}


@pytest.mark.parametrize("key", REAL)
def test_real_releases_are_read_by_their_entries(key: str, real_data: Path) -> None:
    there = [source for source in sources(key, DATASETS[key], real_data / key) if source.exists]
    assert missing(DATASETS[key], real_data / key) == []
    assert (len(there), len({source.subject or source.path for source in there})) == REAL[key]
    assert not any("mask" in source.path.lower() for source in there)
    if DATASETS[key].counts.labels:
        assert {source.label for source in there} <= set(DATASETS[key].counts.labels)
