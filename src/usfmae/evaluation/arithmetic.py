"""What published figures allow by arithmetic alone: no data, no training, and each can be checked by hand."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import pandas as pd

from usfmae.evaluation.comparison.signed_rank import smallest_p
from usfmae.settings import Settings

#: Folds of the hygroma paper (arXiv 2512.22730, abstract: means of 4 folds), whatever our task has.
HYGROMA_FOLDS = 4
COLUMNS = ["check", "claims", "published", "computed", "means"]


@dataclass(frozen=True)
class Fit:
    """A number of pairs that can give a published p of the Wilcoxon signed-rank test."""

    n: int
    method: str
    statistic: float
    p: float


def signed_rank_tail(n: int) -> np.ndarray:
    """P(W ≤ w) for w = 0 to n(n + 1)/2, of one rank sum of n pairs without ties: the exact one-sided p."""
    ways = np.ones(1)
    for rank in range(1, n + 1):  # each rank goes to one side or the other
        longer = np.zeros(len(ways) + rank)
        longer[: len(ways)] += ways
        longer[rank:] += ways
        ways = longer
    return np.cumsum(ways) / 2.0**n


def wilcoxon_fits(p: float, rounding: float, pairs: Iterable[int]) -> Iterator[Fit]:
    """The numbers of `pairs` with a statistic whose p is `p` as printed, by each common way to compute it.

    Exact: W a whole number. Normal approximation, with and without continuity correction: W in halves too, as
    ties give it (the variance is that without ties). One-sided p are half of the two-sided.
    """
    for n in pairs:
        middle, spread = n * (n + 1) / 4, math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        tail = signed_rank_tail(n)
        for sides in (2, 1):
            found: list[tuple[str, float, float]] = [
                ("exact", w, min(1.0, sides * tail[w])) for w in range(math.floor(middle) + 1)
            ]
            for name, shift in (("with", 0.5), ("without", 0.0)):
                method = f"normal approximation {name} continuity correction"
                for w in np.arange(0, middle - shift + 0.25, 0.5):
                    z = (middle - w - shift) / spread
                    found.append((method, float(w), sides / 2 * math.erfc(z / math.sqrt(2))))
            for method, statistic, value in found:
                if abs(value - p) <= rounding / 2 * (1 + 1e-9):
                    ties = ", with ties" if statistic % 1 else ""
                    side = "two" if sides == 2 else "one"
                    yield Fit(n, f"{method}, {side}-sided{ties}", float(statistic), value)


def sizes_for(accuracies: Iterable[float], rounding: float, sizes: Iterable[int]) -> list[int]:
    """Sizes of a test part of which every accuracy (in %) is a whole number of frames, as it was rounded."""
    values = list(accuracies)

    def fits(n: int) -> bool:
        return all(
            abs(100 * round(value * n / 100) / n - value) <= rounding / 2 * (1 + 1e-9) for value in values
        )

    return [n for n in sizes if fits(n)]


def score_pairs(gain: float, rounding: float) -> list[tuple[float, float]]:
    """Pairs of two-decimal scores (baseline, model) up to 1 whose relative gain in % is printed as `gain`."""
    return [
        (low / 100, high / 100)
        for low in range(1, 100)
        for high in range(low + 1, 101)
        if abs(100 * (high - low) / low - gain) <= rounding / 2 * (1 + 1e-9)
    ]


def simplest_ratio(pairs: list[tuple[float, float]]) -> Fraction:
    """The gain of the pairs with the smallest denominator."""
    gains = [Fraction(round(100 * b) - round(100 * a), round(100 * a)) for a, b in pairs]
    return min(gains, key=lambda gain: gain.denominator)


def reachable_gains(rounding: float, most: float = 50.0) -> float:
    """Share of all gains from 0 to `most` % that some pair of two-decimal scores has: what a fit is worth."""
    gains = {
        round(100 * (high - low) / low / rounding) for low in range(1, 100) for high in range(low + 1, 101)
    }
    steps = round(most / rounding)
    return len({gain for gain in gains if 0 < gain <= steps}) / steps


def whole_image_share(
    area: tuple[float, float], ratio: tuple[float, float], side: int = 224, draws: int = 200_000
) -> tuple[float, float]:
    """Of torchvision's RandomResizedCrop of a square: the share of samples in which all ten tries fail, so
    that the whole image is taken, and the mean area of the crops that do not. By simulation, seed 0."""
    generator = np.random.default_rng(0)
    target = side**2 * generator.uniform(*area, draws)
    aspect = np.exp(generator.uniform(math.log(ratio[0]), math.log(ratio[1]), draws))
    width, height = np.rint(np.sqrt(target * aspect)), np.rint(np.sqrt(target / aspect))
    fits = (width <= side) & (height <= side)
    return float((1 - fits.mean()) ** 10), float((width * height)[fits].mean() / side**2)


def arithmetic(settings: Settings) -> pd.DataFrame:
    """The columns of `arithmetic.csv`: a row a check of the claims, registry and recipes at hand."""
    found = [*_wilcoxon(settings), *_test_sizes(settings), *_averaging(settings), *_gains(settings)]
    found += [*_evaluation_images(settings), *_learning_rate(settings), *_crops(settings)]
    return pd.DataFrame(found, columns=COLUMNS)


def _wilcoxon(settings: Settings) -> Iterator[tuple[str, str, str, str, str]]:
    claim = settings.claims.get("hygroma_wilcoxon")
    if claim is None or claim.published is None:
        return
    folds = HYGROMA_FOLDS
    fits = list(wilcoxon_fits(claim.published, claim.rounding, range(3, 41)))
    named = {
        folds: "the folds alone",
        4 * folds: f"{folds} folds x 4 metrics",
        5 * folds: f"{folds} folds x 5 seeds",
    }
    shown = f"p = {claim.published:g}"
    for n, pairs in named.items():
        ways = [f"{fit.method} (W = {fit.statistic:g}, p = {fit.p:.5f})" for fit in fits if fit.n == n]
        least = smallest_p(n)
        computed = (
            f"{n} pairs: {'; '.join(ways) or 'no statistic gives it'}. Smallest exact two-sided p {least:.4g}"
        )
        means = f"{pairs} can give it" if ways else f"{pairs} cannot give it"
        yield f"Wilcoxon, {n} pairs", "hygroma_wilcoxon", shown, computed, means
    by_method: dict[str, list[str]] = {}
    for fit in fits:
        numbers = by_method.setdefault(fit.method, [])
        if str(fit.n) not in numbers:
            numbers.append(str(fit.n))
    computed = "; ".join(f"{method}: {', '.join(numbers)}" for method, numbers in by_method.items())
    yield (
        "Wilcoxon, numbers of pairs from 3 to 40 that fit",
        "hygroma_wilcoxon",
        shown,
        computed,
        "what was paired is not told; pairs of metrics or seeds of the same folds are not independent",
    )


def _test_sizes(settings: Settings) -> Iterator[tuple[str, str, str, str, str]]:
    accuracy, gain = settings.claims.get("heart_accuracy"), settings.claims.get("heart_gain_accuracy")
    total = settings.claims.get("heart_images")
    if not (accuracy and gain and total and accuracy.published and gain.published and total.published):
        return
    baseline = round(accuracy.published - gain.published, 2)
    sizes = sizes_for([accuracy.published, baseline], accuracy.rounding, range(300, 2017))
    shares = {share: round(total.published * share / 100) for share in (10, 15, 20, 25, 30)}
    whole = [f"{share} % ({n:,})" for share, n in shares.items() if n in sizes]
    yield (
        "Size of the test part, 300 to 2,016",
        "heart_accuracy, heart_gain_accuracy",
        f"{accuracy.published:.2f} % and {baseline:.2f} % (if the gain is in points)",
        f"{len(sizes)} sizes fit: {', '.join(map(str, sizes))}",
        f"the official test part of 1,379 {'fits' if 1379 in sizes else 'does not'}; of the simple shares "
        f"of {total.published:,.0f} (10, 15, 20, 25, 30 %) {', '.join(whole) or 'none'} fits",
    )


def _averaging(settings: Settings) -> Iterator[tuple[str, str, str, str, str]]:
    names = ("heart_accuracy", "heart_recall", "heart_precision")
    values = [settings.claims[name].published for name in names if name in settings.claims]
    if len(values) < 3 or None in values:
        return
    accuracy, recall, precision = values
    same, micro = recall == accuracy, precision == accuracy
    means = "the averaging cannot be told"
    if same and not micro:
        means = "recall weighted by support is accuracy; micro-averaged precision would be too, so: weighted"
    yield (
        "Averaging of precision, recall and F1",
        ", ".join(names),
        f"accuracy {accuracy} %, recall {recall} %, precision {precision} %",
        f"recall {'=' if same else '≠'} accuracy, precision {'=' if micro else '≠'} accuracy",
        means,
    )


def _gains(settings: Settings) -> Iterator[tuple[str, str, str, str, str]]:
    for name, claim in settings.claims.items():
        if claim.kind != "difference" or claim.paper != "renal" or claim.published is None:
            continue
        pairs = score_pairs(claim.published, claim.rounding)
        computed = "no two scores of two decimals have this relative gain"
        means = "if relative, the scores behind it had more than two decimals"
        if pairs:
            ratio = simplest_ratio(pairs)
            shown = ", ".join(f"{a:.2f} to {b:.2f}" for a, b in pairs[-3:])
            computed = (
                f"{len(pairs)} pairs of two-decimal scores, the simplest ratio {ratio}; such as {shown}"
            )
            share = reachable_gains(claim.rounding)
            means = (
                f"may be relative; {share:.0%} of all gains up to 50 % printed this finely have such a pair"
            )
        yield "A gain read as relative", name, f"{claim.published:g} %", computed, means


def _evaluation_images(settings: Settings) -> Iterator[tuple[str, str, str, str, str]]:
    claim = settings.claims.get("usf_mae_evaluation_images")
    names = ("bus_bra", "mmotu_2d", "gist514")
    counts = [settings.datasets[name].counts.files for name in names if name in settings.datasets]
    if claim is None or claim.published is None or len(counts) < len(names):
        return
    known = [count for count in counts if count is not None]
    total = sum(known)
    yield (
        "Images of the three evaluation datasets",
        "usf_mae_evaluation_images",
        f"{claim.published:,.0f}",
        f"{' + '.join(f'{count:,}' for count in known)} = {total:,}",
        f"BUS-BRA, MMOTU-2D and GIST514-DB have {total / claim.published:.0%} of the published number",
    )


def _learning_rate(settings: Settings) -> Iterator[tuple[str, str, str, str, str]]:
    recipe = settings.recipes.pretrain.get("usfmae_published")
    if recipe is None or recipe.grid is None or recipe.training.learning_rate_for is None:
        return
    scaled, batch = recipe.training.learning_rate_for, recipe.training.batch_size
    rates = ", ".join(f"{rate:g} becomes {rate * scaled / 256:g}" for rate in recipe.grid.learning_rate)
    yield (
        "Learning rate of pretraining",
        "",
        f"scaled for {scaled}, batch {batch}",
        f"{rates}; by the batch it would be {batch / scaled:g} times that",
        f"the rate is {scaled / batch:g} times that of its own linear rule",
    )


def _crops(settings: Settings) -> Iterator[tuple[str, str, str, str, str]]:
    recipe = settings.recipes.pretrain.get("usfmae_published")
    if recipe is None:
        return
    augmentation = recipe.augmentation
    whole, area = whole_image_share(augmentation.crop_area, augmentation.crop_ratio)
    low, high = augmentation.crop_area
    yield (
        "Random crops of pretraining",
        "",
        f"area of {low:g} to {high:g} of the image",
        f"an area above 1 never fits: {whole:.1%} of the samples are the whole image, the mean area of the "
        f"others is {area:.0%} of it",
        "a scale above 1 acts as one up to 1, with the whole image now and then",
    )
