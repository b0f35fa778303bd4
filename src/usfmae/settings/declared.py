"""`study.declared` of `config/config.yaml`: what only a person can say, for the reporting checklists."""

from __future__ import annotations

from usfmae.settings.base import Strict, Text


class DeclaredDataset(Strict):
    """Of one dataset. What is left out is printed as "not stated"."""

    design: Text | None = None
    """Retrospective or prospective."""
    setting: Text | None = None
    """Level of care, centres and their places."""
    sampling: Text | None = None
    """Who was included and how: consecutive, random, convenience."""
    dates: Text | None = None
    """Of recruitment and follow-up."""
    deidentification: Text | None = None
    """By which rule and how identifiers were removed."""
    reference_standard: Text | None = None
    """How the labels were obtained, for example by histology."""
    reference_reason: Text | None = None
    """Why this standard, and its errors."""
    annotators: Text | None = None
    """Who labelled: number, qualification, training."""
    blinding: Text | None = None
    """What they did not know when they labelled."""
    agreement: Text | None = None
    """Agreement between and within them, and how disagreement was settled."""
    ethics: Text | None = None
    """Committee, approval, consent or waiver."""


class Declared(Strict):
    """Of the study. What is left out is printed as "not stated"."""

    background: Text | None = None
    """Current practice, the gap, earlier models."""
    intended_use: Text | None = None
    """For whom, where in the pathway, and who uses it."""
    inequalities: Text | None = None
    """Known inequalities in care."""
    hypotheses: Text | None = None
    """Aims and hypotheses, set before the run."""
    kind_of_study: Text | None = None
    """For example exploratory, feasibility, diagnostic accuracy."""
    treatments: Text | None = None
    """Treatments that the participants had, and how they were handled."""
    target_precision: Text | None = None
    """Width of an interval, or margin, that the number of cases was to reach, set before the run."""
    fairness: Text | None = None
    """What was done about fairness, and why."""
    registration: Text | None = None
    """Register and number, or that there is none."""
    protocol: Text | None = None
    """Where the protocol is, or that there is none."""
    funding: Text | None = None
    """Money, and what its givers had a part in."""
    interests: Text | None = None
    """Interests of the authors."""
    public_involvement: Text | None = None
    """Part that patients and the public had, or that there was none."""
    limits: Text | None = None
    """Limits of the study and their effect."""
    implications: Text | None = None
    """Meaning for practice."""
    next_steps: Text | None = None
    """What is to follow, and where it may be applied."""
    user_skills: Text | None = None
    """What users must do and know."""
    datasets: dict[str, DeclaredDataset] = {}
    """Keys of `datasets`, each with what is declared of it."""
