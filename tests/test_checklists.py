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
from usfmae.report.checklists.evidence import level
from usfmae.report.checklists.results import chosen_on, external, external_sources, sentences
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


def test_the_reads_of_the_test_part_are_counted(root: Path) -> None:
    facts = table_of(root, "claim_2024").at["26", "Facts of the run"]
    assert "neck: the best epoch was chosen on the validation part" in facts
    assert facts.count("test parts predicted by 12 runs, once each") == 2  # 3 models, 4 folds


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
        assert "interval 95 %, percentiles of 100 resamples of the subjects: " in line
        values = line.split("resamples of the subjects: ")[1].split(". ")[0].split(", ")
        assert all(re.search(r"\d\.\d\d \(\d\.\d\d–\d\.\d\d\)$", value) for value in values)


def test_a_value_without_an_interval_is_not_given() -> None:
    row = {"model": "a", "role": "test", "estimate": "pooled", "metric": "auc", "value": 0.87654}
    row |= {"lower": None, "upper": None, "n_frames": 9, "n_subjects": 3, "interval": "none"}
    (line,) = sentences(pd.DataFrame([row]), "auc", {"a": "A"}, "image level")
    assert "0.8" not in line and "A not given, no interval" in line


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
