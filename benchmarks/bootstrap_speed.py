"""The cluster bootstrap of all metrics: seconds for 10,000 resamples of 2,000 predictions of 6 models.

    OMP_NUM_THREADS=1 python -m benchmarks.bootstrap_speed                     # 2 and 8 classes
    OMP_NUM_THREADS=1 python -m benchmarks.bootstrap_speed --resamples 500 --peer 20    # on a busy machine

Times are processor seconds. The peer computes the same metrics of each resample with scikit-learn, a resample
at a time, on `--peer` resamples, whose values must agree; its time is scaled up to all resamples and models.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import numpy as np
from sklearn import metrics as theirs

from benchmarks.measure import machine, table
from usfmae.evaluation.estimates import Estimate
from usfmae.evaluation.intervals import cluster_bootstrap

FOLDS = 5


def models(n_models: int, frames: int, subjects: int, n_classes: int) -> list[Estimate]:
    """Simulated predictions of models of one skill on the same frames, in folds of subjects."""
    rng = np.random.default_rng(0)
    owners = np.sort(rng.integers(subjects, size=frames))
    labels = rng.integers(n_classes, size=frames)
    classes = [f"class {c}" for c in range(n_classes)]
    found = []
    for number in range(n_models):
        logits = rng.normal(size=(1, frames, n_classes)) + 1.2 * np.eye(n_classes)[labels]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
        found.append(
            Estimate(
                model=f"model {number}",
                role="test",
                name="pooled",
                classes=classes,
                positive=None,
                frame_ids=np.arange(frames).astype(str),
                labels=labels,
                subjects=owners.astype(str),
                probabilities=probabilities,
                predicted=probabilities.argmax(axis=-1),
                folds=owners % FOLDS,
            )
        )
    return found


def bootstrap(estimate: Estimate, resamples: int) -> np.ndarray:
    """All metrics of each resample, `(resamples, M)`, as the statistics stage draws them."""
    return cluster_bootstrap(
        lambda weights: np.column_stack(list(estimate.metrics(weights).values())),
        estimate.subjects,
        resamples=resamples,
        seed=0,
    )


def one_by_one(estimate: Estimate, resamples: int) -> np.ndarray:
    """Accuracy, balanced accuracy, F1, kappa, area, average precision by scikit-learn, `(resamples, 6)`."""
    y, table, predicted = estimate.labels, estimate.probabilities[0], estimate.predicted[0]
    binary = len(estimate.classes) == 2
    one_hot = np.eye(len(estimate.classes))[y]
    truth, scores = (one_hot[:, 1:], table[:, 1:]) if binary else (one_hot, table)
    rows_of = estimate.ranked_together

    def ranked(metric: Callable[..., float], weight: np.ndarray, pairs: bool) -> float:
        """The mean over classes of the folds' values, each counted by its pairs, or frames of the class."""
        values = []
        for column, of_class in enumerate(truth.T):
            total, count = 0.0, 0.0
            for rows in rows_of:
                drawn, inside = weight[rows], of_class[rows]
                counted = drawn @ inside * (drawn @ (1 - inside) if pairs else 1)
                if counted and drawn @ (1 - inside):
                    total += counted * metric(inside, scores[rows, column], sample_weight=drawn)
                    count += counted
            values.append(total / count)
        return float(np.mean(values))

    def values(weights: np.ndarray) -> np.ndarray:
        rows = []
        for weight in weights:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows.append(
                    [
                        theirs.accuracy_score(y, predicted, sample_weight=weight),
                        theirs.balanced_accuracy_score(y, predicted, sample_weight=weight),
                        theirs.f1_score(y, predicted, average="macro", sample_weight=weight),
                        theirs.cohen_kappa_score(y, predicted, sample_weight=weight),
                        ranked(theirs.roc_auc_score, weight, True),
                        ranked(theirs.average_precision_score, weight, False),
                    ]
                )
        return np.array(rows)

    return cluster_bootstrap(values, estimate.subjects, resamples=resamples, seed=0)


def seconds(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


def compare(
    n_classes: int, resamples: int, peer: int, *, n_models: int, frames: int, subjects: int
) -> list[str]:
    """The table's row of a task with so many classes; `AssertionError` where the two sides disagree."""
    found = models(n_models, frames, subjects, n_classes)
    names = list(found[0].metrics(found[0].ones))
    shared = ["accuracy", "balanced_accuracy", "f1_macro", "kappa", "auc", "average_precision"]
    ours = bootstrap(found[0], peer)[:, [names.index(name) for name in shared]]
    np.testing.assert_allclose(ours, one_by_one(found[0], peer), rtol=1e-9)
    taken = seconds(lambda: [bootstrap(each, resamples) for each in found])
    alone = seconds(lambda: one_by_one(found[0], peer)) / peer * resamples * n_models
    return [
        f"{n_classes} classes, {len(names)} metrics",
        f"{taken:.1f} s",
        f"{taken * 10_000 / resamples:.1f} s",
        f"{alone / taken:,.0f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--models", type=int, default=6)
    parser.add_argument("--frames", type=int, default=2000)
    parser.add_argument("--subjects", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--peer", type=int, default=100, help="resamples that scikit-learn computes")
    arguments = parser.parse_args()
    sizes = {"n_models": arguments.models, "frames": arguments.frames, "subjects": arguments.subjects}
    rows = [compare(n, arguments.resamples, arguments.peer, **sizes) for n in arguments.classes]
    columns = [
        "task",
        f"{arguments.resamples:,} resamples",
        "of 10,000",
        "faster than scikit-learn, 6 metrics",
    ]
    print(
        f"{arguments.models} models, {arguments.frames} frames of {arguments.subjects} subjects in "
        f"{FOLDS} folds, simulated, processor seconds. {machine('numpy', 'scikit-learn')}\n\n"
        f"{table(columns, rows)}"
    )


if __name__ == "__main__":
    main()
