"""The training loop: an interrupted run ends with the same bits as an unbroken one."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from fake_corpus import training
from small_training import HERE, MEASURED, STEPS, Result, make_work, run
from torch import Tensor, nn

from usfmae.attempts import leaving_on_term
from usfmae.training.checkpointing import STOPPED
from usfmae.training.loop import Work, fit
from usfmae.training.processes import TrainingError


class Broken(Exception):
    """Stands for a crash."""


def at(where: tuple[int, int], act: Callable[[], None]) -> Callable[[int, int], None]:
    def during(epoch: int, step: int) -> None:
        if (epoch, step) == where:
            act()

    return during


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def crash() -> None:
    raise Broken


@pytest.fixture(scope="module")
def unbroken() -> Result:
    return run(make_work(), None)


def assert_same(one: Result, other: Result) -> None:
    pd.testing.assert_frame_equal(one[0], other[0], check_exact=True)
    assert one[1].keys() == other[1].keys()
    assert all(torch.equal(value, other[1][key]) for key, value in one[1].items())


def test_the_same_seed_trains_to_the_same_bits(unbroken: Result) -> None:
    assert_same(run(make_work(), None), unbroken)
    other = fit(make_work(), training(), seed=4, description="another seed", at=HERE)
    assert not (other["train_loss"] == unbroken[0]["train_loss"]).any()


@pytest.mark.parametrize("where", [(0, 0), (1, 1), (1, STEPS - 1), (2, STEPS - 1)])
def test_a_run_stopped_by_term_resumes_to_the_same_bits(
    where: tuple[int, int], unbroken: Result, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as stopped:
        run(make_work(at(where, terminate)), tmp_path)
    assert stopped.value.code == STOPPED == 75
    assert len(list(tmp_path.iterdir())) == 1
    seen: list[tuple[int, int]] = []
    assert_same(run(make_work(lambda *step: seen.append(step)), tmp_path), unbroken)
    assert len(seen) == 3 * STEPS - (where[0] * STEPS + where[1] + 1)  # no step is done twice


def test_a_run_stopped_by_term_during_validation_resumes_to_the_same_bits(
    unbroken: Result, tmp_path: Path
) -> None:
    work = make_work()
    validate = work.after_epoch
    work.after_epoch = lambda epoch, pause: (terminate(), validate(epoch, pause))[1]
    with pytest.raises(SystemExit):
        run(work, tmp_path)
    assert_same(run(make_work(), tmp_path), unbroken)


def test_term_after_the_last_look_is_heard_when_the_training_ends(unbroken: Result, tmp_path: Path) -> None:
    work = make_work()
    validate, calls = work.after_epoch, []

    def last_words(epoch: int, pause: Callable[[], None]) -> dict[str, float]:
        figures = validate(epoch, pause)
        calls.append(epoch)
        if len(calls) == len(unbroken[0]):
            terminate()
        return figures

    work.after_epoch = last_words
    with pytest.raises(SystemExit) as stopped, leaving_on_term():
        run(work, tmp_path)
    assert stopped.value.code == STOPPED and calls == list(range(len(unbroken[0])))


@pytest.mark.parametrize("where", [(0, 1), (1, 0), (2, 2)])
def test_a_crashed_run_resumes_to_the_same_bits(
    where: tuple[int, int], unbroken: Result, tmp_path: Path
) -> None:
    with pytest.raises(Broken):
        run(make_work(at(where, crash)), tmp_path, checkpoint_minutes=0)
    seen: list[tuple[int, int]] = []
    assert_same(run(make_work(lambda *step: seen.append(step)), tmp_path, checkpoint_minutes=0), unbroken)
    assert seen[0] == where


def test_a_truncated_checkpoint_falls_back_to_the_one_before(
    unbroken: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(Broken):
        run(make_work(at((1, 3), crash)), tmp_path, checkpoint_minutes=0)
    newest = sorted(tmp_path.iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    seen: list[tuple[int, int]] = []
    assert_same(run(make_work(lambda *step: seen.append(step)), tmp_path), unbroken)
    assert seen[0] == (1, 2)
    assert f"{newest}: not a whole checkpoint" in capsys.readouterr().err


def test_a_checkpoint_of_which_one_byte_changed_falls_back_to_the_one_before(
    unbroken: Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """PyTorch reads such a file without an error, into other weights."""
    with pytest.raises(Broken):
        run(make_work(at((1, 3), crash)), tmp_path, checkpoint_minutes=0)
    newest = sorted(tmp_path.iterdir())[-1]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    torch.load(newest, weights_only=True)
    seen: list[tuple[int, int]] = []
    assert_same(run(make_work(lambda *step: seen.append(step)), tmp_path), unbroken)
    assert seen[0] == (1, 2)
    assert f"{newest}: not a whole checkpoint" in capsys.readouterr().err


def test_with_no_whole_checkpoint_training_starts_anew(unbroken: Result, tmp_path: Path) -> None:
    for name in ("000001-00000002.pt", "000001-00000003.pt"):
        (tmp_path / name).write_bytes(b"")
    assert_same(run(make_work(), tmp_path), unbroken)


def test_checkpoints_wait_for_their_time_and_only_the_two_newest_are_kept(tmp_path: Path) -> None:
    run(make_work(), tmp_path, checkpoint_minutes=10)
    assert list(tmp_path.iterdir()) == []
    run(make_work(), tmp_path, checkpoint_minutes=0)
    assert sorted(path.name[:15] for path in tmp_path.iterdir()) == ["000002-00000004", "000003-00000000"]


def test_after_a_resume_within_an_epoch_the_train_loss_is_the_mean_of_the_whole_epoch(tmp_path: Path) -> None:
    losses: list[float] = []

    def recorded(work: Work) -> Work:
        loss_of = work.loss

        def record(model: nn.Module, *place: int) -> Tensor:
            loss = loss_of(model, *place)
            losses.append(loss.item())
            return loss

        work.loss = record
        return work

    with pytest.raises(SystemExit):
        run(recorded(make_work(at((0, 2), terminate))), tmp_path, epochs=1)
    history, _ = run(recorded(make_work()), tmp_path, epochs=1)
    assert len(losses) == STEPS
    assert history["train_loss"].item() == sum(losses) / STEPS


def test_the_terminal_gets_its_own_term_handler_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run(make_work(), None, epochs=1)
    assert signal.getsignal(signal.SIGTERM) is before
    for act in (crash, terminate):
        with pytest.raises((Broken, SystemExit)):
            run(make_work(at((0, 1), act)), tmp_path)
        assert signal.getsignal(signal.SIGTERM) is before


def test_training_runs_outside_the_main_thread_too() -> None:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(len(run(make_work(), None, epochs=1)[0])))
    thread.start()
    thread.join()
    assert found == [1]


def spoilt(work: Work, places: set[tuple[int, int]], value: float = math.nan) -> Work:
    """A work whose loss is not finite in some of its steps."""
    loss_of = work.loss
    work.loss = lambda model, epoch, step, part: (
        loss_of(model, epoch, step, part) * (value if (epoch, step) in places else 1)
    )
    return work


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_step_that_is_not_finite_is_skipped_and_counted(value: float) -> None:
    work = spoilt(make_work(), {(1, 2)}, value)
    history, weights = run(work, None)
    assert history["skipped_steps"].tolist() == [0, 1, 0]
    assert history["train_loss"].notna().all()
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_too_many_skipped_steps_in_a_row_stop_with_epoch_step_and_the_last_good_state(tmp_path: Path) -> None:
    places = {(0, 3), (1, 0), (1, 1)}
    with pytest.raises(TrainingError, match="test: 3 steps in a row were not finite") as stopped:
        run(spoilt(make_work(), places), tmp_path, stop_after_skipped=3, checkpoint_minutes=0)
    assert "epoch 1, step 1" in str(stopped.value) and str(tmp_path) in str(stopped.value)
    # The state on disk is the one before the bad steps: from there a mended run goes on.
    assert sorted(path.name for path in tmp_path.iterdir())[-1].startswith("000000-00000003-")
    assert run(make_work(), tmp_path)[0]["skipped_steps"].sum() == 0


def test_a_run_that_skips_steps_resumes_to_the_same_bits(tmp_path: Path) -> None:
    whole = run(spoilt(make_work(), {(1, 0)}), None)
    with pytest.raises(Broken):
        run(spoilt(make_work(at((1, 2), crash)), {(1, 0)}), tmp_path, checkpoint_minutes=0)
    assert_same(run(spoilt(make_work(), {(1, 0)}), tmp_path), whole)


def test_the_history_has_a_row_an_epoch() -> None:
    history = fit(make_work(), training(), seed=3, description="test", at=HERE)
    measures = "epoch step learning_rate train_loss gradient_norm skipped_steps validation_loss"
    assert sorted(history.columns) == sorted([*measures.split(), *MEASURED])
    assert (history["gradient_norm"] > 0).all()
    assert history["waiting_share"].between(0, 1).all()
    assert (history["memory_gb"] > 0.01).all()
    assert history["epoch"].tolist() == [0, 1, 2]
    assert history["step"].tolist() == [4, 8, 12]
    assert (history["images_per_second"] > 0).all()


def test_term_heard_in_the_validation_loop_leaves_it_at_the_next_batch(tmp_path: Path) -> None:
    work, batches = make_work(), []

    def validate(_: int, pause: Callable[[], None]) -> dict[str, float]:
        for number in range(5):
            batches.append(number)
            if number == 1:
                terminate()
            pause()
        return {"validation_loss": 0.0}

    work.after_epoch = validate
    with pytest.raises(SystemExit) as stopped:
        run(work, tmp_path)
    assert stopped.value.code == STOPPED
    assert batches == [0, 1]
    trained: list[tuple[int, int]] = []
    run(make_work(lambda *step: trained.append(step)), tmp_path)
    assert trained[0] == (1, 0)  # the epoch is not trained again, only validated
