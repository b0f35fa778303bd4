"""What this study has to set against a published claim: whose result counts, its value, n, and the audit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from usfmae.evaluation.comparison.resampled import TEST as CORRECTED_T
from usfmae.evaluation.comparison.resampled import corrected_t
from usfmae.evaluation.comparison.subjects import BOOTSTRAP
from usfmae.evaluation.comparison.validity import not_simulated, objection_over_folds
from usfmae.evaluation.predictions import NOT_RUN, files_as_subjects
from usfmae.evaluation.verdict import Value
from usfmae.record import read_table
from usfmae.settings import Settings
from usfmae.settings.claims import ClaimedModel

NOT_SIMULATED = "the test was not simulated for such data"
THESE_MODELS = "of these trained models"
OPENUS46 = 46


@dataclass(frozen=True)
class Answer:
    """A value of ours, the estimate it is, of how many, and what is to be said beside its verdict."""

    value: Value
    estimate: str
    n_frames: int | None = None
    n_subjects: int | None = None
    n_folds: int | None = None
    caution: str = ""


class Answers:
    """Reads what the stages left in `results/` for the tasks and models of this study."""

    def __init__(self, settings: Settings, results: Path) -> None:
        self.settings, self.study, self.results = settings, settings.study, results

    def table(self, *parts: str) -> pd.DataFrame | None:
        """A CSV or Parquet table below `results/`; None where there is none."""
        return read_table(self.results.joinpath(*parts))

    def no_task(self, task: str) -> str | None:
        """Why a task of this study answers nothing; None where it can."""
        if task not in self.study.tasks:
            return f"not run: the task {task} is not in this study"
        entry = self.settings.tasks[task]
        if self.settings.simulated(entry.datasets):
            return "simulated data"
        gone = self._unavailable(entry.corpus, entry.datasets)
        if gone:
            return f"data missing: {', '.join(gone)}"
        if max(self.study.fractions) < 1:
            return "not run: only shares of the training subjects were used"
        return None if self.table("statistics", task, "summary.csv") is not None else "not run: no result yet"

    def entry(self, claimed: ClaimedModel, arm: str, task: str) -> tuple[str | None, str]:
        """The first model of an arm (`published` or `corrected`) that is what the paper speaks of and has a
        result on the task; else None and why, by model."""
        reasons: dict[str, list[str]] = {}
        for name in getattr(claimed, arm):
            reason = self._not_the_one(claimed, name, task)
            if reason is None:
                return name, ""
            reasons.setdefault(reason, []).append(name)
        why = "; ".join(f"{', '.join(names)} {reason}" for reason, names in reasons.items())
        return None, f"{claimed.title}: {why or f'no model stands for it in the {arm} arm'}"

    def _not_the_one(self, claimed: ClaimedModel, name: str, task: str) -> str | None:
        """Why a model of this study does not answer for the published one; None where it does."""
        settings = self.settings
        if name not in self.study.models:
            return "not in this study"
        model, encoder = settings.models[name], settings.encoder_of(name)
        if model.weights == "scratch":
            return "from scratch, so not the published one"
        if claimed.timm is not None:
            if (model.timm or "").split(".")[0] != claimed.timm:
                return "of another architecture, so not the published one"
        elif encoder is None or (encoder.width, encoder.depth) != (claimed.width, claimed.depth):
            shape = f"{encoder.width} wide and {encoder.depth} deep" if encoder else "another architecture"
            return f"{shape}, not {claimed.width} and {claimed.depth}, so not the published one"
        for recipe in settings.pretrain_of(name, 0):
            at_hand = self.openus46(settings.recipes.pretrain[recipe].corpus)[0]
            if claimed.openus46 is not None and at_hand < claimed.openus46:
                return f"pretrained with {at_hand} of the {OPENUS46} datasets at hand, not {claimed.openus46}"
        if settings.recipes.finetune[settings.recipe_of(name)].protocol != "finetune":
            return "with frozen weights, where the paper fine-tuned"
        if task not in self.study.tasks:
            return "not run on this task"
        summary = self.table("statistics", task, "summary.csv")
        if summary is None or summary.loc[summary["model"] == name, "value"].notna().sum() == 0:
            return NOT_RUN
        size = settings.corpora[settings.tasks[task].corpus].size
        if claimed.least_size is not None and size < claimed.least_size:
            return f"on frames of {size} px, not {claimed.least_size}"
        return None

    def value(self, task: str, model: str, metric: str, part: str | None) -> Answer | str:
        """A model's metric in the part that the claim is about, or why there is none. Where the claim does
        not tell its part: the hold-out if the task has one, else the folds pooled."""
        summary = self.table("statistics", task, "summary.csv")
        assert summary is not None
        holdout = (summary["role"] == "holdout").any()
        role, estimate = ("holdout", "mean of fold models") if holdout else ("test", "pooled")
        if part == "cross-validation":
            role, estimate = "test", "mean of folds"
        elif part == "hold-out" and not holdout and not self._one_part(task):
            return "the task has no hold-out"
        found = summary[
            (summary["model"] == model)
            & (summary["metric"] == metric)
            & (summary["role"] == role)
            & (summary["estimate"] == estimate)
        ]
        if found.empty:
            return f"{metric} was not measured"
        row = found.iloc[0]
        value = Value(float(row["value"]), float(row["lower"]), float(row["upper"]))
        subjects = None if pd.isna(row["n_subjects"]) else int(row["n_subjects"])
        return Answer(value, estimate, int(row["n_frames"]), subjects, int(row["n_folds"]))

    def difference(self, task: str, a: str, b: str, metric: str, part: str | None) -> Answer | str:
        """Model `a` less model `b`: on the folds by the corrected resampled t, on the hold-out or an official
        test part by the subject-cluster bootstrap of these trained models. Or why there is none, as where the
        test is not valid on such data."""
        base = self.value(task, a, metric, "cross-validation")
        if isinstance(base, str):
            return base
        role, test = "test", CORRECTED_T
        if part != "hold-out" and base.n_folds == 1:
            return "too few folds: one fold gives no test of the two ways of training"
        if part == "hold-out":
            role, test = ("test" if self._one_part(task) else "holdout"), BOOTSTRAP
            base = self.value(task, a, metric, part)
            if isinstance(base, str):
                return base
        compared = self._compared(task, a, b, metric, role, test)
        if compared is None and test == CORRECTED_T:
            compared = self._over_folds(task, a, b, metric)
        place = "test part" if role == "test" else "hold-out"
        if compared is None:
            return f"{a} and {b} were not compared in {metric} on the {place}"
        if isinstance(compared, str):
            return compared
        value, caution = compared
        estimate = f"difference, {test}" + (f" {THESE_MODELS}" if test == BOOTSTRAP else "")
        return Answer(value, estimate, base.n_frames, base.n_subjects, base.n_folds, caution)

    def _compared(
        self, task: str, a: str, b: str, metric: str, role: str, test: str
    ) -> tuple[Value, str] | str | None:
        """The row of comparisons.csv and what is to be said beside it, or why it does not count; None where
        there is no such row, or one without an interval."""
        table = self.table("statistics", task, "comparisons.csv")
        if table is None:
            return None
        rows = table[
            (table["role"] == role) & (table["metric"] == metric) & table["test"].str.startswith(test)
        ]
        for first, second, sign in ((a, b, 1.0), (b, a, -1.0)):
            found = rows[(rows["model_a"] == first) & (rows["model_b"] == second)].dropna(subset=["lower"])
            if len(found):
                row = found.iloc[0]
                if row["valid"] not in ("yes", "not simulated"):
                    return f"the {test} is not valid here: {_first_sentence(row['note'])}"
                lower, upper = sorted((sign * float(row["lower"]), sign * float(row["upper"])))
                value = Value(
                    sign * float(row["difference"]), lower, upper, float(row["p"]), float(row["p_holm"])
                )
                return value, "" if row["valid"] == "yes" else NOT_SIMULATED
        return None

    def _over_folds(self, task: str, a: str, b: str, metric: str) -> tuple[Value, str] | str | None:
        """The same of a metric that comparisons.csv does not compare over the folds, without Holm's p."""
        measured = self.table("statistics", task, "fold_metrics.csv")
        split = self.table("finetune", task, "folds.parquet")
        if measured is None or split is None:
            return None
        rows = measured[(measured["role"] == "test") & (measured["metric"] == metric)]
        folds = rows.pivot_table(index="fold", columns="model", values="value")
        if a not in folds or b not in folds:
            return None
        sizes = split.groupby(["fold", "role"]).size().unstack("role").mean()
        folds = folds[[a, b]].dropna()
        if folds.empty:
            return None
        found = corrected_t(folds[a], folds[b], n_train=sizes["train"], n_test=sizes["test"])
        if against := objection_over_folds(found, len(folds)):
            return f"the {CORRECTED_T} is not valid here: {against.rstrip('.')}"
        n_classes, files = len(self.settings.tasks[task].classes), files_as_subjects(split)
        unknown = not_simulated(metric, n_classes, files=files)
        value = Value(found.difference, found.lower, found.upper, found.p)
        return value, NOT_SIMULATED if unknown else ""

    def frames(self, task: str) -> int | None:
        """Frames that a task's releases label, those among them that could not be read or that its split
        leaves out: a published count is of the release, and does not differ for a file that is damaged."""
        facts = self._split(task)
        if not facts:
            return None
        used = sum(each["frames"] for each in facts["counts"].values())
        return used + int(facts.get("left_out", 0)) + int(facts.get("unread", 0))

    def openus46(self, corpus: str) -> tuple[int, int]:
        """How many datasets of OpenUS-46 a corpus had at hand, and their frames, used or not."""
        found = self.table("corpus", corpus, "availability.csv")
        if found is None:
            return 0, 0
        numbered = {name for name, each in self.settings.datasets.items() if each.number is not None}
        there = found[found["dataset"].isin(numbered) & (found["status"] == "available")]
        return len(there), int(there["frames"].sum())

    def audit(self, task: str) -> str:
        """What the audit found of a task's frames, in words."""
        facts = self._split(task)
        if task not in self.study.tasks or not facts:
            return "not audited here"
        corpus = self.settings.tasks[task].corpus
        found = [f"the split cuts {facts.get('leaks', 0):,} groups of a subject or of duplicates"]
        if facts.get("left_out"):
            found.append(f"{facts['left_out']:,} frames of such groups are left out")
        if facts.get("unread"):
            found.append(f"{facts['unread']:,} labelled frames are missing, unreadable or blank")
        split = self.table("finetune", task, "folds.parquet")
        frames = set() if split is None else set(split["frame_id"])
        for other in self.settings.pretraining_corpora(task):
            copies = self.table("corpus", corpus, f"seen_in_{other}.parquet")
            if copies is not None:
                n = copies.loc[copies["frame"].isin(frames), "frame"].nunique()
                found.append(f"{n:,} of {len(frames):,} frames have a copy in the corpus {other}")
        pairs = self.table("corpus", corpus, "overlaps.csv")
        if pairs is not None:
            found += self._shared(task, pairs)
        return "; ".join(found)

    def _shared(self, task: str, pairs: pd.DataFrame) -> list[str]:
        """Datasets of the task's own corpus that share frames with the task's."""
        ours, found = set(self.settings.tasks[task].datasets), []
        for row in pairs.itertuples():
            if row.dataset_a in ours and row.dataset_b not in ours:
                found.append(f"{row.frames_of_a:,} frames have a copy in {row.dataset_b}")
            if row.dataset_b in ours and row.dataset_a not in ours:
                found.append(f"{row.frames_of_b:,} frames have a copy in {row.dataset_a}")
        return found

    def _split(self, task: str) -> dict[str, Any]:
        path = self.results / "finetune" / task / "folds.json"
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return facts

    def _unavailable(self, corpus: str, datasets: list[str]) -> list[str]:
        found = self.table("corpus", corpus, "availability.csv")
        if found is None:
            return []
        gone = found[found["dataset"].isin(datasets) & (found["status"] == "unavailable")]
        return [f"{row.dataset} ({row.reason})" for row in gone.itertuples()]

    def _one_part(self, task: str) -> bool:
        """Whether the task tests one official part, which no fold trains on: an independent test part."""
        return getattr(self.settings.tasks[task].split, "test_split", None) is not None


def _first_sentence(note: object) -> str:
    """Of a note of comparisons.csv, which begins with the objection: "Not valid: ..."."""
    return str(note).removeprefix("Not valid: ").split(". ")[0].rstrip(".")
