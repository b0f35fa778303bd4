"""Does a map show what the model looks at? Every measure of every explained frame, and a verdict a measure.

A map is good to look at whether or not it is true, so each measure stands beside the same measure of a
Gaussian blob in the image's middle, where most ultrasound findings lie anyway.
"""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from usfmae.evaluation.intervals import cluster_bootstrap, expanded, percentile_interval
from usfmae.explain import localisation, perturbation
from usfmae.explain.perturbation import Predict
from usfmae.explain.road import road

CORRELATION = "rank correlation with a randomised model"
RELATION = "energy inside and probability of the label"
LOCATED = ["pointing game", "energy inside the mask", "IoU at 0.5"]
#: Measure -> (1: high is good, -1: low is good, 0: neither; how to read it).
MEASURES = {
    "pointing game": (1, "share of frames whose highest point lies in the mask; 1 is best"),
    "energy inside the mask": (1, "share of the map's sum that lies in the mask; 1 is best"),
    "IoU at 0.5": (1, "overlap of the mask with the map at 0.5 or more; 1 is best"),
    "deletion AUC": (-1, "probability while the highest pixels are removed first; low is good"),
    "insertion AUC": (1, "probability while the highest pixels are sharpened first; high is good"),
    "ROAD": (1, "loss by imputing the highest pixels over that by imputing the lowest, halved; high is good"),
    "confidence drop": (-1, "relative loss of probability when only the map's part is kept; low is good"),
    "confidence increase": (1, "share of frames whose map's part alone scores higher; high is good"),
    CORRELATION: (0, "1: the map needs nothing that was learned; near 0 is good"),
    RELATION: (0, "rank correlation over frames: above 0, well-placed maps go with right answers"),
}
#: A randomised model's map is another one where the interval lies inside plus and minus this.
ALIKE = 0.5
#: No verdict with fewer: of skewed values, an interval over 20 subjects misses the truth too often.
FEWEST_SUBJECTS = 40
COLUMNS = ["method", "measure", "value", "lower", "upper", "n_frames", "n_subjects", "baseline"]
COLUMNS += ["verdict", "note"]
GAUSSIAN = "centred_gaussian"

Curves = dict[str, np.ndarray]
"""`deletion` and `insertion`: the target's probability (N, steps + 1)."""


def measure(
    predict: Predict,
    images: Tensor,
    maps: np.ndarray,
    masks: np.ndarray,
    targets: Tensor,
    *,
    seed: int,
    baseline: Tensor | float = 0.0,
) -> tuple[pd.DataFrame, Curves]:
    """A row a frame and a column a measure (all of `MEASURES` but the last two), and the curves behind them.

    `images` (N, C, H, W) normalised, `maps` (N, H, W) from 0 to 1, `masks` (N, H, W) of 0 and 1 (all 0: no
    mask, and NaN where a measure needs one), `targets` (N,). `baseline` as in `score_cam`.
    """
    outlined = masks.any(axis=(1, 2))  # (N,)
    tensor = torch.from_numpy(np.ascontiguousarray(maps, dtype=np.float32)).to(images.device)
    curves = {
        "deletion": perturbation.deletion_curve(predict, images, tensor, targets, baseline=baseline),
        "insertion": perturbation.insertion_curve(predict, images, tensor, targets),
    }
    kept = perturbation.kept_by_map(predict, images, tensor, targets, baseline=baseline)
    located = (
        localisation.pointing_game(maps, masks),
        localisation.energy_inside(maps, masks),
        localisation.intersection_over_union(maps, masks),
    )
    values = {name: np.where(outlined, v, np.nan) for name, v in zip(LOCATED, located, strict=True)}
    values["deletion AUC"] = perturbation.area(curves["deletion"])
    values["insertion AUC"] = perturbation.area(curves["insertion"])
    values["ROAD"] = road(predict, images, tensor, targets, seed=seed)
    values["confidence drop"] = perturbation.confidence_drop(*kept)
    values["confidence increase"] = perturbation.confidence_increase(*kept)
    return pd.DataFrame(values), curves


def rank_correlation(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Spearman's correlation over the pixels of two maps (N, H, W): (N,); NaN where one is constant."""
    a, b = (rankdata(m.reshape(len(m), -1), axis=1) for m in (maps, others))  # (N, H * W)
    a, b = a - a.mean(axis=1, keepdims=True), b - b.mean(axis=1, keepdims=True)
    size = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return localisation.ratio((a * b).sum(axis=1), size, empty=np.nan)


def randomised(model: nn.Module, seed: int) -> nn.Module:
    """A copy whose every weight tensor is shuffled in itself: nothing is left of what was learned.

    The full model randomisation test of Adebayo et al. 2018 (arXiv 1810.03292); shuffling instead of a
    new initialisation keeps each tensor's distribution and needs no rule for each architecture.
    """
    copied = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in copied.parameters():
            order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
            weight.copy_(weight.flatten()[order].view_as(weight))
    return copied


def faithfulness_table(
    method: str, ours: pd.DataFrame, reference: pd.DataFrame, frames: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """All measures of one method's maps, rows with `COLUMNS`.

    `ours` and `reference` come from `measure`, of the method's maps and of `centred_gaussian`, both with a
    column `CORRELATION` beside (of `reference`: of the blob with our maps). `frames` has `subject` and
    `probability_of_label`, a row a frame in the same order. `value` is the mean over frames, or for
    `RELATION` Spearman's correlation, `lower` and `upper` its 95 % interval over subjects, `baseline` the
    same of the blob. `verdict` says on which side of the blob the interval of the paired difference lies;
    of the randomised model, on which side of `ALIKE`; with fewer than `FEWEST_SUBJECTS` it says nothing. It
    corrects for no number of verdicts.
    """
    subjects = frames["subject"].to_numpy(dtype=str)
    rows = []
    for name in (*ours.columns.drop(CORRELATION), CORRELATION):
        values, blob = ours[name].to_numpy(dtype=float), reference[name].to_numpy(dtype=float)
        known = np.isfinite(values)
        lower, upper = subject_interval(values[known], subjects[known], seed)
        if name == CORRELATION:
            verdict = _sanity(lower, upper)
        else:
            better = MEASURES[name][0] * (values - blob)[known]
            verdict = _against_blob(*subject_interval(better, subjects[known], seed))
        rows.append([name, _mean(values), lower, upper, known, _mean(blob), verdict])
    label = frames["probability_of_label"].to_numpy(dtype=float)
    inside, known = ours["energy inside the mask"].to_numpy(dtype=float), ours[LOCATED[1]].notna().to_numpy()
    value, lower, upper = _relation(inside[known], label[known], subjects[known], seed)
    verdict = "related" if lower > 0 or upper < 0 else "unclear"
    rows.append([RELATION, value, lower, upper, known, np.nan, verdict])
    table = []
    for name, value, lower, upper, known, blob, verdict in rows:
        n = len(np.unique(subjects[known]))
        told = "too few subjects" if n < FEWEST_SUBJECTS else verdict
        table.append([method, name, value, lower, upper, known.sum(), n, blob, told, MEASURES[name][1]])
    return pd.DataFrame(table, columns=COLUMNS)


def not_applicable(method: str, why: str) -> pd.DataFrame:
    """One row without figures, with `COLUMNS`: the method's maps do not exist."""
    return pd.DataFrame([{"method": method, "note": f"not applicable: {why}"}], columns=COLUMNS)


def subject_interval(
    values: np.ndarray, subjects: np.ndarray, seed: int, resamples: int = 2000
) -> tuple[float, float]:
    """95 % interval of the mean of frame values (n,): percentiles, expanded for few subjects, of resamples of
    the subjects with all their frames.

    NaN, NaN with fewer than two subjects: nothing says how subjects differ.
    """
    n_subjects = len(np.unique(subjects))
    if n_subjects < 2:
        return np.nan, np.nan
    draws = cluster_bootstrap(
        lambda weights: (weights @ values / weights.sum(axis=1))[:, None],
        subjects,
        resamples=resamples,
        seed=seed,
    )
    lower, upper = percentile_interval(draws, expanded(n_subjects))
    return float(lower[0]), float(upper[0])


def _relation(
    a: np.ndarray, b: np.ndarray, subjects: np.ndarray, seed: int, resamples: int = 1000
) -> tuple[float, float, float]:
    """Spearman's correlation of two values of frames (n,) and its interval, as `subject_interval`; NaN where
    one of them does not vary."""

    def of(rows: np.ndarray) -> float:
        varies = len(rows) > 2 and np.ptp(a[rows]) > 0 and np.ptp(b[rows]) > 0
        return float(np.corrcoef(rankdata(a[rows]), rankdata(b[rows]))[0, 1]) if varies else np.nan

    names, owner = np.unique(subjects, return_inverse=True)
    frames_of = [np.flatnonzero(owner == number) for number in range(len(names))]
    value = of(np.arange(len(a)))
    if np.isnan(value) or len(names) < 2:
        return value, np.nan, np.nan
    drawn = np.random.default_rng(seed).integers(len(names), size=(resamples, len(names)))
    repeats = [[of(np.concatenate([frames_of[subject] for subject in each]))] for each in drawn]
    lower, upper = percentile_interval(np.array(repeats), expanded(len(names)))
    return value, float(lower[0]), float(upper[0])


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else np.nan


def _against_blob(lower: float, upper: float) -> str:
    return "better than the blob" if lower > 0 else "worse than the blob" if upper < 0 else "unclear"


def _sanity(lower: float, upper: float) -> str:
    """Adebayo et al.: maps of a randomised model must differ."""
    if lower > -ALIKE and upper < ALIKE:
        return "passed: the maps differ"
    return "failed: the maps are alike" if lower > ALIKE or upper < -ALIKE else "unclear"
