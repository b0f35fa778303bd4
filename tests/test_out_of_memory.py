"""Where a batch does not fit into memory: the same step in parts, or a sentence that says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from fake_corpus import make_corpus, training
from small_finetuning import recipe, split_corpus
from small_finetuning import run as finetune
from small_training import MEASURED, make_work
from small_training import run as train
from test_pretrain import run as pretrain

from usfmae.models.checkpoints import load_weights
from usfmae.models.mae import MaskedAutoencoder
from usfmae.settings.models import Model
from usfmae.training.processes import Processes, TrainingError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return split_corpus(tmp_path_factory.mktemp("memory"))


def hold(most: int, monkeypatch: pytest.MonkeyPatch, never: int = 0) -> list[int]:
    """Lets the loss of `most` frames fit into memory, but for the `never`-th; gives the sizes tried."""
    tried: list[int] = []

    def limited(original: Any, size: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            tried.append(size(*arguments))
            if torch.is_grad_enabled() and (tried[-1] > most or len(tried) == never):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore lines.")
            return original(*arguments, **options)

        return call

    monkeypatch.setattr(F, "cross_entropy", limited(F.cross_entropy, lambda logits, *_: len(logits)))
    forward = limited(MaskedAutoencoder.forward, lambda _, frames, *__: len(frames))
    monkeypatch.setattr(MaskedAutoencoder, "forward", forward)
    return tried


def assert_same(one: Path, other: Path, weights: str) -> None:
    """Two runs' losses and weights agree to rounding."""
    histories = [pd.read_parquet(out / "history.parquet").drop(columns=MEASURED) for out in (one, other)]
    pd.testing.assert_frame_equal(*histories, rtol=1e-5, atol=1e-6)
    ours, theirs = (load_weights(out / weights) for out in (one, other))
    for name, value in ours.items():
        if name.endswith("qkv.bias"):
            # Attention does not depend on the keys' bias: its gradient is rounding alone, made large by Adam.
            queries_and_values = [i for i in range(len(value)) if i // (len(value) // 3) != 1]
            value, theirs[name] = value[queries_and_values], theirs[name][queries_and_values]
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=1e-6, msg=name)


RECIPES: dict[str, dict[str, Any]] = {
    "class weights": {},
    "equal weights": {"class_weights": False},
    "mixing": {"mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1},
    "running mean": {"ema": 0.9, "class_weights": False},
}


@pytest.mark.parametrize("name", RECIPES)
def test_fine_tuning_in_halves_ends_with_the_same_weights(
    name: str, corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    how = recipe(**{"training": training(epochs=2, learning_rate=1e-4)} | RECIPES[name])
    whole = finetune(corpus, how=how, out=f"whole-{name}")
    tried = hold(3, monkeypatch)
    halved = finetune(corpus, how=how, out=f"halved-{name}")
    assert tried[:3] == [8, 4, 2] and set(tried[2:]) == {2}  # and then all steps in parts
    assert_same(whole, halved, "model.safetensors")
    assert "a batch now goes through in 4 parts" in capsys.readouterr().err


def test_what_a_failed_try_left_of_its_gradients_counts_for_nothing(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first half fits, the second does not: the step begins anew."""
    how = recipe(training=training(epochs=1, learning_rate=1e-4))
    whole = finetune(corpus, how=how, out="whole-late")
    tried = hold(4, monkeypatch, never=3)
    halved = finetune(corpus, how=how, out="halved-late")
    assert tried[:4] == [8, 4, 4, 2]
    assert_same(whole, halved, "model.safetensors")


def test_pretraining_in_halves_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = make_corpus(tmp_path, ["neck", "kidney"])
    whole = pretrain(corpus)
    tried = hold(4, monkeypatch)
    halved = pretrain(corpus, out="halved")
    assert tried[1:3] == [8, 4]  # at first one frame, whose operations are counted
    assert_same(whole, halved, "mae.safetensors")


def test_a_smaller_part_is_chosen_beforehand_for_fine_tuning_too(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how = recipe(training=training(micro_batch_size=3, epochs=1))
    tried = hold(3, monkeypatch)
    finetune(corpus, how=how, out="micro")
    assert set(tried) == {2}  # 3 does not divide 8


CANNOT: dict[str, tuple[dict[str, Any], str]] = {
    "stop": ({"training": training(on_out_of_memory="stop")}, "the recipe says on_out_of_memory: stop"),
    "depth": ({"drop_path": 0.2}, "with stochastic depth halves of a batch would not give what the batch"),
}


@pytest.mark.parametrize("why", CANNOT)
def test_where_halves_are_not_the_batch_a_sentence_says_so(
    why: str, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, words = CANNOT[why]
    hold(4, monkeypatch)
    expected = (
        r"out of memory with 8 frames in the network at once \(CUDA out of memory. Tried to allocate 2.00 "
        rf"GiB.\); {words}.*Choose a smaller training.batch_size"
    )
    with pytest.raises(TrainingError, match=expected):
        finetune(corpus, how=recipe(**{"training": training(epochs=1)} | changes), out=why)


def test_batch_norm_is_never_halved(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold(4, monkeypatch)
    with pytest.raises(TrainingError, match="with batch norm halves of a batch would not give"):
        finetune(corpus, model=Model(title="from scratch", timm="resnet10t"), how=recipe(epochs=1), out="bn")


def test_a_frame_that_does_not_fit_alone_and_a_work_without_parts_stop(
    corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold(0, monkeypatch)
    with pytest.raises(TrainingError, match=r"out of memory with 1 frames .* a single frame does not fit"):
        finetune(corpus, how=recipe(epochs=1), out="single")
    with pytest.raises(TrainingError, match="this training knows no parts of a batch"):
        train(make_work(), None)


def test_several_processes_stop_instead_of_waiting_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from usfmae.training.gradients import gradients

    hold(0, monkeypatch)
    work = make_work()
    with pytest.raises(TrainingError, match="the 2 processes of this training would have to halve together"):
        gradients(work.model, work, training(), Processes(CPU, 0, 2), seed=0, epoch=0, step=0)
