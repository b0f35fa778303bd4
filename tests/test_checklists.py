"""CLAIM 2024 and TRIPOD+AI: filled from the run's own facts, never guessed, never a tick."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fake_results import fill, write
from fake_study import study

from usfmae.record import write_json, write_table
from usfmae.report.checklists.checks import chosen_on
from usfmae.report.checklists.evidence import level
from usfmae.report.checklists.results import external, external_sources, sentences
from usfmae.report.checklists.table import NAMES, NOT_STATED, checklist, checklist_table, shows
from usfmae.report.products import Products
from usfmae.settings import Settings, settings_from
from usfmae.settings.declared import Declared, DeclaredDataset


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("checklists")
    fill(folder / "results")
    write(folder)
    return folder


def table_of(root: Path, name: str, settings: Settings | None = None) -> pd.DataFrame:
    products = Products(settings or study(), root / "results")
    return checklist_table(products, checklist(name)).set_index("Item")


def declared_study(**declared: Any) -> Settings:
    merged = study().model_dump(mode="json", exclude_none=True)
    merged["study"]["declared"] = declared
    return settings_from(merged, [])


def changed_study(**study_keys: Any) -> Settings:
    merged = study().model_dump(mode="json", exclude_none=True)
    merged["study"] |= study_keys
    return settings_from(merged, [])


def by_column(name: str) -> Settings:
    """The study, with the kidneys' subgroup in a column of another name."""
    merged = study().model_dump(mode="json", exclude_none=True)
    merged["tasks"]["kidney"]["subgroup"] = name
    return settings_from(merged, [])


# The lists themselves


def test_every_item_of_both_lists_is_there_once() -> None:
    claim = [item.item for item in checklist("claim_2024").items]
    assert claim == [str(n) for n in range(1, 45)]
    tripod = [item.item for item in checklist("tripod_ai").items]
    assert len(tripod) == len(set(tripod)) == 52
    assert len({re.match(r"\d+", item)[0] for item in tripod}) == 27  # type: ignore[index]


def test_an_item_of_a_run_names_evidence_and_one_of_a_person_names_none() -> None:
    for name in NAMES:
        for item in checklist(name).items:
            assert bool(item.evidence) == (item.by != "person"), item.item
            assert item.person or item.by == "run", item.item
            assert all(callable(shows(each)) for each in item.evidence)
            for key in item.declared:
                of, field = (DeclaredDataset, key[9:]) if key.startswith("datasets.") else (Declared, key)
                assert field in of.model_fields, key


# 1. Three answers, and never a tick


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_a_location_no_or_na_with_a_reason(name: str, root: Path, tmp_path: Path) -> None:
    for folder in (root, tmp_path):  # with results and without
        answers = table_of(folder, name)["Answer"]
        assert answers.str.fullmatch(r"Location: .+|No|NA: .+").all()
    written = (root / f"results/tables/{name}.md").read_text(encoding="utf-8")
    assert not re.search(r"complian|fulfil|satisf|✓|✔|\[x\]|\byes\b", written, re.IGNORECASE)


@pytest.mark.parametrize("name", NAMES)
def test_every_location_exists(name: str, root: Path) -> None:
    for answer in table_of(root, name)["Answer"]:
        for file in answer.removeprefix("Location: ").split(" and ")[0].split(", "):
            if answer.startswith("Location: "):
                assert (root / "results" / file.split("#")[0]).exists(), file


# 2. No evidence, no answer


@pytest.mark.parametrize("name", NAMES)
def test_without_evidence_every_item_of_a_run_is_answered_no(name: str, tmp_path: Path) -> None:
    assert set(table_of(tmp_path, name)["Answer"]) == {"No"}


def test_a_missing_file_turns_its_item_to_no_and_no_other(root: Path) -> None:
    before = table_of(root, "claim_2024")["Answer"]
    file = root / "results/explain/neck/usfmae/faithfulness.csv"
    content = file.read_bytes()
    file.unlink()
    after = table_of(root, "claim_2024")["Answer"]
    file.write_bytes(content)
    assert before.index[before != after].to_list() == ["31"]
    assert after["31"] == "No"


def test_ensembles_are_not_applicable_where_nothing_was_averaged(root: Path) -> None:
    merged = study().model_dump(mode="json", exclude_none=True)
    merged["study"]["tasks"] = ["neck"]  # without a hold-out
    assert table_of(root, "claim_2024", settings_from(merged, [])).at["27", "Answer"] == (
        "NA: no models were combined"
    )


# 3. Patient level only where patients are told


def real(root: Path, subjects: float | None) -> Products:
    merged = study().model_dump(mode="json", exclude_none=True)
    merged["datasets"]["neck"]["access"] = {"host": "folder", "folder": "/data"}
    told = pd.DataFrame({"dataset": ["neck"], "status": "available", "subjects": [subjects]})
    write_table(root / "results/corpus/demo/availability.csv", told)
    write_json(root / "results/finetune/neck/folds.json", {"leaks": 4, "counts": {}})
    return Products(settings_from(merged, []), root / "results")


def test_a_split_is_at_patient_level_only_where_the_release_tells_patients(tmp_path: Path) -> None:
    told = real(tmp_path, 1064)
    assert level(told, "neck").startswith("patient level") and "1,064" in level(told, "neck")
    unknown = real(tmp_path, None)
    assert level(unknown, "neck") == "image level, patients unknown"
    table = checklist_table(unknown, checklist("claim_2024")).set_index("Item")
    assert "neck: image level, patients unknown" in table.at["40", "Facts of the run"]
    assert "cuts 4 groups" in table.at["40", "Facts of the run"]
    (tmp_path / "results/corpus/demo/availability.csv").unlink()
    assert level(unknown, "neck") == "image level, patients unknown"


def test_simulated_subjects_are_never_called_patients(root: Path) -> None:
    facts = table_of(root, "claim_2024").at["20", "Facts of the run"]
    assert "simulated subjects" in facts and "patient" not in facts


# 4. External


def test_a_source_is_external_only_where_it_was_neither_trained_nor_pretrained_on() -> None:
    assert external_sources({"bus_bra", "busi"}, {"bus_bra"}, {"hc18"}) == ["busi"]
    assert external_sources({"busi"}, {"bus_bra"}, {"busi"}) == []
    assert external_sources({"busi"}, {"bus_bra"}, None) == []  # what the weights saw is not told


def test_a_holdout_from_another_source_is_external_unless_an_encoder_saw_it(tmp_path: Path) -> None:
    merged = study().model_dump(mode="json", exclude_none=True)
    merged["study"]["tasks"] = ["neck"]
    merged["datasets"]["away"] = merged["datasets"]["neck"]
    merged["corpora"]["far"] = {"datasets": ["neck", "away"], "size": 32}
    merged["tasks"]["neck"] |= {"corpus": "far", "datasets": ["neck", "away"]}
    split = pd.DataFrame({"frame_id": ["neck/a#0", "neck/b#0", "away/c#0"], "fold": 0})
    split["role"] = ["train", "validation", "holdout"]
    write_table(tmp_path / "finetune/neck/folds.parquet", split)
    shown = external(Products(settings_from(merged, []), tmp_path))
    assert shown is not None and shown.facts == "external sources, neck: away"
    merged["corpora"]["demo"]["datasets"].append("away")  # on which the encoder is pretrained
    assert external(Products(settings_from(merged, []), tmp_path)) is None


def test_a_study_of_one_source_has_no_external_test(root: Path) -> None:
    table = table_of(root, "claim_2024")
    assert table.at["33", "Answer"] == "No" and table.at["33", "Facts of the run"] == ""


# 5. How the model was chosen


def test_the_reads_of_the_test_part_are_counted_and_so_are_those_after_the_runs(root: Path) -> None:
    facts = table_of(root, "claim_2024").at["26", "Facts of the run"]
    assert "neck: the best epoch was chosen on the validation part" in facts
    runs = "test parts predicted by 12 runs; read again for the shortcut tests of 2 models"
    assert facts.count(runs) == 2  # 3 models, 4 folds; one model of three keeps no network
    assert facts.count("6 frames read again for maps of USF-MAE (demo)") == 1
    assert "once" not in facts


def test_a_second_read_of_the_test_part_is_not_told_where_none_was_made(root: Path) -> None:
    without = changed_study(shortcuts=False, explain={"recipe": "scorecam", "models": []})
    facts = table_of(root, "claim_2024", without).at["26", "Facts of the run"]
    assert facts.count("test parts predicted by 12 runs") == 2 and "again" not in facts


def test_a_choice_on_the_test_fold_is_printed_as_such() -> None:
    split = pd.DataFrame({"fold": 0, "frame_id": list("abc"), "role": ["train", "validation", "test"]})
    assert chosen_on(split).startswith("the best epoch was chosen on the validation part")
    assert chosen_on(split[split["role"] != "validation"]) == "the best epoch was chosen on the test fold"
    both = pd.concat([split, pd.DataFrame({"fold": [0], "frame_id": ["b"], "role": ["test"]})])
    assert chosen_on(both) == "the best epoch was chosen on the test fold"


# 6. No number without n, unit, interval and method


@pytest.mark.parametrize(("name", "item"), [("claim_2024", "37"), ("claim_2024", "38"), ("tripod_ai", "23a")])
def test_every_result_carries_n_unit_interval_and_method(name: str, item: str, root: Path) -> None:
    facts = table_of(root, name).at[item, "Facts of the run"]
    lines = [line for line in facts.split("; ") if "AUC" in line]
    assert len(lines) == 3  # kidney pooled and hold-out, neck pooled
    for line in lines:
        assert re.search(r"n = \d+ frames of \d+ subjects \(subject level", line)
        if "12 frames of 3 subjects" in line:  # which no resample of three subjects changes
            assert (
                "interval none: the resamples have no spread: " in line and "not given, no interval" in line
            )
            continue
        assert "interval 95 %, percentiles of 100 resamples of the subjects: " in line
        values = line.split("resamples of the subjects: ")[1].split(". ")[0].split(", ")
        assert all(re.search(r"\d\.\d\d \(\d\.\d\d–\d\.\d\d\)$", value) for value in values)


def test_a_value_without_an_interval_is_not_given() -> None:
    row = {"model": "a", "role": "test", "estimate": "pooled", "metric": "auc", "value": 0.87654}
    row |= {"lower": None, "upper": None, "n_frames": 9, "n_subjects": 3, "n_folds": 4, "interval": "none"}
    (line,) = sentences(pd.DataFrame([row]), "auc", {"a": "A"}, "image level")
    assert "0.8" not in line and "A not given, no interval" in line


# 7. Nothing that the run did not show


def test_score_cam_is_named_only_where_it_was_measured(root: Path, tmp_path: Path) -> None:
    facts = table_of(root, "claim_2024").at["31", "Facts of the run"]
    assert facts.startswith("Score-CAM, Attention rollout; score logit and baseline mean of Score-CAM")
    table = pd.read_csv(root / "results/explain/neck/usfmae/faithfulness.csv")
    other = table[table["method"] != "score_cam"].replace({"method": {"attention_rollout": "grad_cam"}})
    file = tmp_path / "results/explain/neck/usfmae/faithfulness.csv"
    write_table(file, other)
    row = table_of(tmp_path, "claim_2024").loc["31"]
    assert row["Facts of the run"] == "Grad-CAM; measured beside a centred blob"
    write_table(file, other.assign(baseline=None))
    assert table_of(tmp_path, "claim_2024").at["31", "Facts of the run"] == "Grad-CAM"
    write_table(file, other[other["measure"].isna()])  # no method applied
    assert table_of(tmp_path, "claim_2024").at["31", "Answer"] == "No"


def test_wrong_frames_with_maps_are_named_only_where_some_are_drawn(root: Path, tmp_path: Path) -> None:
    row = table_of(root, "claim_2024").loc["39"]
    assert row["Facts of the run"] == "confusion matrices; neck: 2 wrong frames with maps of USF-MAE (demo)"
    assert row["Answer"].endswith("explain/neck/usfmae/contact_sheet.png")
    nobody = changed_study(explain={"recipe": "scorecam", "models": ["imagenet"]})  # which has no maps
    assert table_of(root, "claim_2024", nobody).at["39", "Facts of the run"] == "confusion matrices"
    results = tmp_path / "results"
    write_table(results / "statistics/neck/confusion.csv", pd.DataFrame({"model": ["usfmae"]}))
    selection = pd.read_parquet(root / "results/explain/neck/usfmae/selection.parquet")
    write_table(results / "explain/neck/usfmae/selection.parquet", selection.assign(outcome="correct"))
    (results / "explain/neck/usfmae/contact_sheet.png").touch()
    assert table_of(tmp_path, "claim_2024").at["39", "Facts of the run"] == "confusion matrices"


def test_robustness_names_what_has_figures_and_not_what_was_asked_for(root: Path, tmp_path: Path) -> None:
    facts = table_of(root, "claim_2024").at["30", "Facts of the run"]
    assert "neck: shares of training subjects 0.25, 1" in facts and "seed" not in facts
    assert "neck: frames without the lesion, 2 models" in facts
    shortcuts = pd.DataFrame([{"model": "usfmae", "shown": None, "value": None, "note": "no masks"}])
    write_table(tmp_path / "results/statistics/neck/shortcuts.csv", shortcuts)
    row = table_of(tmp_path, "claim_2024").loc["30"]
    assert (row["Answer"], row["Facts of the run"]) == ("No", "")
    seeds = pd.DataFrame({"model": "usfmae", "seed": [0, 1], "value": 0.9})
    write_table(tmp_path / "results/statistics/neck/fold_metrics.csv", seeds)
    assert table_of(tmp_path, "claim_2024").at["30", "Facts of the run"] == "neck: 2 seeds on the same folds"


GROUPED = {"claim_2024": ["13", "36"], "tripod_ai": ["6a", "12d", "14", "20b", "23b"]}


@pytest.mark.parametrize(
    ("column", "answered"),
    [
        ("Device", {"13", "12d", "23b"}),
        ("hospital", {"6a", "12d", "23b"}),
        ("Age group", {"36", "14", "20b"}),
        ("Histology", set()),
    ],
)
def test_a_subgroup_answers_only_the_items_that_its_column_is_about(
    column: str, answered: set[str], root: Path
) -> None:
    for name, items in GROUPED.items():
        rows = table_of(root, name, by_column(column)).loc[items]
        located = rows[rows["Answer"] == "Location: statistics/kidney/subgroups.csv"]
        assert set(located.index) == answered & set(items)
        assert set(rows.drop(located.index)["Answer"]) <= {"No"}
        assert all(f"{column} (kidney: GE <new>, Philips)" in fact for fact in located["Facts of the run"])


def test_a_subgroup_that_no_frame_tells_answers_nothing(tmp_path: Path) -> None:
    table = pd.DataFrame({"model": ["usfmae"], "subgroup": ["not told"]})
    write_table(tmp_path / "results/statistics/kidney/subgroups.csv", table)
    assert table_of(tmp_path, "claim_2024").at["13", "Answer"] == "No"


def test_the_list_of_classes_does_not_say_how_a_label_was_obtained(root: Path) -> None:
    table = table_of(root, "claim_2024")
    assert table.at["6", "Answer"].startswith("Location: finetune/")  # what is predicted
    for item in ("14", "17"):
        assert (table.at[item, "Answer"], table.at[item, "Facts of the run"]) == ("No", "")


# What a person declares


def test_what_is_not_declared_is_not_stated_and_left_to_a_person(root: Path) -> None:
    row = table_of(root, "claim_2024").loc["44"]
    assert (row["Answer"], row["Declared by a person"], row["Left to a person"]) == (
        "No",
        NOT_STATED,
        "the whole item",
    )


def test_what_is_declared_is_printed_word_for_word(root: Path) -> None:
    settings = declared_study(funding="None | of note.", datasets={"neck": {"ethics": "REB 7"}})
    row = table_of(root, "claim_2024", settings).loc["44"]
    assert row["Declared by a person"] == "None | of note."
    assert (row["Answer"], row["Left to a person"]) == ("Location: config: study.declared.funding", "")
    assert table_of(root, "tripod_ai", settings).at["17", "Declared by a person"] == "Simulated necks: REB 7"


def test_only_what_is_declared_is_a_location(tmp_path: Path) -> None:
    settings = declared_study(intended_use="Triage.", datasets={"neck": {"setting": "One clinic."}})
    table = table_of(tmp_path, "claim_2024", settings)  # items 6 and 8 ask for two keys each
    assert table.at["6", "Answer"] == "Location: config: study.declared.intended_use"
    assert table.at["8", "Answer"] == "Location: config: study.declared.datasets.neck.setting"
    assert table.at["8", "Declared by a person"] == "Simulated necks: One clinic."


def test_a_declaration_of_a_dataset_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"there is no dataset 'nec' \(did you mean \"neck\"\?\)"):
        declared_study(datasets={"nec": {"ethics": "REB 7"}})


def test_the_files_say_that_data_are_simulated_and_are_linked_from_the_page(root: Path) -> None:
    page = (root / "results/report/report.html").read_text(encoding="utf-8")
    for name in NAMES:
        assert f'href="../tables/{name}.md"' in page
        written = (root / f"results/tables/{name}.md").read_text(encoding="utf-8")
        assert "This study contains simulated data" in written
        table = pd.read_csv(root / f"results/tables/{name}.csv", dtype=str, keep_default_na=False)
        lines = [line for line in written.splitlines() if re.match(r"\| \d", line)]
        assert len(lines) == len(table) == len(checklist(name).items)


def test_a_bar_in_a_cell_does_not_break_the_table(root: Path, tmp_path: Path) -> None:
    settings = declared_study(funding="a | b\nc")
    products = Products(settings, root / "results")
    from usfmae.report.checklists.table import write_checklists
    from usfmae.report.exhibits import Exhibits

    write_checklists(products, Exhibits(tmp_path, tmp_path))
    written = (tmp_path / "claim_2024.md").read_text(encoding="utf-8")
    (line,) = [line for line in written.splitlines() if line.startswith("| 44 |")]
    assert "a \\| b c" in line and json.dumps(line).count("\\\\|") == 1
