"""Paired comparison of two models on their common slices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_tables import made_cases, written

from bts.errors import RequestError
from bts.evaluation.results import read_evaluation
from bts.experiments.compare import compare, comparison_text, rows_of


@pytest.fixture(scope="module")
def cases() -> pd.DataFrame:
    return made_cases()


def test_a_run_against_itself_differs_by_nothing(tmp_path: Path, cases: pd.DataFrame) -> None:
    one, two = (read_evaluation(written(tmp_path / name, cases)) for name in "ab")
    found = compare(one, two, draws=100)
    assert {one.name for one in found.differences} >= {
        "Dice, mean over slices with a tumour",
        "accuracy per slice",
        "macro F1 per slice",
    }
    assert all((one.gain.value, one.gain.low, one.gain.high) == (0, 0, 0) for one in found.differences)
    assert all(one.gain.verdict == "could be chance" for one in found.differences)


def test_a_small_gain_on_every_patient_is_found_by_pairing(tmp_path: Path, cases: pd.DataFrame) -> None:
    better = cases.assign(dice=(cases["dice"] + 0.02).clip(upper=1))
    found = compare(
        read_evaluation(written(tmp_path / "a", cases)), read_evaluation(written(tmp_path / "b", better)), draws=300
    )
    dice = next(one for one in found.differences if one.name.startswith("Dice"))
    assert dice.gain.value == pytest.approx((better["dice"] - cases["dice"]).mean())
    assert dice.gain.verdict == "differs"
    assert dice.first.high > dice.second.low  # type: ignore[operator]  # the two intervals alone overlap
    assert f"{len(cases)} slices of 27 patients, paired" in comparison_text(found)
    assert rows_of([found])[0]["draws"] == 300


def test_only_common_slices_count_and_the_others_are_counted(tmp_path: Path, cases: pd.DataFrame) -> None:
    found = compare(
        read_evaluation(written(tmp_path / "a", cases[:80])), read_evaluation(written(tmp_path / "b", cases[40:])), draws=50
    )
    assert (found.n_slices, found.left_out) == (40, 80)
    assert "80 slices are in one of the two only" in comparison_text(found)


def test_the_order_of_the_slices_plays_no_part(tmp_path: Path, cases: pd.DataFrame) -> None:
    shuffled = cases.sample(frac=1, random_state=np.random.RandomState(0))
    found = compare(
        read_evaluation(written(tmp_path / "a", cases)), read_evaluation(written(tmp_path / "b", shuffled)), draws=50
    )
    assert all(one.gain.value == pytest.approx(0) for one in found.differences)


def test_runs_without_a_common_slice_are_refused(tmp_path: Path, cases: pd.DataFrame) -> None:
    other = cases.assign(path=[f"x{path}" for path in cases["path"]])
    with pytest.raises(RequestError, match="share no test slice"):
        compare(read_evaluation(written(tmp_path / "a", cases)), read_evaluation(written(tmp_path / "b", other)))


def test_two_sets_with_the_same_names_are_refused(tmp_path: Path, cases: pd.DataFrame) -> None:
    other = cases.assign(label="glioma")
    with pytest.raises(RequestError, match="these are two different sets"):
        compare(read_evaluation(written(tmp_path / "a", cases)), read_evaluation(written(tmp_path / "b", other)))


def test_runs_of_two_tasks_have_nothing_to_compare(tmp_path: Path, cases: pd.DataFrame) -> None:
    base = ["path", "patient_id", "patient", "label", "plane", "synthetic", "picture_area_px"]
    masks = cases[[*base, "dice", "iou", "precision", "recall", "surface_dice", "hd95_px", "asd_px", "truth_area_px",
                   "predicted_area_px", "hd95_mm", "asd_mm", "surface_dice_mm"]]  # fmt: skip
    classes = cases[[*base, "predicted", "right", "confidence", "refer", "prob_glioma", "prob_meningioma", "prob_no_tumour"]]
    with pytest.raises(RequestError, match="have no score in common"):
        compare(read_evaluation(written(tmp_path / "a", masks)), read_evaluation(written(tmp_path / "b", classes)))


def test_a_folder_without_scores_and_damaged_scores_are_refused(tmp_path: Path, cases: pd.DataFrame) -> None:
    with pytest.raises(RequestError, match="no scores in it"):
        read_evaluation(tmp_path)
    folder = written(tmp_path / "a", cases)
    (folder / "scores" / "scores.json").write_text("{")
    with pytest.raises(RequestError, match=r"scores\.json: can't be read as scores"):
        read_evaluation(folder)
    (folder / "scores" / "scores.json").write_text("{}")
    with pytest.raises(RequestError, match="holds no scores"):
        read_evaluation(folder)
    written(tmp_path / "b", cases)
    (tmp_path / "b" / "scores" / "test_slices.csv").write_text("path\n1\n")
    with pytest.raises(RequestError, match="needs path, patient_id, patient and label"):
        read_evaluation(tmp_path / "b")
