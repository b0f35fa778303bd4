"""The benchmarks of training run on sizes of seconds, and refuse to compare what does not agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import checkpoint_overhead, finetune_step, frames, mae_memory, mae_step, measure, scorecam
from usfmae.settings.models import Encoder
from usfmae.settings.training import Augmentation
from usfmae.training.batches import FrameStore

TINY = ["--shape", "tiny", "--batch", "2", "--threads", "1"]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def printed(
    module: ModuleType,
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """What a benchmark prints when it is run with these arguments."""
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    module.main()
    return capsys.readouterr().out


@pytest.fixture
def small_frames(tmp_path: Path) -> frames.Frames:
    """70 frames of 32 px in each of two datasets."""
    noise = np.random.default_rng(0).integers(0, 255, (2, 70, 32, 32), dtype=np.uint8)
    return frames.write(tmp_path / "frames", {"a": list(noise[0]), "b": list(noise[1])})


def test_a_step_of_both_sides_has_the_same_loss_and_its_table_names_the_machine(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = printed(mae_step, [*TINY, "--rounds", "1"], capsys, monkeypatch)
    assert "ours, fused" in out and "Hugging Face ViTMAE, eager" in out
    assert "transformers" in out and "load average" in out and "1 thread" in out
    losses, seconds, _ = mae_step.compare("tiny", 2, 1, "float32")
    assert losses.keys() == seconds.keys() and len(losses) == 4
    first = next(iter(losses.values()))
    assert all(abs(loss - first) <= 1e-5 * first for loss in losses.values())


def test_fine_tuning_is_compared_with_timm_on_the_same_frames(small_frames: frames.Frames) -> None:
    seconds = finetune_step.compare("resnet10t", 32, batch=8, steps=2, rounds=1, forms=small_frames)
    assert [len(values) for values in seconds.values()] == [1] * 6
    shown = finetune_step.show(seconds, images=16)
    assert "timm's train.py, the release's files" in shown
    assert "| ours |" in shown and "1.00" in shown


def test_losses_that_do_not_agree_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def other_weights(theirs: torch.nn.Module) -> torch.nn.Module:
        ours = make_ours(theirs)
        with torch.no_grad():
            ours.decoder_head.bias += 0.01
        return ours

    make_ours = mae_step.make_ours
    monkeypatch.setattr(mae_step, "make_ours", other_weights)
    with pytest.raises(AssertionError, match="the losses differ"):
        mae_step.compare("tiny", 2, 1, "float32")


def test_score_cam_is_compared_with_grad_cam_on_the_same_channels() -> None:
    maps, seconds, channels = scorecam.compare("resnet10t", 64, 1, 12, 1, clusters=[3])
    assert channels == 12 and maps.keys() == seconds.keys() and len(maps) == 5
    table = scorecam.show(maps, seconds, 1).splitlines()
    assert len(table) == 2 + 5 and table[2].startswith(f"| {scorecam.SHIPPED} |")
    assert table[4].startswith(f"| {scorecam.OURS} |") and "3 groups of channels" in table[6]


def test_maps_that_are_not_those_of_grad_cam_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(*arguments: Any, **options: Any) -> np.ndarray:
        return np.roll(ours(*arguments, **options), 3, axis=2)

    ours = scorecam.ours
    monkeypatch.setattr(scorecam, "ours", shifted)
    with pytest.raises(AssertionError, match="differs from grad-cam's map"):
        scorecam.compare("resnet10t", 64, 1, 6, 1, clusters=[])


def test_memory_is_measured_in_a_process_of_its_own_for_each_attention(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_this_process(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command[4:7:2])
        return subprocess.CompletedProcess(command, 0, printed(mae_memory, command[3:], capsys, monkeypatch))

    asked: list[list[str]] = []
    monkeypatch.setattr(subprocess, "run", in_this_process)
    out = printed(mae_memory, TINY, capsys, monkeypatch)
    assert asked == [["theirs", "sdpa"], ["theirs", "eager"], ["ours", "fused"], ["ours", "plain"]]
    assert out.count(" GB |") == 8


def test_memory_of_both_sides_is_that_of_the_same_steps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sides = [["--side", "theirs", "--attention", "sdpa"], ["--side", "ours", "--attention", "fused"]]
    found = [json.loads(printed(mae_memory, [*TINY, *side], capsys, monkeypatch)) for side in sides]
    assert found[0]["loss"] == pytest.approx(found[1]["loss"], rel=1e-5)
    assert all(0 <= one["grown"] < one["peak"] for one in found)


def test_a_stop_in_each_epoch_leaves_one_checkpoint_and_starts_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checkpoint_overhead.small_run(1, 2, tmp_path) == 3
    assert len(list(tmp_path.glob("*.pt"))) == 2
    assert checkpoint_overhead.small_run(1, 2, None) == 1
    out = printed(
        checkpoint_overhead, [*TINY, "--steps", "1", "--epochs", "1", "--rounds", "1"], capsys, monkeypatch
    )
    assert "| tiny |" in out and "of the time without" in out


def test_every_form_of_the_frames_holds_the_same_pixels(small_frames: frames.Frames) -> None:
    gather = pytest.importorskip(
        "benchmarks.gather", reason="webdataset is not installed", exc_type=ImportError
    )
    batch = FrameStore(small_frames.folders).gather(np.arange(64)).numpy()[:, 0]
    pngs = np.stack([gather.decode(path) for path in small_frames.pngs[:64]])
    assert np.array_equal(batch, pngs)
    from_tar = next(gather.webdataset_batches(small_frames.tar))[0]
    assert np.array_equal(batch, np.stack(from_tar))


def test_gathering_prints_a_row_for_each_way_and_the_waiting_share_is_a_share(
    small_frames: frames.Frames, tmp_path: Path
) -> None:
    gather = pytest.importorskip(
        "benchmarks.gather", reason="webdataset is not installed", exc_type=ImportError
    )
    assert gather.show(gather.plain(small_frames, 1)).count("\n") == 4
    published = gather.published_augmentation()
    assert gather.show(gather.augmented(small_frames, 1, published)).count("\n") == 5
    encoder = Encoder(width=16, depth=1, heads=1, patch_size=16)
    epoch = gather.waiting_share(small_frames, tmp_path, encoder, Augmentation())
    assert 0 <= epoch["waiting_share"] < 1 and epoch["images_per_second"] > 0


def test_contenders_are_timed_in_turn_and_compared_within_a_round() -> None:
    order: list[str] = []
    now = [0.0]

    def takes(name: str, seconds: list[float]) -> None:
        order.append(name)
        now[0] += seconds.pop(0)

    a, b = [9.0, 2.0, 20.0, 4.0], [9.0, 1.0, 10.0, 1.0]
    contenders = {"a": lambda: takes("a", a), "b": lambda: takes("b", b)}
    seconds = measure.alternate(contenders, 3, clock=lambda: now[0])
    assert order == ["a", "b"] * 4
    assert seconds == {"a": [2.0, 20.0, 4.0], "b": [1.0, 10.0, 1.0]}
    assert measure.ratio(seconds, "a", "b") == 2.0
    assert measure.fastest(seconds, ["a", "b"]) == "b"


def test_a_term_signal_from_outside_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped_from_outside(*_: Any, **__: Any) -> None:
        raise SystemExit(checkpoint_overhead.STOPPED)

    monkeypatch.setattr(checkpoint_overhead, "fit", stopped_from_outside)
    with pytest.raises(SystemExit):
        checkpoint_overhead.small_run(1, 2, None)
