"""Optimisation: learning rates, weight decay, clipping and precision are those of the recipe."""

from __future__ import annotations

import pytest
import torch
from fake_corpus import ENCODER, training
from small_training import HERE, STEPS, make_work, run
from torch import nn

from usfmae.models.mae import build_encoder
from usfmae.settings.training import Training
from usfmae.training.loop import Work, autocast, fit


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


def test_bfloat16_is_used_where_the_recipe_says_so() -> None:
    layer, device = nn.Linear(2, 2), torch.device("cpu")
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with autocast(training(precision=precision), device):
            assert layer(torch.ones(1, 2)).dtype == dtype
