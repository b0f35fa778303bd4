"""Simulated studies of two models, in which the true difference is known: what the tests are tried on.

Two nulls, because two questions are asked of a study:

- (a) these two trained models, on new subjects: scores are drawn, nothing is trained;
- (b) these two ways of training, on new training sets: two ridge logistic regressions are refitted in every
  fold. Both see a shared block of features, and each a block of its own. The two blocks are alike in
  distribution, so the two learners are equally good on average, whatever they are fitted to.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from usfmae.evaluation.estimates import Estimate

CLASSES = ["benign", "malignant"]
Floats = np.ndarray
"""float64."""


@dataclass(frozen=True)
class NewSubjects:
    """Null (a). A frame's score is skill x label + what both models share + what is the model's own.

    `frames` is the mean number of frames a subject (1 to 2 x frames - 1, at random). All of a subject's
    frames have one label unless `mixed`; `malignant` is the share of subjects with the second. `own_share` is
    the share of a model's own variance that its subject decides; with `unlike` it is that of model a, and
    model b has one minus it. With several `folds`, each fold's subjects are judged by a model of their own,
    whose scores are all higher or lower by a normal shift (standard deviation 1); so is its threshold.
    """

    title: str
    subjects: int
    frames: int
    mixed: bool = False
    malignant: float = 0.4
    own_share: float = 0.7
    unlike: bool = False
    folds: int = 1

    def study(self, rng: np.random.Generator, effect: float = 0.0) -> tuple[Estimate, Estimate]:
        """Two models whose true areas under the curve differ by about `effect`; their mean is about 0.84."""
        counts = rng.integers(1, 2 * self.frames, self.subjects)
        owners = np.repeat(np.arange(self.subjects), counts)
        place = rng.permutation(self.subjects)  # the first are malignant; folds take turns, so by class
        labels = (place < round(self.malignant * self.subjects)).astype(int)[owners]
        fold = (place % self.folds)[owners]
        if self.mixed:
            labels = np.where(rng.random(len(owners)) < 0.3, 1 - labels, labels)
        shared = np.sqrt(0.3) * rng.normal(size=self.subjects)[owners]
        shared = shared + np.sqrt(0.2) * rng.normal(size=len(owners))
        models = []
        for number, sign in enumerate((0.5, -0.5)):
            share = 1 - self.own_share if self.unlike and number else self.own_share
            own = np.sqrt(0.5 * share) * rng.normal(size=self.subjects)[owners]
            own = own + np.sqrt(0.5 * (1 - share)) * rng.normal(size=len(owners))
            skill = np.sqrt(2) * stats.norm.ppf(0.84 + sign * effect)  # the variances add up to 1
            scores = skill * (labels - 0.5) + shared + own
            shift = rng.normal(size=self.folds)[fold] if self.folds > 1 else np.zeros(len(owners))
            models.append(estimate(scores + shift, labels, owners, fold, shift))
        return models[0], models[1]


@dataclass(frozen=True)
class NewTrainingSets:
    """Null (b): `folds` folds over `subjects` subjects of 1 to 5 frames; `seeds` fits a fold.

    Each learner sees `features` features of its own and as many shared ones; a seed draws a bootstrap sample
    of the training frames. `ridge` is the penalty of the logistic regression: a small one makes the learner
    depend more on its training set.
    """

    title: str
    subjects: int
    folds: int
    seeds: int = 5
    features: int = 5
    ridge: float = 1.0

    def study(self, rng: np.random.Generator, effect: float = 0.0) -> Study:
        """`effect` is how much more signal learner a's own block has, as a share of the block's signal."""
        counts = rng.integers(1, 6, self.subjects)
        owners = np.repeat(np.arange(self.subjects), counts)
        malignant = rng.permutation(np.arange(self.subjects) % 2)
        fold = np.empty(self.subjects, dtype=int)
        for label in (0, 1):
            of_label = rng.permutation(np.flatnonzero(malignant == label))
            fold[of_label] = np.arange(len(of_label)) % self.folds
        labels, fold = malignant[owners], fold[owners]

        def block(signal: float) -> Floats:
            centre = signal / np.sqrt(self.features) * (labels[:, None] - 0.5)
            noise = rng.normal(size=(self.subjects, self.features))[owners]
            return centre + np.sqrt(0.5) * (noise + rng.normal(size=(len(owners), self.features)))

        shared, first, second = block(0.8), block(1.2 * (1 + effect)), block(1.2)
        tests = fold == np.arange(self.folds)[:, None]  # (J, N)
        evenly = np.full(len(owners), 1 / len(owners))
        drawn = rng.multinomial(len(owners), evenly, size=self.seeds)  # a bootstrap sample a seed
        probabilities = []
        for own in (first, second):
            inputs = np.column_stack([np.ones(len(owners)), shared, own])
            weights = (drawn[:, None] * ~tests).reshape(-1, len(owners)).astype(float)  # (seeds * J, N)
            fitted = logistic(inputs, labels, weights, self.ridge).reshape(self.seeds, self.folds, -1)
            found = 1 / (1 + np.exp(-fitted @ inputs.T))  # (seeds, J, N)
            probabilities.append(
                (found * tests).sum(axis=1)
            )  # each frame by the fold that did not train on it
        a, b = (
            estimate(special.logit(p.clip(1e-12, 1 - 1e-12)), labels, owners, fold, np.zeros(len(owners)))
            for p in probabilities
        )
        return Study(a, b, tests)


@dataclass(frozen=True)
class Study:
    """The pooled test frames of both learners, `(seeds, N)` predictions each, and which fold tested which."""

    a: Estimate
    b: Estimate
    tests: np.ndarray  # bool (J, N)


def logistic(inputs: Floats, labels: np.ndarray, weights: Floats, ridge: float) -> Floats:
    """Coefficients `(K, P)` of K ridge logistic regressions with frame weights `(K, N)`, by Newton's method.

    `inputs (N, P)` begin with the intercept, which is not penalised. Six steps from zero: with these few
    features more steps change the fourth decimal.
    """
    n_features = inputs.shape[1]
    penalty = ridge * np.diag(np.r_[1e-6, np.ones(n_features - 1)])
    outer = (inputs[:, :, None] * inputs[:, None, :]).reshape(len(inputs), -1)  # (N, P * P)
    found = np.zeros((len(weights), n_features))
    for _ in range(6):
        likely = 1 / (1 + np.exp(-found @ inputs.T))  # (K, N)
        slope = (weights * (labels - likely)) @ inputs - found @ penalty
        bend = ((weights * likely * (1 - likely)) @ outer).reshape(-1, n_features, n_features) + penalty
        found = found + np.linalg.solve(bend, slope[:, :, None])[:, :, 0]
    return found


def estimate(
    scores: Floats, labels: np.ndarray, owners: np.ndarray, folds: np.ndarray, thresholds: Floats
) -> Estimate:
    """An `Estimate` of logits `(N,)` or `(R, N)`, judged by the models of `folds (N,)`; malignant is
    predicted from `thresholds (N,)` on."""
    logits = np.atleast_2d(scores)
    probability = 1 / (1 + np.exp(-logits))
    return Estimate(
        model="",
        role="test",
        name="pooled",
        classes=CLASSES,
        positive=None,
        frame_ids=np.arange(len(labels)).astype(str),
        labels=labels,
        subjects=owners.astype(str),
        probabilities=np.stack([1 - probability, probability], axis=-1),
        predicted=(logits >= thresholds).astype(int),
        folds=folds if len(np.unique(folds)) > 1 else None,
    )
