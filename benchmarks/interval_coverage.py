"""How often an interval of a share holds the truth: simulated subjects, each with a rate of right answers.

    python -m benchmarks.interval_coverage --trials 2000

A subject has 1 to 2 x frames - 1 frames, and its rate comes from a beta distribution in which two frames of
one subject correlate by `correlation`. Nothing here is a time, so a busy machine does not matter.
"""

from __future__ import annotations

import argparse

import numpy as np

from benchmarks.measure import table
from usfmae.evaluation.intervals import cluster_bootstrap, percentile_interval, proportion_interval

RESAMPLES = 499
#: Subjects, mean frames a subject, true share, correlation.
STUDIES = [
    (15, 3, 0.9, 0.5),
    (33, 1, 0.95, 0.0),
    (33, 2, 0.95, 0.3),
    (33, 2, 0.8, 0.3),
    (33, 2, 0.8, 0.7),
    (100, 2, 0.95, 0.3),
    (100, 2, 0.8, 0.5),
    (300, 2, 0.9, 0.5),
]


def study(
    rng: np.random.Generator, subjects: int, frames: int, share: float, correlation: float
) -> dict[str, tuple[float, float]]:
    """Both intervals of the share of one simulated study."""
    counts = rng.integers(1, 2 * frames, subjects)
    rates = np.full(subjects, share)
    if correlation:
        spread = 1 / correlation - 1
        rates = rng.beta(share * spread, (1 - share) * spread, subjects)
    owners = np.repeat(np.arange(subjects), counts)
    right = (rng.random(len(owners)) < rates[owners]).astype(np.float64)
    seed = int(rng.integers(2**31))

    def measured(weights: np.ndarray) -> np.ndarray:
        return np.asarray((weights @ right / weights.sum(axis=1))[:, None])

    draws = cluster_bootstrap(measured, owners, resamples=RESAMPLES, seed=seed)
    lower, upper = percentile_interval(draws)
    return {
        "percentiles": (float(lower[0]), float(upper[0])),
        "Wilson's, effective n": proportion_interval(right.mean(), draws[:, 0], len(right), subjects),
    }


def coverage(trials: int, *of: float, seed: int = 0) -> dict[str, tuple[float, float]]:
    """The share of studies whose interval holds the truth, and the mean width, of each kind."""
    rng = np.random.default_rng([seed, *(round(1000 * each) for each in of)])
    subjects, frames, share, correlation = of
    found: dict[str, list[tuple[bool, float]]] = {}
    for _ in range(trials):
        for name, (lower, upper) in study(rng, int(subjects), int(frames), share, correlation).items():
            found.setdefault(name, []).append((lower <= share <= upper, upper - lower))
    return {name: tuple(np.mean(rows, axis=0)) for name, rows in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rows: list[list[str]] = []
    names: list[str] = []
    for of in STUDIES:
        found = coverage(arguments.trials, *of, seed=arguments.seed)
        names = list(found)
        cells = [f"{100 * held:.1f} % ({width:.3f})" for held, width in found.values()]
        rows.append([*map(str, of), *cells])
    print(f"{arguments.trials} studies a row, seed {arguments.seed}; in brackets the mean width\n")
    print(table(["subjects", "frames each", "true share", "correlation", *names], rows))


if __name__ == "__main__":
    main()
