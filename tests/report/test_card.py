"""Model card: content from the files of a run, and counts of failures by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bts.apps import cli
from bts.data.split import Split, SplitRow
from bts.errors import RequestError
from bts.models.folder import update_card
from bts.report.card import card_text, failure_rows, parts_table
from bts.runs import Run


@pytest.fixture
def run(finished_runs: Any) -> Run:
    return finished_runs["joint"]


def test_the_card_says_what_where_and_what_not(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "MODEL_CARD.md"
    assert cli.main(["card", str(run.path), "--name", "small", "--out", str(out)]) == 0
    assert f"{out} is written" in capsys.readouterr().out
    text = out.read_text(encoding="utf-8")
    for heading in ("Model", "Data", "Scores on the test part", "By class", "By size", "Explanation", "Known failures"):
        assert heading in text
    assert text.startswith("# Model card: small\n")
    assert "Research software, not a medical device." in text
    assert "trained on synthetic phantoms" in text
    assert "30 minutes of training by the log" in text
    assert "Diagnosis, treatment" in text
    assert "Not scored." in text


def test_the_scores_are_those_of_the_run_s_files(run: Run) -> None:
    scores = json.loads((run.scores / "scores.json").read_text())
    text = card_text(run.path)
    accuracy = scores["classification"]["slice"]["overall"]["accuracy"]
    expected = f"{accuracy['value']:.3f} [{accuracy['low']:.3f}, {accuracy['high']:.3f}] | {accuracy['n_patients']}"
    assert f"| accuracy per slice | {expected} | {accuracy['n_slices']} |" in text


def test_a_report_on_a_foreign_set_is_taken_in(run: Run) -> None:
    text = card_text(run.path, external=run.path)  # any scored folder is read alike
    assert "Not scored." not in text
    assert text.count("| accuracy per slice |") == 2


def test_what_somebody_saw_stands_in_the_card_and_is_told_apart_from_what_was_counted(run: Run, tmp_path: Path) -> None:
    words = tmp_path / "seen.md"
    words.write_text("Small tumours are missed.\n")
    text = card_text(run.path, observations=words)
    assert "## Observations on images\n\nSmall tumours are missed.\n" in text
    assert "typed by hand" in text
    with pytest.raises(RequestError, match=r"none\.md: can't be read as text .*--observations"):
        card_text(run.path, observations=tmp_path / "none.md")


def test_classes_of_a_single_publisher_stand_in_the_card(run: Run, tmp_path: Path) -> None:
    assert "recognise a publisher" not in card_text(run.path)
    copied = Run(Path(shutil.copytree(run.path, tmp_path / "run")))
    update_card(copied.model, confounding="class and publisher coincide (glioma from a alone)")
    assert "**Class and publisher coincide (glioma from a alone).** A model can recognise a publisher" in card_text(copied.path)


def test_slices_and_patients_are_counted_by_part_with_suffixed_ids_as_one() -> None:
    rows = [
        SplitRow("1", "MR1", "glioma", "train"),
        SplitRow("2", "MR1B", "glioma", "train"),
        SplitRow("3", "7", "meningioma", "val"),
        SplitRow("4", "8", "glioma", "test"),
        SplitRow("5", "9", "glioma", "test"),
    ]
    lines = parts_table(Split(tuple(rows))).splitlines()
    assert "| glioma | 2 of 1 | 0 of 0 | 2 of 2 |" in lines
    assert "| meningioma | 0 of 0 | 1 of 1 | 0 of 0 |" in lines
    assert "| all | 2 of 1 | 1 of 1 | 2 of 2 |" in lines


def test_a_tumour_without_a_true_mask_is_no_missed_tumour() -> None:
    cases = pd.DataFrame({"label": ["glioma"] * 3, "predicted": ["glioma"] * 3, "dice": [0.9, 0.0, np.nan]})
    cases = cases.assign(predicted_area_px=[50, 0, np.nan], picture_area_px=1000)
    found = {row[0]: row[1] for row in failure_rows(cases)}
    assert found["tumour without any mask"] == "1 of 2"
    assert found["tumour mask with a Dice under 0.5"] == "0 of 2"


def test_failures_are_counted_among_the_slices_that_can_fail_so() -> None:
    cases = pd.DataFrame(
        {
            "label": ["glioma", "glioma", "glioma", "pituitary", "no_tumour", "no_tumour"],
            "predicted": ["glioma", "pituitary", "glioma", "pituitary", "no_tumour", "glioma"],
            "dice": [0.9, 0.4, 0.0, 0.6, 1.0, 0.0],
            "predicted_area_px": [50, 60, 0, 40, 0, 9],
            "picture_area_px": [1000] * 6,
            "consistent": [True, True, False, True, True, True],
        }
    )
    found = {row[0]: (row[1], row[2]) for row in failure_rows(cases)}
    assert found == {
        "tumour without any mask": ("1 of 4", "25.0%"),
        "tumour mask with a Dice under 0.5": ("1 of 4", "25.0%"),
        "healthy slice with a mask over 0.1%": ("1 of 2", "50.0%"),
        "glioma predicted as pituitary": ("1 of 3", "33.3%"),
        "no_tumour predicted as glioma": ("1 of 2", "50.0%"),
        "mask and class contradict each other": ("1 of 6", "16.7%"),
    }
    assert [row[2] for row in failure_rows(cases)][:2] == ["50.0%", "50.0%"]


def test_a_folder_that_is_no_run_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no scores in it"):
        card_text(tmp_path)
    report = tmp_path / "report"
    report.mkdir()
    (report / "metrics.json").write_bytes((run.scores / "scores.json").read_bytes())
    (report / "slices.csv").write_bytes((run.scores / "test_slices.csv").read_bytes())
    with pytest.raises(RequestError, match="not a run of a training: expected a folder such as runs/joint/TIME"):
        card_text(report)


def test_a_card_that_cannot_be_written_is_told(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["card", str(run.path), "--out", str(tmp_path)]) == 2
    assert "can't be written" in capsys.readouterr().err
