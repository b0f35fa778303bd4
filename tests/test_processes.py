"""Processes: equal shares of a batch, and the GPUs that were asked for or none at all."""

from __future__ import annotations

import pytest
import torch
from fake_corpus import training
from torch import nn

from usfmae.training.processes import Processes, TrainingError, check_gpus, device_name, processes

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def gpus_seen(monkeypatch: pytest.MonkeyPatch, number: int, visible: str | None = None) -> None:
    """As if torch saw this many GPUs, and the scheduler had named those of `visible`."""
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: number)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)


def test_the_shares_of_all_processes_are_the_batch() -> None:
    shares = [Processes(CPU, rank, 4).share(12) for rank in range(4)]
    assert [list(range(12))[share] for share in shares] == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]
    assert Processes(CPU).share(5) == slice(0, 5)


def test_a_batch_that_cannot_be_shared_equally_is_refused() -> None:
    with pytest.raises(TrainingError, match="batch_size 10 cannot be shared equally by 4 processes"):
        Processes(CPU, 0, 4).share(10)


def test_a_process_alone_is_the_first_and_changes_nothing() -> None:
    alone, model = Processes(CPU), nn.Linear(1, 1)
    assert alone.first and not Processes(CPU, 1, 2).first
    assert alone.parallel(model) is model
    assert alone.total(1.5, 2) == [1.5, 2]


@pytest.mark.parametrize(("visible", "held"), [("0", 1), ("", 0), ("0,1,2", 3)])
def test_another_number_of_visible_gpus_than_asked_for_is_refused(
    visible: str, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus_seen(monkeypatch, held, visible)
    with pytest.raises(TrainingError, match=f"asked for 2 GPUs, but CUDA_VISIBLE_DEVICES='{visible}' holds"):
        check_gpus(2)


@pytest.mark.parametrize("visible", ["0,1", None])
@pytest.mark.parametrize("seen", [0, 1, 3])
def test_torch_must_see_as_many_gpus_as_were_asked_for(
    visible: str | None, seen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver or a torch that does not fit shows none, whatever the variable says."""
    gpus_seen(monkeypatch, seen, visible)
    with pytest.raises(TrainingError, match=f"asked for 2 GPUs, but torch sees {seen}; training.device: cpu"):
        check_gpus(2)


@pytest.mark.parametrize("visible", ["0,1", "GPU-8f6a, GPU-91bc", "MIG-1,MIG-2", None])
def test_the_gpus_asked_for_are_accepted_by_number_or_name(
    visible: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpus_seen(monkeypatch, 2, visible)
    check_gpus(2)


def test_a_job_that_asked_for_none_takes_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus_seen(monkeypatch, 3, "0,1,2")
    check_gpus(0)


def test_training_on_the_processor_needs_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with processes(training(device="cpu"), gpus=2) as at:
        assert (at.device.type, at.rank, at.count) == ("cpu", 0, 1)
    assert device_name(at.device) == "cpu"
    with pytest.raises(TrainingError, match="asked for 2 GPUs"), processes(training(device="auto"), gpus=2):
        pass


def test_a_gpu_that_the_recipe_needs_and_nobody_sees_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus_seen(monkeypatch, 0)
    message = r"training\.device: cuda, but torch sees no GPU"
    with pytest.raises(TrainingError, match=message), processes(training(device="cuda")):
        pass
    with processes(training(device="auto")) as at:
        assert at.device == CPU
