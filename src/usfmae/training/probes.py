"""Classifiers on frozen features: logistic regression, nearest neighbours, and attention with one query."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from usfmae.settings.recipes import FinetuneRecipe
from usfmae.settings.tasks import Task
from usfmae.training.features import Features
from usfmae.training.selection import class_weights, merit, validation_figures

Floats = NDArray[np.float64]

#: Inverse strengths of the L2 penalty that are tried, the strongest first.
STRENGTHS = tuple(float(10.0**power) for power in range(-5, 2))
#: Numbers of neighbours that are tried.
NEIGHBOURS = (5, 10, 20, 50, 100)
#: A neighbour's vote is exp(cosine similarity / TEMPERATURE) (Wu et al., arXiv 1805.01978, equation 9).
TEMPERATURE = 0.07


@dataclass
class Probe:
    """A fitted probe."""

    probabilities: Floats
    """`(n, classes)` of the rows that were asked for."""
    state: dict[str, Tensor]
    """What was fitted."""
    history: pd.DataFrame
    """A row a candidate: `epoch` (its number), its setting, `validation_loss`, `validation_score`."""
    best: int
    """The number of the candidate that was kept."""


def linear_probe(
    features: Features, table: pd.DataFrame, asked: pd.DataFrame, task: Task, recipe: FinetuneRecipe
) -> Probe:
    """Logistic regression on standardised features; its penalty is chosen on the validation rows.

    The state, `weight` `(classes, D)` and `bias` `(classes,)`, is a linear layer on the features as they are.
    """
    from sklearn.linear_model import LogisticRegression

    train, validation = (table[table["role"] == role] for role in ("train", "validation"))
    mean, scale = _standard(features.of(train))
    ready = [(features.of(rows) - mean) / scale for rows in (train, validation, asked)]
    balance = "balanced" if recipe.class_weights else None
    candidates, fitted = [], []
    for strength in STRENGTHS:
        regression = LogisticRegression(C=strength, class_weight=balance, max_iter=1000)
        regression.fit(ready[0], train["target"])
        fitted.append(regression)
        candidates.append(({"C": strength}, regression.predict_proba(ready[1])))
    history, best = _choose(candidates, validation, task, recipe)
    weight, bias = fitted[best].coef_ / scale, fitted[best].intercept_ - fitted[best].coef_ @ (mean / scale)
    if len(weight) == 1:  # of two classes, scikit-learn gives the second's log odds
        weight, bias = np.vstack([0 * weight, weight]), np.append(0, bias)
    state = {"weight": torch.from_numpy(weight).float(), "bias": torch.from_numpy(bias).float()}
    return Probe(fitted[best].predict_proba(ready[2]), state, history, best)


def nearest_neighbours(
    features: Features, table: pd.DataFrame, asked: pd.DataFrame, task: Task, recipe: FinetuneRecipe
) -> Probe:
    """Votes of the most similar training frames; their number is chosen on the validation rows.

    The state is what votes: `features` `(n, D)` of the training frames and their class numbers `targets`.
    """
    from sklearn.neighbors import NearestNeighbors

    train, validation = (table[table["role"] == role] for role in ("train", "validation"))
    bank, targets = features.of(train), train["target"].to_numpy(dtype=np.int64)
    classes = len(task.classes)
    worth = class_weights(targets, classes) if recipe.class_weights else np.ones(classes)
    votes = np.eye(classes)[targets] * worth  # (n, classes)
    numbers = [k for k in NEIGHBOURS if k <= len(bank)] or [len(bank)]
    found = NearestNeighbors(n_neighbors=numbers[-1], metric="cosine").fit(bank)

    def voted(rows: pd.DataFrame) -> list[Floats]:
        """Probabilities `(rows, classes)` for each number of neighbours."""
        distances, nearest = found.kneighbors(features.of(rows))  # (rows, k), the nearest first
        weighted = np.exp((distances[:, :1] - distances) / TEMPERATURE)[..., None] * votes[nearest]
        sums = [weighted[:, :k].sum(axis=1) for k in numbers]
        return [total / total.sum(axis=1, keepdims=True) for total in sums]

    candidates = [({"k": k}, each) for k, each in zip(numbers, voted(validation), strict=True)]
    history, best = _choose(candidates, validation, task, recipe)
    state = {"features": torch.from_numpy(bank), "targets": torch.tensor(targets)}
    return Probe(voted(asked)[best], state, history, best)


class AttentiveProbe(nn.Module):
    """One learned query attends to the patches `(n, T, D)`; a linear layer makes logits `(n, classes)` of
    what it gathers (V-JEPA's attentive probe, Bardes et al., arXiv 2404.08471, without its MLP)."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        heads = width // 64 if width >= 64 and width % (width // 64) == 0 else 1
        self.query = nn.Parameter(torch.empty(1, 1, width))
        nn.init.trunc_normal_(self.query, std=0.02)
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.head_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = self.norm(tokens)
        gathered = self.attention(self.query.expand(len(tokens), -1, -1), tokens, tokens, need_weights=False)[
            0
        ]
        logits: Tensor = self.head(self.head_norm(gathered[:, 0]))
        return logits


def _standard(values: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Mean and deviation `(D,)` of features `(n, D)`; 1 where one does not vary."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(values)
    return scaler.mean_, scaler.scale_


def _choose(
    candidates: list[tuple[dict[str, Any], Floats]],
    validation: pd.DataFrame,
    task: Task,
    recipe: FinetuneRecipe,
) -> tuple[pd.DataFrame, int]:
    """(history, number of the best) of settings and their probabilities on validation."""
    rows = [
        {"epoch": number, **setting, **validation_figures(probabilities, validation, task)}
        for number, (setting, probabilities) in enumerate(candidates)
    ]
    best = int(np.argmax([merit(row, recipe.selection) for row in rows]))
    return pd.DataFrame(rows), best
