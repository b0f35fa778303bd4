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
from fake_corpus import ENCODER, training
from torch import Tensor, nn

from usfmae.models.mae import MaskedAutoencoder, build_encoder
from usfmae.settings.training import Augmentation, Training
from usfmae.training.augment import augment
from usfmae.training.batches import epoch_order, normalise
from usfmae.training.checkpointing import STOPPED
from usfmae.training.loop import Work, autocast, fit
from usfmae.training.processes import Processes, TrainingError

Result = tuple[pd.DataFrame, dict[str, Tensor]]
STEPS, BATCH = 4, 6
FRAMES = torch.randint(
    0, 256, (STEPS * BATCH, 1, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


HERE = Processes(torch.device("cpu"))
#: Columns of the history that no two runs share.
MEASURED = ["images_per_second", "waiting_share", "utilisation", "memory_gb"]


class Broken(Exception):
    """Stands for a crash."""


def make_work(during: Callable[[int, int], None] = lambda _epoch, _step: None) -> Work:
    """A tiny masked autoencoder with all that is random in pretraining; `during` is called in each step."""
    torch.manual_seed(7)
    model = MaskedAutoencoder(
        build_encoder(size=16, channels=1, drop_path_rate=0.2, **ENCODER.model_dump()),
        decoder_width=16,
        decoder_depth=1,
        decoder_heads=2,
        mask_ratio=0.75,
    )

    def loss_of(model: nn.Module, epoch: int, step: int, _part: int) -> Tensor:
        during(epoch, step)
        rows = epoch_order(len(FRAMES), 3, epoch)[step * BATCH : (step + 1) * BATCH]
        loss: Tensor = model(normalise(augment(FRAMES[rows], Augmentation())))[0]
        return loss

    @torch.inference_mode()
    def after_epoch(_: int, pause: Callable[[], None]) -> dict[str, float]:
        model.eval()
        noise = torch.rand(4, 16, generator=torch.Generator().manual_seed(1))
        pause()
        return {"validation_loss": float(model(normalise(FRAMES[:4] / 255), noise)[0])}

    return Work(model, STEPS, BATCH, loss_of, after_epoch)


def run(work: Work, folder: Path | None, **changes: object) -> Result:
    history = fit(work, training(**changes), seed=3, description="test", at=HERE, checkpoints=folder)
    return history.drop(columns=MEASURED), work.model.state_dict()


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


def test_with_no_whole_checkpoint_training_starts_anew(unbroken: Result, tmp_path: Path) -> None:
    for name in ("000001-00000002.pt", "000001-00000003.pt"):
        (tmp_path / name).write_bytes(b"")
    assert_same(run(make_work(), tmp_path), unbroken)


def test_checkpoints_wait_for_their_time_and_only_the_two_newest_are_kept(tmp_path: Path) -> None:
    run(make_work(), tmp_path, checkpoint_minutes=10)
    assert list(tmp_path.iterdir()) == []
    run(make_work(), tmp_path, checkpoint_minutes=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000002-00000004.pt", "000003-00000000.pt"]


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
    assert sorted(path.name for path in tmp_path.iterdir())[-1] == "000000-00000003.pt"
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


def learning_rates(
    settings: Training, steps: int, monkeypatch: pytest.MonkeyPatch, model: nn.Module | None = None
) -> list[list[float]]:
    """The learning rates of all parameter groups at each step of the optimiser."""
    found: list[list[float]] = []
    original = torch.optim.AdamW.step

    def step(self: torch.optim.AdamW, closure: None = None) -> None:
        found.append([group["lr"] for group in self.param_groups])
        original(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    model = model or nn.Linear(2, 1)
    fit(
        Work(model, steps, 1, lambda m, *_: sum(p.square().sum() for p in m.parameters()), lambda *_: {}),
        settings,
        seed=0,
        description="test",
        at=HERE,
    )
    return found


def test_the_learning_rate_rises_to_its_peak_and_falls_to_its_minimum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = training(epochs=10, learning_rate=1e-3, minimum_learning_rate=1e-5, warmup=0.2)
    rates = [max(step) for step in learning_rates(settings, 10, monkeypatch)]
    assert len(rates) == 100
    assert rates[0] == pytest.approx(1e-3 / 20)
    assert max(rates) == rates[19] == pytest.approx(1e-3)
    assert rates[:20] == sorted(rates[:20]) and rates[19:] == sorted(rates[19:], reverse=True)
    assert rates[59] == pytest.approx((1e-3 + 1e-5) / 2, rel=1e-3)  # half of the cosine
    assert rates[-1] == pytest.approx(1e-5)


def test_layer_decay_scales_the_learning_rate_from_block_to_block(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = build_encoder(size=16, channels=1, num_classes=2, **ENCODER.model_dump())
    settings = training(epochs=5, learning_rate=1e-3, warmup=0.2, layer_decay=0.5)
    peak = learning_rates(settings, 10, monkeypatch, encoder)[9]
    # patch embedding, two blocks, and norm with head: 0.5 to the power of 3, 2, 1 and 0.
    assert sorted({round(rate, 9) for rate in peak}) == pytest.approx([0.125e-3, 0.25e-3, 0.5e-3, 1e-3])


def test_weight_decay_spares_biases_and_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[tuple[float, set[int]]] = []

    def step(self: torch.optim.AdamW, closure: None = None) -> None:
        found[:] = [(g["weight_decay"], {p.ndim for p in g["params"]}) for g in self.param_groups]

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run(make_work(), None, epochs=1)
    assert {decay: 1 in dims for decay, dims in found} == {0.0: True, 0.05: False}


def test_the_gradient_is_clipped_to_the_norm_of_the_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []

    def step(self: torch.optim.AdamW, closure: None = None) -> None:
        gradients = [p.grad.flatten() for g in self.param_groups for p in g["params"] if p.grad is not None]
        norms.append(torch.cat(gradients).norm().item())

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run(make_work(), None, epochs=1, clip=0.01)
    run(make_work(), None, epochs=1, clip=None)
    assert norms[:STEPS] == pytest.approx([0.01] * STEPS, rel=1e-3)
    assert min(norms[STEPS:]) > 0.02


def test_biases_and_norms_are_decayed_where_the_recipe_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[float] = []

    def step(self: torch.optim.AdamW, closure: None = None) -> None:
        found[:] = [g["weight_decay"] for g in self.param_groups]

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    run(make_work(), None, epochs=1, decay_all=True)
    assert found == [0.05]


def test_the_learning_rate_is_scaled_by_the_batch_that_the_recipe_names() -> None:
    """USF-MAE scales by 128 / 256 although its batch is 64."""
    assert training(learning_rate=3e-4, learning_rate_for=128, batch_size=64).peak_learning_rate == 1.5e-4
    assert training(learning_rate=3e-4).peak_learning_rate == 3e-4


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


def test_bfloat16_is_used_where_the_recipe_says_so() -> None:
    layer, device = nn.Linear(2, 2), torch.device("cpu")
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with autocast(training(precision=precision), device):
            assert layer(torch.ones(1, 2)).dtype == dtype
