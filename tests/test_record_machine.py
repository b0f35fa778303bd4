"""Where a run was: its Slurm job and node, its GPUs, and the energy that the driver counted."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from typing import Any

import pytest
from tracked_study import open_store, runs_in, write_run

from usfmae import record
from usfmae.record import Run
from usfmae.record_machine import Gpu, energy_between, read_gpus, slurm, visible_gpus
from usfmae.tracking import sync


class Driver:
    """NVML of a machine with these GPUs: UUID → millijoules, None where the GPU does not count."""

    def __init__(self, gpus: dict[str, int | None], works: bool = True) -> None:
        self.gpus, self.works, self.open = gpus, works, 0

    def nvmlInit_v2(self) -> int:
        self.open += self.works
        return 0 if self.works else 9

    def nvmlShutdown(self) -> int:
        self.open -= 1
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = len(self.gpus)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number: Any, device: Any) -> int:
        device._obj.value = number.value + 1
        return 0 if number.value < len(self.gpus) else 2

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, device: Any) -> int:
        if uuid.decode() not in self.gpus:
            return 6
        device._obj.value = list(self.gpus).index(uuid.decode()) + 1
        return 0

    def nvmlDeviceGetName(self, device: Any, name: Any, length: Any) -> int:
        assert length.value == ctypes.sizeof(name)
        name.value = f"Pretended {device.value - 1}".encode()
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, device: Any, energy: Any) -> int:
        counted = list(self.gpus.values())[device.value - 1]
        if counted is None:
            return 3
        energy._obj.value = counted
        return 0


TWO = {"GPU-a": 1_500_000, "GPU-b": None}


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["Pretended 0", "Pretended 1"]),
        ("1", ["Pretended 1"]),
        ("GPU-a, GPU-b", ["Pretended 0", "Pretended 1"]),
        ("", []),
        ("7,GPU-z", []),
    ],
)
def test_the_gpus_of_a_job_are_those_that_it_may_use(visible: str | None, names: list[str]) -> None:
    driver = Driver(TWO)
    assert [gpu.name for gpu in read_gpus(driver, visible)] == names
    assert driver.open == 0, "the library is closed again"


def test_energy_is_in_joules_and_absent_where_a_gpu_does_not_count() -> None:
    assert [gpu.energy for gpu in read_gpus(Driver(TWO), None)] == [1500.0, None]


def test_a_driver_that_does_not_answer_gives_no_gpus() -> None:
    assert read_gpus(Driver(TWO, works=False), None) == []


@pytest.mark.parametrize(
    ("before", "after", "joules"),
    [
        ([100.0, 50.0], [350.5, 60.0], 260.5),
        ([], [], None),  # no driver
        ([100.0], [], None),
        ([100.0, None], [200.0, None], None),
        ([100.0], [20.0], None),  # the driver was loaded anew
    ],
)
def test_energy_of_a_run_is_the_difference_of_the_counters_and_never_a_guess(
    before: list[float | None], after: list[float | None], joules: float | None
) -> None:
    assert energy_between([Gpu("x", e) for e in before], [Gpu("x", e) for e in after]) == joules


def recorded(tmp_path: Path, device: str = "cpu") -> dict[str, Any]:
    run = Run("pretrain", tmp_path / "results/pretrain/demo", wildcards={}, parameters={})
    run.finish(metrics={"validation_loss": 0.5}, device=device)
    return dict(json.loads((tmp_path / "results/pretrain/demo/run.json").read_text()))


@pytest.fixture
def _outside_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.delenv("SLURMD_NODENAME", raising=False)


@pytest.mark.usefixtures("_outside_slurm")
def test_a_run_outside_slurm_without_a_driver_names_no_machine_and_no_energy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: (_ for _ in ()).throw(OSError(name)))
    assert visible_gpus() == []
    found = recorded(tmp_path)
    assert (found["slurm"], found["gpus"], found["energy_joules"]) == ({}, [], None)
    assert recorded(tmp_path, "NVIDIA H200")["gpus"] == ["NVIDIA H200"], "torch knows its name"
    sync(tmp_path / "results")
    run = runs_in(open_store(tmp_path / "results"))["pretrain/demo"]
    assert "energy_joules" not in run.data.metrics and run.data.metrics["seconds"] >= 0
    assert not {"usfmae.slurm_job", "usfmae.node"} & run.data.tags.keys()


def test_a_node_without_a_job_is_not_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("SLURMD_NODENAME", "node07")
    assert slurm() == {}


def test_job_node_gpus_and_energy_of_a_run_are_in_its_record_and_in_mlflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURMD_NODENAME", "node07")
    counters = iter([1000.0, 4000.0])
    monkeypatch.setattr("usfmae.record.visible_gpus", lambda: [Gpu("NVIDIA H200", next(counters))])
    found = recorded(tmp_path, "NVIDIA H200")
    assert found["slurm"] == {"job": "4711", "node": "node07"}
    assert (found["gpus"], found["energy_joules"]) == (["NVIDIA H200"], 3000.0)
    sync(tmp_path / "results")
    run = runs_in(open_store(tmp_path / "results"))["pretrain/demo"]
    tags = run.data.tags
    assert (tags["usfmae.slurm_job"], tags["usfmae.node"]) == ("4711", "node07")
    assert tags["usfmae.gpu"] == "NVIDIA H200"
    assert tags["usfmae.environment.packages.torch"] == found["environment"]["packages"]["torch"]
    assert run.data.metrics["energy_joules"] == 3000.0


def test_a_run_on_a_processor_takes_no_gpus_energy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("usfmae.record.visible_gpus", lambda: [Gpu("NVIDIA H200", 1000.0)])
    found = recorded(tmp_path, "cpu")
    assert (found["gpus"], found["energy_joules"]) == ([], None)


def test_a_record_from_before_these_keys_is_still_read(tmp_path: Path) -> None:
    folder = tmp_path / "results/pretrain/old"
    write_run(folder, "pretrain", {"validation_loss": 0.4}, recipe="old")
    found = json.loads((folder / "run.json").read_text())
    assert not {"slurm", "gpus", "energy_joules"} & found.keys()
    record.write_json(folder / "run.json", {key: found[key] for key in found if key != "environment"})
    sync(tmp_path / "results")
    run = runs_in(open_store(tmp_path / "results"))["pretrain/old"]
    assert run.data.metrics["validation_loss"] == 0.4 and "usfmae.gpu" not in run.data.tags
