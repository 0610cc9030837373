"""Reading the scores of runs and reports from disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bts.errors import RequestError
from bts.evaluation.intervals import Interval
from bts.evaluation.results import read_evaluation, with_intervals


def test_a_folder_without_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no scores in it"):
        read_evaluation(tmp_path)


@pytest.mark.parametrize(
    ("scores", "cases", "message"),
    [
        ("{", "path,patient_id,patient,label\n", "can't be read as scores"),
        ("{}", "path,patient_id,patient,label\n", "holds no scores"),
        ('{"n_slices": 1}', "path,patient,family,label\n", "needs path, patient_id, patient and label"),  # of version 0.2
        ('{"n_slices": 1}', "path,label\n", "needs path, patient_id, patient and label"),
    ],
)
def test_damaged_scores_are_refused(scores: str, cases: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    (tmp_path / "scores" / "scores.json").write_text(scores)
    (tmp_path / "scores" / "test_slices.csv").write_text(cases)
    with pytest.raises(RequestError, match=message):
        read_evaluation(tmp_path)


def test_intervals_are_restored_from_json() -> None:
    score = {"value": 0.5, "low": 0.4, "high": 0.6, "n_patients": 9, "n_slices": 20, "seed": 0, "draws": 10, "unit": "patient"}
    found = with_intervals({"a": {"b": score}, "n": 3})
    assert found == {"a": {"b": Interval(0.5, 0.4, 0.6, 9, 20, 0, 10)}, "n": 3}


def test_a_run_has_its_card_settings_and_the_lines_of_its_log_on_the_machine(finished_runs: object, tmp_path: Path) -> None:
    run = finished_runs["seg"]  # type: ignore[index]
    copied = tmp_path / "one"
    shutil.copytree(run.path, copied)
    (copied / "run.log").write_text(
        "2026-01-01 10:00:00 device: cpu\n2026-01-01 10:00:01 epoch 1\n2026-01-02 10:00:00 device: cpu\n"
    )
    found = read_evaluation(copied)
    assert found.log == ("device: cpu",)
    assert found.card is not None
    assert found.settings is not None
    assert found.title == found.card.name
