"""`usfmae predict`: what the command says of files, and that it is what the fine-tuned model said."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import SimpleITK
from exported_study import ExportedStudy, make_study, picture
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, UltrasoundImageStorage, generate_uid

from usfmae.cli import main
from usfmae.corpus.curated import DIGESTS, digest
from usfmae.corpus.readers import ReadOptions
from usfmae.deployment.distance import FeatureDistance
from usfmae.deployment.from_run import predictor_of_run
from usfmae.deployment.predictor import ModelError, Predictor, forward
from usfmae.evaluation.calibration import calibrated, fit_temperature
from usfmae.evaluation.metrics import youden_threshold
from usfmae.record import sha256, write_json, write_table
from usfmae.settings.datasets import Volume
from usfmae.training.batches import FrameStore

PROBABILITIES = ["probability_lower", "probability_upper"]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ExportedStudy:
    made = make_study(tmp_path_factory.mktemp("predict"))
    predictor_of_run(made.run, made.settings).save(made.exported)
    return made


@pytest.fixture(scope="module")
def predictor(study: ExportedStudy) -> Predictor:
    return Predictor.load(study.exported)


def command(study: ExportedStudy, tmp_path: Path, *images: Path, model: Path | None = None) -> pd.DataFrame:
    """The rows of a prediction that could judge everything."""
    out = tmp_path / "out.csv"
    words = ["predict", "--model", str(model or study.exported), "--out", str(out), *map(str, images)]
    assert main(words) == 0
    return pd.read_csv(out)


def judged(predictor: Predictor, *files: Path) -> pd.DataFrame:
    return pd.concat(predictor.predict(files), ignore_index=True)


@pytest.mark.parametrize("role", ["validation", "test"])
def test_the_files_of_the_release_get_the_probabilities_of_the_run(
    study: ExportedStudy, tmp_path: Path, role: str
) -> None:
    told = command(study, tmp_path, study.release).set_index("path")
    run = study.predictions(role)
    assert len(run) > 10
    assert run[PROBABILITIES].std().min() > 0.05, "they would agree whatever the image"
    difference = told.loc[run["path"], PROBABILITIES].to_numpy() - run[PROBABILITIES].to_numpy()
    assert np.abs(difference).max() < 1e-5


def test_a_run_says_what_its_export_says(study: ExportedStudy, tmp_path: Path) -> None:
    images = [study.release / "s0.png", study.release / "s1.png"]
    out = tmp_path / "run.csv"
    words = ["--model", str(study.run), "--configfile", str(study.config), "--out", str(out)]
    assert main(["predict", *words, *map(str, images)]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(out), command(study, tmp_path, *images))


def test_a_run_of_another_study_is_refused_with_what_to_do(
    study: ExportedStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "--model", str(study.run), str(study.release)]) == 2
    said = capsys.readouterr()
    assert "--configfile" in said.err
    assert said.out == ""


def test_a_folder_that_is_no_model_is_refused(study: ExportedStudy, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="neither an export nor"):
        predictor_of_run(study.release, study.settings)
    alone = tmp_path / study.run.relative_to(study.root)
    shutil.copytree(study.run, alone)
    with pytest.raises(ModelError, match="beside its corpus"):
        predictor_of_run(alone, study.settings)
    (tmp_path / "decision.json").write_text("{}")
    with pytest.raises(ModelError, match=r"model\.json"):
        Predictor.load(tmp_path)


def test_what_cannot_be_judged_is_a_row_with_a_reason_and_the_rest_goes_on(
    study: ExportedStudy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, cut, black, gone = (tmp_path / f"{name}.png" for name in ("a", "b", "c", "d"))
    good.write_bytes((study.release / "s1.png").read_bytes())
    cut.write_bytes(good.read_bytes()[:200])
    Image.new("L", (50, 50)).save(black)
    assert main(["predict", "--model", str(study.exported), *map(str, (cut, good, black, gone, good))]) == 1
    said = capsys.readouterr()
    table = pd.read_csv(io.StringIO(said.out))
    assert table["path"].tolist() == [str(path) for path in (cut, good, black, gone, good)]
    assert table["problem"].fillna("").str.split(":").str[0].tolist() == [
        "unreadable", "", "blank", "file missing", ""
    ]  # fmt: skip
    numbers = table[[*PROBABILITIES, "predicted", "confidence", "distance", "out_of_distribution"]]
    assert numbers.notna().all(axis=1).tolist() == [False, True, False, False, True]
    assert "3 could not be judged" in said.err


def test_the_terminal_gets_the_table_alone_and_the_warning_beside_it(
    study: ExportedStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "--model", str(study.exported), str(study.release / "s0.png")]) == 0
    said = capsys.readouterr()
    assert "not for clinical use" in said.err
    assert said.out.splitlines()[0] == (
        "path,frame,probability_lower,probability_upper,predicted,confidence,distance,out_of_distribution,problem"
    )
    assert len(said.out.splitlines()) == 2


def test_a_folder_is_searched_to_its_depth_and_its_tables_are_left(
    study: ExportedStudy, tmp_path: Path
) -> None:
    inside = tmp_path / "images/deep"
    inside.mkdir(parents=True)
    (inside / "x.png").write_bytes((study.release / "s0.png").read_bytes())
    (inside / "labels.csv").write_text("file,label\n")
    assert command(study, tmp_path, tmp_path / "images")["path"].tolist() == [str(inside / "x.png")]


def test_a_folder_without_a_file_is_a_mistake(study: ExportedStudy, tmp_path: Path) -> None:
    assert main(["predict", "--model", str(study.exported), str(tmp_path)]) == 2


def write_dicom(path: Path, pixels: np.ndarray) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UltrasoundImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = Dataset()
    file.file_meta = meta
    file.SOPClassUID, file.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    file.Rows, file.Columns = pixels.shape
    file.BitsAllocated = file.BitsStored = 8
    file.HighBit, file.PixelRepresentation, file.SamplesPerPixel = 7, 0, 1
    file.PhotometricInterpretation, file.PixelData = "MONOCHROME2", pixels.tobytes()
    file.save_as(path, enforce_file_format=True)


def test_a_dicom_file_is_judged_as_the_same_pixels_in_a_png(
    study: ExportedStudy, predictor: Predictor, tmp_path: Path
) -> None:
    image = study.release / "s1.png"
    write_dicom(tmp_path / "IM0001", cv2.imread(str(image), cv2.IMREAD_GRAYSCALE))
    png, dicom = (judged(predictor, path)[PROBABILITIES] for path in (image, tmp_path / "IM0001"))
    pd.testing.assert_frame_equal(png, dicom)


def test_a_volume_is_read_as_those_of_the_training_data_were(
    study: ExportedStudy, predictor: Predictor, tmp_path: Path
) -> None:
    image = cv2.imread(str(study.release / "s1.png"), cv2.IMREAD_GRAYSCALE)
    file = tmp_path / "volume.mha"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.stack([image[::-1]] * 2)), str(file))
    flipped = replace(predictor, reading=ReadOptions(volume=Volume(flip=[0])))
    flipped.save(tmp_path / "saved")
    png, volume = (
        judged(predictor, study.release / "s1.png"),
        judged(Predictor.load(tmp_path / "saved"), file),
    )
    for probability in volume[PROBABILITIES].to_numpy():
        assert probability == pytest.approx(png[PROBABILITIES].to_numpy()[0])


def test_a_video_is_a_row_a_frame_also_over_several_batches(predictor: Predictor, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    writer = cv2.VideoWriter(str(tmp_path / "v.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10, (90, 72))
    for number in range(40):
        writer.write(cv2.cvtColor(picture(rng, number % 2 == 1), cv2.COLOR_GRAY2BGR))
    writer.release()
    table = judged(predictor, tmp_path / "v.avi")
    assert table["frame"].tolist() == list(range(40))
    even, odd = table["probability_upper"][::2].mean(), table["probability_upper"][1::2].mean()
    assert odd > even + 0.1


def test_threshold_and_temperature_are_those_of_the_validation_frames(
    study: ExportedStudy, tmp_path: Path
) -> None:
    shutil.copytree(study.root / "results", tmp_path / "results")
    run = tmp_path / study.run.relative_to(study.root)
    table = pd.read_parquet(run / "predictions.parquet")
    wrong = table.index[table["role"] == "validation"][:3]  # else the best temperature is the smallest
    table.loc[wrong, "label"] = table.loc[wrong, "label"].map({"upper": "lower", "lower": "upper"})
    table.to_parquet(run / "predictions.parquet")
    record = json.loads((run / "run.json").read_text())
    name = next(name for name in record["outputs"] if name.endswith("predictions.parquet"))
    record["outputs"][name] = sha256(run / "predictions.parquet")
    write_json(run / "run.json", record)
    predictor, rows = predictor_of_run(run, study.settings), table[table["role"] == "validation"]

    def temperature(of: pd.DataFrame) -> float:
        return fit_temperature(of[PROBABILITIES], (of["label"] == "upper").astype(int))

    assert predictor.threshold == youden_threshold(rows["label"] == "upper", rows["probability_upper"])
    assert predictor.temperature == pytest.approx(temperature(rows))
    assert predictor.temperature != pytest.approx(temperature(table), rel=0.05)


def test_the_class_follows_the_threshold_and_the_confidence_the_temperature(
    study: ExportedStudy, predictor: Predictor
) -> None:
    file = study.release / "s1.png"
    probability = judged(predictor, file)["probability_upper"][0]
    for threshold, column, name in ((probability + 1e-6, 0, "lower"), (probability - 1e-6, 1, "upper")):
        changed = replace(predictor, threshold=threshold, temperature=3.0)
        table = judged(changed, file)
        assert table["predicted"][0] == name
        wanted = calibrated(table[PROBABILITIES].to_numpy(), 3.0)[0, column]
        assert table["confidence"][0] == pytest.approx(wanted)
        assert abs(wanted - table[PROBABILITIES[column]][0]) > 1e-3


def test_the_feature_statistics_are_those_of_the_training_frames(
    study: ExportedStudy, predictor: Predictor
) -> None:
    store = FrameStore([study.root / "results/corpus/squares/squares"])
    folds = pd.read_parquet(study.root / "results/finetune/squares/folds.parquet").query("fold == 0")
    train = folds[folds["role"] == "train"].reset_index(drop=True)
    _, features = forward(predictor.network, store.gather(store.rows(train["frame_id"])))
    for code, name in enumerate(predictor.classes):
        mean = features[train["label"] == name].mean(axis=0)
        assert np.allclose(predictor.distance.means[code], mean, atol=1e-5)
    validation = study.predictions("validation")
    share = judged(predictor, *map(Path, validation["path"]))["out_of_distribution"].mean()
    assert share == pytest.approx(1 / len(validation))  # of so few frames the last is above their 99 %


def test_what_is_unlike_any_training_image_is_flagged(predictor: Predictor, tmp_path: Path) -> None:
    odd = tmp_path / "odd.png"
    cv2.imwrite(str(odd), (np.indices((64, 64)).sum(axis=0) // 8 % 2 * 255).astype(np.uint8))
    assert judged(predictor, odd)["out_of_distribution"].tolist() == [True]


def test_a_distance_is_counted_in_standard_deviations_from_the_nearest_class() -> None:
    rng = np.random.default_rng(0)
    codes = np.arange(4000) % 2
    spread = np.array([1.0, 2.0, 0.5])
    features = rng.normal(size=(4000, 3)) * spread + codes[:, None] * 100
    distance = FeatureDistance.fit(features, codes, features)
    asked = np.array([[3.0, 0, 0], [0, 6, 0], [100, 100, 101.5], [50, 50, 50]])
    assert distance(asked)[:3] == pytest.approx([3, 3, 3], rel=0.1)
    assert distance(asked)[3] > distance.threshold > 3
    assert (distance(features) > distance.threshold).mean() == pytest.approx(0.01, abs=0.001)


def test_a_distance_stands_with_more_features_than_frames_and_with_silent_ones() -> None:
    rng = np.random.default_rng(0)
    features = np.pad(rng.normal(size=(30, 50)), ((0, 0), (0, 5)))  # five that never fire
    distance = FeatureDistance.fit(features, np.arange(30) % 2, rng.normal(size=(20, 55)))
    assert np.isfinite(distance(features)).all()
    assert np.isfinite(distance.threshold)


def test_frames_that_are_no_longer_those_of_the_run_are_refused(study: ExportedStudy, tmp_path: Path) -> None:
    smaller = study.settings.corpora["squares"].model_copy(update={"size": 16})
    other = study.settings.model_copy(update={"corpora": {"squares": smaller}})
    with pytest.raises(ModelError, match="frames of 32 px"):
        predictor_of_run(study.run, other)
    path = study.root / "results/corpus/squares/squares/frames.npy"
    table = path.with_name("frames.parquet")
    kept = {file: file.read_bytes() for file in (path, table)}
    np.save(path, np.load(path)[:, ::-1].copy())
    try:
        with pytest.raises(ValueError, match="not what was curated"):
            predictor_of_run(study.run, study.settings)
        curated_anew = pd.read_parquet(table)
        curated_anew.attrs[DIGESTS]["frames.npy"] = digest(path)
        write_table(table, curated_anew)
        with pytest.raises(ModelError, match="other probabilities than the run"):
            predictor_of_run(study.run, study.settings)
    finally:
        for file, content in kept.items():
            file.write_bytes(content)
