"""The ledger of claims: published, ours, interval, n, audit, and a verdict of every claim by a fixed rule."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from usfmae.evaluation import verdict
from usfmae.evaluation.answers import OPENUS46, Answer, Answers
from usfmae.evaluation.comparison.result import holm
from usfmae.evaluation.verdict import DIFFERS, NOT_TESTED, Value, Verdict
from usfmae.settings import Settings
from usfmae.settings.claims import Claim

ARMS = ("published", "corrected")
POINTING = "pointing game"

_TRAINED = ("task", "corpus", "recipe", "model", "baseline")
_OURS = (*_TRAINED, "value", "lower", "upper", "estimate", "n_frames", "n_subjects", "n_folds")
COLUMNS = [
    *(
        "claim",
        "paper",
        "section",
        "kind",
        "says",
        "task",
        "part",
        "model",
        "baselines",
        "metric",
        "averaging",
    ),
    *("published", "unit", "protocol", "protocol_note", "settled_by", "data", "needs"),
    *("seen", "seen_because", "audit"),
    *(f"{name}_{arm}" for arm in ARMS for name in _OURS),
    *("verdict", "reason", "verdict_corrected", "reason_corrected"),
]
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """What one arm says of one metric of a claim; `answer` is None where there is nothing of ours."""

    verdict: Verdict
    answer: Answer | None = None
    model: str | None = None
    baseline: str | None = None
    task: str | None = None


def ledger(settings: Settings, results: Path) -> pd.DataFrame:
    """The columns of `claims.csv`: a row a claim and metric; the verdict is the claim's, the same in all.

    `verdict` is that of the published arm; `verdict_corrected` is the same rule on the corrected arm. Values
    of ours lie in 0 to 1, counts are numbers, `published` is as printed, in `unit`.
    """
    answers = Answers(settings, results)
    rows = [row for key, claim in settings.claims.items() for row in _rows(key, claim, answers)]
    return pd.DataFrame(rows, columns=COLUMNS)


def _rows(key: str, claim: Claim, answers: Answers) -> list[dict[str, Any]]:
    names = claim.metrics or [""]
    found = {arm: {name: _find(claim, name, arm, answers) for name in names} for arm in ARMS}
    said = {
        arm: verdict.together(
            {name: each.verdict for name, each in by_metric.items()},
            candidates=claim.averaging == "unknown",
        )
        for arm, by_metric in found.items()
    }
    fields = claim.model_dump()
    common = {name: fields[name] for name in COLUMNS if name in fields} | {
        "claim": key,
        "part": claim.part or UNKNOWN,
        "baselines": ", ".join(claim.baselines),
        "needs": _needs(claim, answers),
        "seen": claim.seen or ("no test images" if claim.task is None else UNKNOWN),
        "audit": answers.audit(claim.task) if claim.task else "no test images",
        "verdict": said["published"].verdict,
        "reason": said["published"].reason,
        "verdict_corrected": said["corrected"].verdict,
        "reason_corrected": said["corrected"].reason,
    }
    rows = []
    for name in names:
        row = {**common, "metric": name or None}
        for arm in ARMS:
            columns = _ours(found[arm][name], answers.settings)
            row |= {f"{column}_{arm}": value for column, value in columns.items()}
        rows.append(row)
    return rows


def _ours(found: Finding, settings: Settings) -> dict[str, Any]:
    """What was trained, on what and how, and its value; a column that does not apply is None."""
    columns: dict[str, Any] = dict.fromkeys(_OURS)
    columns |= {"task": found.task, "model": found.model, "baseline": found.baseline}
    if found.task and found.model:
        recipes = [settings.recipe_of(name) for name in (found.model, found.baseline) if name]
        columns["recipe"] = " and ".join(dict.fromkeys(recipes))
        columns["corpus"] = settings.tasks[found.task].corpus
    if found.answer is not None:
        value = found.answer.value
        columns |= {"value": value.value, "lower": value.lower, "upper": value.upper}
        columns |= {
            name: getattr(found.answer, name) for name in ("estimate", "n_frames", "n_subjects", "n_folds")
        }
    return columns


def _needs(claim: Claim, answers: Answers) -> str:
    """The data, and what each model of the claim needs."""
    claimed = answers.settings.claimed_models
    names = [claim.model, *claim.baselines] if claim.task and not claim.incomparable else []
    return "; ".join([claim.needs, *(claimed[name].needs for name in names if name)])


def _find(claim: Claim, metric: str, arm: str, answers: Answers) -> Finding:
    """The rule of docs/claims.md, in its order."""
    if claim.incomparable is not None:
        return _untested(claim.incomparable)
    if claim.kind == "count":
        return _count(claim, answers)
    task = claim.task_of(arm)
    if task is None or claim.model is None:
        return _untested("the workflow has no task or model for it")
    closed = _closed(claim, task, answers)
    if closed:
        return _untested(closed)
    models, missing = _models(claim, task, arm, answers)
    if claim.model not in models:
        return _untested("; ".join(missing.values()))
    found = _test(claim, task, metric, models, missing, answers)
    said = [found.verdict.reason]
    if found.answer is not None and found.answer.caution:
        said.append(found.answer.caution)
    if found.verdict.verdict == DIFFERS and claim.protocol == "unknown":
        said.append("the paper's protocol is not known and may be why")
    return replace(found, verdict=Verdict(found.verdict.verdict, "; ".join(said)), task=task)


def _closed(claim: Claim, task: str, answers: Answers) -> str:
    """Why the task answers nothing; empty where it can."""
    reason = answers.no_task(task) or ""
    private = reason and reason != "simulated data" and claim.data == "private"
    return f"the images are private ({reason})" if private else reason


def _models(claim: Claim, task: str, arm: str, answers: Answers) -> tuple[dict[str, str], dict[str, str]]:
    """Of the claim's model and baselines: the entry that answers, and why there is none."""
    there, missing = {}, {}
    for name in filter(None, [claim.model, *claim.baselines]):
        entry, reason = answers.entry(answers.settings.claimed_models[name], arm, task)
        if entry is None:
            missing[name] = reason
        else:
            there[name] = entry
    return there, missing


def _test(
    claim: Claim, task: str, metric: str, models: dict[str, str], missing: dict[str, str], answers: Answers
) -> Finding:
    model = models[str(claim.model)]
    if claim.kind == "qualitative":
        return _maps(claim, task, model, answers)
    if claim.kind == "figure":
        ours = answers.value(task, model, metric, claim.part)
        if isinstance(ours, str):
            return _untested(ours, model)
        printed = claim.share(claim.published or 0.0), claim.share(claim.rounding)
        return Finding(verdict.of_figure(*printed, ours.value, _widest(answers)), ours, model)
    if claim.kind == "difference":
        return _gain(claim, task, metric, models, missing, answers)
    return _order(claim, task, metric, models, missing, answers)


def _gain(
    claim: Claim, task: str, metric: str, models: dict[str, str], missing: dict[str, str], answers: Answers
) -> Finding:
    model = models[str(claim.model)]
    if missing:
        return _untested("; ".join(missing.values()), model)
    other = models[claim.baselines[0]]
    ours = answers.difference(task, model, other, metric, claim.part)
    base = answers.value(task, other, metric, claim.part or "cross-validation")
    if isinstance(ours, str) or isinstance(base, str):
        return _untested(str(ours if isinstance(ours, str) else base), model, other)
    printed = claim.share(claim.published or 0.0), claim.share(claim.rounding)
    if claim.unit == "percent or points":
        said = verdict.of_gain(*printed, ours.value, base.value.value, _widest(answers))
    else:
        said = verdict.of_difference(*printed, ours.value, _widest(answers))
    return Finding(said, ours, model, other)


def _order(
    claim: Claim, task: str, metric: str, models: dict[str, str], missing: dict[str, str], answers: Answers
) -> Finding:
    """The row shows the hardest baseline: the one with the smallest difference. Where comparisons.csv has no
    p after Holm's correction, it is that over the baselines of the claim."""
    model, found, reasons = models[str(claim.model)], {}, list(missing.values())
    for name in filter(models.get, claim.baselines):
        ours = answers.difference(task, model, models[name], metric, claim.part)
        if isinstance(ours, str):
            reasons.append(ours)
        else:
            found[models[name]] = ours
    gone = list(dict.fromkeys(reasons))
    if not found:
        return _untested("; ".join(gone), model)
    hardest = min(found, key=lambda name: found[name].value.value)
    if claim.direction == "close":
        said = verdict.of_closeness(found[hardest].value, answers.settings.verdicts.close)
    else:
        said = verdict.of_order(
            corrected_over_baselines({name: each.value for name, each in found.items()}), gone
        )
    return Finding(said, found[hardest], model, hardest)


def corrected_over_baselines(values: dict[str, Value]) -> dict[str, Value]:
    """The differences by baseline, with Holm's p over those that were made here and so have none."""
    bare = {name: each.p for name, each in values.items() if math.isnan(each.p_holm)}
    adjusted = dict(zip(bare, holm(list(bare.values())), strict=True))
    return values | {name: replace(values[name], p_holm=float(p)) for name, p in adjusted.items()}


def _count(claim: Claim, answers: Answers) -> Finding:
    published = claim.published or 0.0
    ours: float | None = None
    if claim.counted in ("datasets of OpenUS-46", "frames of OpenUS-46"):
        corpora = [answers.openus46(name) for name in answers.settings.study_corpora()]
        at_hand, frames = max(corpora, default=(0, 0))
        ours = at_hand if claim.counted == "datasets of OpenUS-46" else frames
        missing = "" if at_hand == OPENUS46 else f"data missing: {at_hand} of {OPENUS46} datasets at hand"
    elif claim.task is not None:
        ours, missing = answers.frames(claim.task), _closed(claim, claim.task, answers)
    if missing or ours is None:
        return _untested(missing or "not counted")
    said = verdict.of_count(published, claim.rounding, ours, more_than=claim.more_than)
    counted = Value(float(ours), math.nan, math.nan)
    return Finding(said, Answer(counted, claim.counted or ""))


def _maps(claim: Claim, task: str, model: str, answers: Answers) -> Finding:
    """The paired verdict of faithfulness.csv, of a task whose masks outline what the claim is about."""
    if answers.settings.tasks[task].outlines != claim.outlined:
        return _untested(f"the task {task} does not say that its masks outline {claim.outlined}", model)
    measures = answers.table("explain", task, model, "faithfulness.csv")
    rows = None
    if measures is not None:
        rows = measures[(measures["method"] == "score_cam") & (measures["measure"] == POINTING)]
    if rows is None or rows.empty:
        return _untested(
            f"not run: no Score-CAM maps of {model} on frames with masks of {claim.outlined}", model
        )
    row = rows.iloc[0]
    value = Value(float(row["value"]), float(row["lower"]), float(row["upper"]))
    said = verdict.of_maps(str(row["verdict"]), value.value, float(row["baseline"]))
    subjects = None if pd.isna(row["n_subjects"]) else int(row["n_subjects"])
    return Finding(said, Answer(value, POINTING, int(row["n_frames"]), subjects, 1), model)


def _untested(reason: str, model: str | None = None, baseline: str | None = None) -> Finding:
    return Finding(Verdict(NOT_TESTED, reason), None, model, baseline)


def _widest(answers: Answers) -> float:
    return answers.settings.verdicts.widest_interval
