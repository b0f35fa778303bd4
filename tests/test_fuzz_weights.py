"""Weights from anywhere: nothing that a file brings along is run, and a file that is none is named."""

from __future__ import annotations

import io
import os
import pickle
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fuzzing import fuzz, mutated
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from small_training import make_work

from usfmae.models.checkpoints import CheckpointError
from usfmae.models.formats import read_checkpoint
from usfmae.training.checkpointing import Checkpoints, Progress

STATE = {"patch_embed.proj.weight": torch.arange(8.0).view(2, 1, 2, 2), "norm.bias": torch.ones(2)}


class Runs:
    """Unpickled, it calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def saved(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def hostile(mark: Path) -> dict[str, Callable[[], bytes]]:
    """Files that would make `mark` if they were unpickled."""
    touch = f"touch '{mark}'"
    calls = {
        "os.system": Runs(os.system, touch),
        "eval": Runs(eval, f"open({str(mark)!r}, 'w')"),
        "exec": Runs(exec, f"open({str(mark)!r}, 'w')"),
        "open": Runs(open, str(mark), "w"),
        "torch.save": Runs(torch.save, {}, str(mark)),
    }
    made: dict[str, Callable[[], bytes]] = {}
    for name, call in calls.items():
        for kind, old in (("zip", False), ("legacy", True)):
            content = saved({**STATE, "x": call}, _use_new_zipfile_serialization=not old)
            made[f"{name}, {kind}"] = lambda content=content: content
        made[f"{name}, bare pickle"] = lambda call=call: pickle.dumps({"model": call})
        made[f"{name}, under a dict key"] = lambda call=call: saved({"model": {"norm.bias": call}})
    return made


CALLS = list(hostile(Path("mark")))


def mark_of(folder: Path) -> Path:
    return folder / "it ran"


@pytest.mark.parametrize("name", CALLS)
def test_no_code_of_a_weights_file_is_run(name: str, tmp_path: Path) -> None:
    mark, file = mark_of(tmp_path), tmp_path / "weights.pth"
    file.write_bytes(hostile(mark)[name]())
    with pytest.raises(CheckpointError, match=r"weights\.pth"):
        read_checkpoint(file)
    assert not mark.exists()


def test_the_hostile_files_would_run_if_they_were_unpickled(tmp_path: Path) -> None:
    mark = mark_of(tmp_path)
    for name in ("os.system, zip", "eval, legacy"):
        (tmp_path / "weights.pth").write_bytes(hostile(mark)[name]())
        torch.load(tmp_path / "weights.pth", weights_only=False)
        assert mark.exists(), name
        mark.unlink()


@pytest.mark.parametrize("name", ["os.system, zip", "eval, zip"])
def test_no_code_of_a_checkpoint_is_run_when_training_goes_on(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its digest is in its name, so whoever writes the file can make it right."""
    from usfmae.record import sha256

    mark, file = mark_of(tmp_path), tmp_path / "state.pt"
    file.write_bytes(hostile(mark)[name]())
    side = tmp_path / "side"
    side.mkdir()
    file.rename(side / f"000001-00000000-{sha256(file)[:16]}.pt")
    work = make_work()
    states = Checkpoints(side, work.model, torch.optim.AdamW(work.model.parameters()))
    assert states.restore() == Progress()
    assert "not a whole checkpoint" in capsys.readouterr().err
    assert not mark.exists()


WHOLE = {
    "zip.pth": saved(STATE),
    "legacy.pth": saved(STATE, _use_new_zipfile_serialization=False),
    "weights.safetensors": save(STATE),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_damaged_file_is_read_or_named(name: str) -> None:
    @given(content=mutated(WHOLE[name]))
    @fuzz(80)
    def damaged(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / name
            file.write_bytes(content)
            try:
                read_checkpoint(file)
            except CheckpointError as error:
                assert name in str(error)
            assert [path.name for path in Path(folder).iterdir()] == [name]

    damaged()


@given(content=mutated(zipfile.Path(io.BytesIO(WHOLE["zip.pth"])).root.read("archive/data.pkl")))
@fuzz(80)
def test_a_damaged_pickle_in_a_whole_file_is_read_or_named(content: bytes) -> None:
    """The archive's own checksums cannot help here: whoever makes the file writes them."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.pth"
        with zipfile.ZipFile(io.BytesIO(WHOLE["zip.pth"])) as old, zipfile.ZipFile(file, "w") as new:
            for name in old.namelist():
                new.writestr(name, content if name.endswith("data.pkl") else old.read(name))
        try:
            read_checkpoint(file)
        except CheckpointError as error:
            assert "weights.pth" in str(error)


@given(content=st.binary(max_size=200))
@fuzz(60)
def test_any_bytes_are_no_weights(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("weights.pth", "weights.safetensors"):
            (Path(folder) / name).write_bytes(content)
            with pytest.raises(CheckpointError, match=name):
                read_checkpoint(Path(folder) / name)
