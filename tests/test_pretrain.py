"""Pretraining a corpus: what it writes, which frames it may see, and what it continues after a stop."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from fake_corpus import ENCODER, make_corpus, pretrain_recipe, training
from safetensors.torch import load_file
from sklearn.model_selection import KFold

from usfmae.finished import remove_finished
from usfmae.models.mae import build_encoder
from usfmae.record import sha256
from usfmae.settings.pretraining import Grid, PretrainRecipe
from usfmae.training.batches import FrameStore
from usfmae.training.frames import grid_fold, random_validation
from usfmae.training.pretrain import Job, _Pretraining, pretrain
from usfmae.training.processes import TrainingError

FILES = ["encoder.safetensors", "history.parquet", "mae.safetensors", "reconstructions.npz", "run.json"]


def run(
    corpus: Path, recipe: PretrainRecipe | None = None, out: str = "tiny", noted: bool = True, **changes: Any
) -> Path:
    """Pretrains on the datasets neck and kidney and returns the folder of the products. `noted`: Snakemake
    lived to see it."""
    results = corpus.parents[1]
    options: dict[str, Any] = {"datasets": ["neck", "kidney"], "evaluation_datasets": []} | changes
    pretrain(
        Job(
            name="tiny",
            recipe=recipe or pretrain_recipe(),
            encoder=ENCODER,
            corpus=corpus,
            simulated=True,
            out=results / "pretrain" / out,
            checkpoints=results.parent / "checkpoints",
            **options,
        )
    )
    if noted:
        remove_finished(results.parent / "checkpoints")
    return results / "pretrain" / out


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """48 frames of 24 subjects in each dataset; one subject of each shows the same picture."""
    return make_corpus(tmp_path, ["neck", "kidney"], {"kidney/s3": "neck/s1"})


def frames_seen(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of all frames that are read from now on."""
    seen: set[str] = set()
    gather = FrameStore.gather

    def record(self: FrameStore, rows: np.ndarray) -> torch.Tensor:
        seen.update(self.table["frame_id"].iloc[rows])
        return gather(self, rows)

    monkeypatch.setattr(FrameStore, "gather", record)
    return seen


def test_pretraining_writes_all_that_the_contract_promises(corpus: Path) -> None:
    out = run(corpus)
    assert sorted(path.name for path in out.iterdir()) == FILES
    history = pd.read_parquet(out / "history.parquet")
    figures = "train_loss validation_loss gradient_norm embedding_rank embedding_spread utilisation"
    assert history[figures.split()].notna().all(axis=None)
    assert (history["embedding_rank"] >= 1).all()
    assert len(history) == 3
    encoder, whole = load_file(out / "encoder.safetensors"), load_file(out / "mae.safetensors")
    build_encoder(size=16, channels=1, **ENCODER.model_dump()).load_state_dict(encoder)
    assert all(torch.equal(whole[f"encoder.{key}"], value) for key, value in encoder.items())
    assert "decoder_head.weight" in whole


def test_the_run_record_counts_the_frames_and_names_inputs_and_outputs(corpus: Path) -> None:
    out = run(corpus, evaluation_datasets=["neck"])
    record = json.loads((out / "run.json").read_text())
    groups = pd.read_parquet(corpus / "groups.parquet")
    # 48 frames of the evaluation set and 2 of the kidney subject tied to it.
    assert record["counts"]["left_out"] == 50
    assert sum(record["counts"].values()) - record["counts"]["processes"] == len(groups) == 96
    assert record["counts"]["validation"] == 2 * round(0.2 * 23)
    assert (record["key"], record["stage"], record["simulated"]) == ("pretrain/tiny", "pretrain", True)
    assert record["parameters"]["training.epochs"] == 3
    assert record["parameters"]["encoder.depth"] == 2
    last = pd.read_parquet(out / "history.parquet").iloc[-1]
    assert record["metrics"]["validation_loss"] == pytest.approx(last["validation_loss"])
    assert set(record["inputs"]) == {
        "results/corpus/fake/groups.parquet",
        "results/corpus/fake/neck/frames.npy",
        "results/corpus/fake/kidney/frames.npy",
    }
    for name in ("encoder.safetensors", "mae.safetensors", "history.parquet"):
        assert record["outputs"][f"results/pretrain/tiny/{name}"] == sha256(out / name)


def test_evaluation_frames_and_their_duplicates_are_never_read(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = frames_seen(monkeypatch)
    run(corpus, evaluation_datasets=["neck"])
    assert seen
    assert not [name for name in seen if name.startswith(("neck/", "kidney/s3.png"))]


def test_a_recipe_may_include_evaluation_frames(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = frames_seen(monkeypatch)
    out = run(corpus, pretrain_recipe(evaluation_frames="include"), evaluation_datasets=["neck"])
    assert json.loads((out / "run.json").read_text())["counts"]["left_out"] == 0
    assert [name for name in seen if name.startswith("neck/")]


def fold_table(corpus: Path, **roles: str) -> Path:
    """Folds 0 and 1 of the neck task: `s5="test"` gives the subject neck/s5 this role in fold 0."""
    groups = pd.read_parquet(corpus / "groups.parquet")
    neck = groups[groups["dataset"] == "neck"]
    role = neck["subject"].str.removeprefix("neck/").map(roles).fillna("train")
    folds = pd.concat([neck.assign(fold=0, role=role), neck.assign(fold=1, role="train")])
    folds.to_parquet(corpus / "folds.parquet")
    return corpus / "folds.parquet"


def test_the_fold_that_a_recipe_leaves_out_is_never_read(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds = fold_table(corpus, s1="test", s2="holdout", s4="validation")
    recipe = pretrain_recipe(leave_out={"task": "neck", "fold": 0})
    seen = frames_seen(monkeypatch)
    record = json.loads((run(corpus, recipe, folds=folds) / "run.json").read_text())
    # neck/s1 tests, kidney/s3 shows its picture, neck/s2 is held out; validation and train may be seen.
    assert not [name for name in seen if name.startswith(("neck/s1.png", "kidney/s3.png", "neck/s2.png"))]
    assert [name for name in seen if name.startswith("neck/s4.png")]
    assert record["counts"]["left_out"] == 6
    assert "results/corpus/fake/folds.parquet" in record["inputs"]


def test_a_fold_to_leave_out_that_is_not_there_is_refused(corpus: Path) -> None:
    recipe = pretrain_recipe(leave_out={"task": "neck", "fold": 7})
    with pytest.raises(TrainingError, match="there is no fold 7, which the recipe leaves out"):
        run(corpus, recipe, folds=fold_table(corpus, s1="test"))
    with pytest.raises(TrainingError, match=r"leaves out a fold of neck: give its folds\.parquet"):
        run(corpus, recipe)


def test_pretraining_frames_are_split_by_group(corpus: Path) -> None:
    groups = pd.read_parquet(corpus / "groups.parquet")
    owner = groups.set_index("frame_id")["group"]
    for seed in (0, 1, 2):
        train, validation = random_validation(groups, 0.5, seed)
        assert not set(owner[train]) & set(owner[validation])
        assert set(train) | set(validation) == set(groups["frame_id"])
        assert owner[validation].nunique() == round(0.5 * 47)
    again = random_validation(groups.sample(frac=1, random_state=0), 0.5, seed=2)
    assert set(again[1]) == set(validation)
    assert set(random_validation(groups, 0.5, seed=3)[1]) != set(validation)


def test_a_grid_by_group_cuts_no_group_and_spreads_each_dataset_over_its_folds(corpus: Path) -> None:
    groups = pd.read_parquet(corpus / "groups.parquet")
    owner, dataset = (groups.set_index("frame_id")[column] for column in ("group", "dataset"))
    grid = Grid(learning_rate=[1e-3], weight_decay=[0.05], folds=4)
    seen = []
    for fold in range(4):
        train, validation = grid_fold(groups, grid, fold, seed=0)
        assert not set(owner[train]) & set(owner[validation])
        assert set(dataset[validation].value_counts()) <= set(range(8, 17))  # 12 of 48 frames, about
        seen += list(validation)
    assert sorted(seen) == sorted(groups["frame_id"])


def test_a_grid_by_frame_is_the_notebooks_shuffled_k_fold(corpus: Path) -> None:
    groups = pd.read_parquet(corpus / "groups.parquet")
    grid = Grid(learning_rate=[1e-3], weight_decay=[0.05], folds=5, by="frame")
    expected = list(KFold(5, shuffle=True, random_state=42).split(groups))[3][1]
    train, validation = grid_fold(groups, grid, 3, seed=42)
    assert list(validation) == list(groups["frame_id"].iloc[expected])
    owner = groups.set_index("frame_id")["group"]
    assert set(owner[train]) & set(owner[validation])  # which is why it is not the default


def test_all_frames_are_learned_from_where_nothing_is_held_back(corpus: Path) -> None:
    record = json.loads((run(corpus, pretrain_recipe(validation_fraction=0)) / "run.json").read_text())
    assert record["counts"] == {"train": 96, "validation": 0, "left_out": 0, "processes": 1}
    assert record["metrics"]["validation_loss"] is None


def test_a_fold_of_the_grid_keeps_its_history_and_record_alone(corpus: Path) -> None:
    grid = {"learning_rate": [1e-3], "weight_decay": [0.05], "folds": 3}
    out = run(corpus, pretrain_recipe(grid=grid), grid_fold=1)
    assert sorted(path.name for path in out.iterdir()) == ["history.parquet", "run.json"]
    assert json.loads((out / "run.json").read_text())["counts"]["validation"] == pytest.approx(32, abs=6)


def test_too_few_frames_are_counted_in_the_error(corpus: Path) -> None:
    recipe = pretrain_recipe(training=training(batch_size=60))
    message = (
        "pretraining tiny: 36 training and 10 validation frames are left, a batch needs 60; 50 frames are"
    )
    with pytest.raises(TrainingError, match=message):
        run(corpus, recipe, evaluation_datasets=["neck"])
    with pytest.raises(TrainingError, match=r"0 training and 0 validation frames are left.*; 96 frames"):
        run(corpus, evaluation_datasets=["neck", "kidney"])


def test_neither_parts_nor_storage_change_what_is_learned(corpus: Path) -> None:
    """Gradient accumulation adds up to the same step; a copy of the frames holds the same frames."""
    whole = pd.read_parquet(run(corpus) / "history.parquet")
    for number, recipe in enumerate(
        (
            pretrain_recipe(training=training(micro_batch_size=2)),
            pretrain_recipe(storage="local"),
            pretrain_recipe(storage="memory"),
            pretrain_recipe(storage="device"),
        )
    ):
        other = pd.read_parquet(run(corpus, recipe, out=f"other_{number}") / "history.parquet")
        for column in ("train_loss", "validation_loss", "gradient_norm"):
            np.testing.assert_allclose(other[column], whole[column], rtol=1e-4)


def test_a_part_that_does_not_divide_the_batch_is_refused(corpus: Path) -> None:
    with pytest.raises(TrainingError, match="micro_batch_size 3 does not divide 8"):
        run(corpus, pretrain_recipe(training=training(micro_batch_size=3)))


def test_grey_frames_train_a_colour_model_and_the_reverse(corpus: Path) -> None:
    weights = load_file(run(corpus, pretrain_recipe(channels=3)) / "encoder.safetensors")
    assert weights["patch_embed.proj.weight"].shape[1] == 3


def test_the_loss_falls_and_the_same_recipe_gives_the_same_weights(corpus: Path) -> None:
    recipe = pretrain_recipe(training=training(epochs=6, learning_rate=5e-3))
    outs = [run(corpus, recipe, out=name) for name in ("one", "two")]
    history = pd.read_parquet(outs[0] / "history.parquet")
    assert history["train_loss"].iloc[-1] < 0.97 * history["train_loss"].iloc[0]
    assert history["validation_loss"].iloc[-1] < 0.97 * history["validation_loss"].iloc[0]
    assert sha256(outs[0] / "mae.safetensors") == sha256(outs[1] / "mae.safetensors")
    other = run(corpus, recipe.model_copy(update={"seed": 1}), out="three")
    assert sha256(outs[0] / "mae.safetensors") != sha256(other / "mae.safetensors")


def test_reconstructions_lie_in_0_to_1_and_masked_pixels_are_marked(corpus: Path) -> None:
    path = run(corpus) / "reconstructions.npz"
    with np.load(path) as pictures:
        original, masked, filled = (pictures[name] for name in ("original", "masked", "reconstructed"))
    assert original.shape == masked.shape == filled.shape == (8, 16, 16)
    assert {array.dtype for array in (original, masked, filled)} == {np.dtype("float32")}
    hidden = masked == -1
    assert hidden.mean() == 0.75
    assert np.allclose(masked[~hidden], original[~hidden]) and np.allclose(filled[~hidden], original[~hidden])
    assert original.min() >= 0 and filled.min() >= 0 and original.max() <= 1 and filled.max() <= 1
    shorter = pretrain_recipe(training=training(epochs=1))
    with np.load(run(corpus, shorter) / "reconstructions.npz") as pictures:
        assert np.array_equal(pictures["masked"], masked)  # the same frames and masks at any length
    frames = np.load(corpus / "neck" / "frames.npy"), np.load(corpus / "kidney" / "frames.npy")
    known = {frame.tobytes() for frame in np.concatenate(frames)}
    assert all(np.round(picture * 255).astype(np.uint8).tobytes() in known for picture in original)


def during_steps(patch: pytest.MonkeyPatch, act: Callable[[int], None]) -> list[int]:
    """The steps trained from now on; `act` is told the number of each."""
    steps: list[int] = []
    loss = _Pretraining.loss

    def watched(self: _Pretraining, *place: Any) -> torch.Tensor:
        steps.append(len(steps))
        act(steps[-1])
        return loss(self, *place)

    patch.setattr(_Pretraining, "loss", watched)
    return steps


def stopped(corpus: Path, recipe: PretrainRecipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that TERM stops in its seventh step."""
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        during_steps(patch, lambda step: os.kill(os.getpid(), signal.SIGTERM) if step == 6 else None)
        run(corpus, recipe, out="resumed")


def test_a_stopped_pretraining_resumes_to_the_same_weights(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = pretrain_recipe()
    unbroken = run(corpus, recipe, out="unbroken")
    stopped(corpus, recipe, monkeypatch)
    assert list((corpus.parents[2] / "checkpoints").rglob("*.pt"))
    steps = during_steps(monkeypatch, lambda _: None)
    resumed = run(corpus, recipe, out="resumed")
    assert len(steps) == 3 * (76 // 8) - 7
    for name in ("mae.safetensors", "encoder.safetensors", "reconstructions.npz"):
        assert (resumed / name).read_bytes() == (unbroken / name).read_bytes()
    columns = ["epoch", "step", "learning_rate", "train_loss", "validation_loss"]
    histories = [pd.read_parquet(out / "history.parquet")[columns] for out in (unbroken, resumed)]
    pd.testing.assert_frame_equal(*histories, check_exact=True)


def test_a_changed_recipe_never_continues_an_old_run(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = pretrain_recipe(mask_ratio=0.5)
    fresh = run(corpus, changed, out="fresh")
    stopped(corpus, pretrain_recipe(), monkeypatch)
    after = run(corpus, changed, out="resumed")
    assert sha256(after / "mae.safetensors") == sha256(fresh / "mae.safetensors")


def test_checkpoints_are_removed_at_the_end(corpus: Path) -> None:
    recipe = pretrain_recipe(training=training(checkpoint_minutes=0))
    out = run(corpus, recipe, noted=False)
    left = [path for path in (corpus.parents[2] / "checkpoints").rglob("*") if path.is_file()]
    assert sorted(path.name for path in left) == FILES
    assert all(path.samefile(out / path.name) for path in left), "second names, which take no space"
    run(corpus, recipe)
    assert not (corpus.parents[2] / "checkpoints").exists()


def test_a_training_that_ended_after_its_snakemake_died_is_not_done_again(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Snakemake removes the outputs of a job whose end it did not see, and starts it again."""
    out = run(corpus, noted=False)
    before = {name: (out / name).read_bytes() for name in FILES}
    shutil.rmtree(out)
    steps = during_steps(monkeypatch, lambda _: None)
    run(corpus)
    assert not steps and {name: (out / name).read_bytes() for name in FILES} == before
    run(corpus)  # noted since then: asked for again, it is done again
    assert steps


def test_another_recipe_takes_nothing_of_a_finished_training(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(corpus, noted=False)
    steps = during_steps(monkeypatch, lambda _: None)
    run(corpus, pretrain_recipe(mask_ratio=0.5))
    assert steps
