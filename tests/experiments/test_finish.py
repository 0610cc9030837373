"""Finishing a run: scores, operating point, charts, and refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_runs import made_run, write_made_model
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bts.data.split import Split
from bts.errors import RequestError
from bts.evaluation.calibration import Uncertainty
from bts.evaluation.operating_point import OperatingChoice
from bts.experiments.finish import finish_run, write_choice
from bts.inference.predictor import Predictor
from bts.models.folder import read_card
from bts.runs import Run, find_latest


@pytest.fixture
def finished_seg(finished_runs: Any) -> tuple[Run, dict]:
    found: tuple[Run, dict] = finished_runs.with_result("seg")
    return found


@pytest.fixture
def finished_cls(finished_runs: Any) -> tuple[Run, dict]:
    found: tuple[Run, dict] = finished_runs.with_result("cls")
    return found


def test_every_test_slice_has_a_row_and_no_other(finished_seg: tuple[Run, dict]) -> None:
    run, result = finished_seg
    table = pd.read_csv(run.scores / "test_slices.csv")
    assert list(table["path"]) == [row.path for row in Split.read(run.split_file).part("test")]
    tumour = table["truth_area_px"] > 0
    assert tumour.any()
    assert not tumour.all()
    assert not table.loc[tumour, ["dice", "iou", "hd95_px"]].isna().any(axis=None)
    assert table.loc[~tumour, ["dice", "iou", "hd95_px"]].isna().all(axis=None)
    assert len(result["cases"]) == len(table)


def test_the_scores_name_patients_slices_split_and_model(finished_seg: tuple[Run, dict]) -> None:
    run, result = finished_seg
    written = json.loads((run.scores / "scores.json").read_text())
    assert written["split_fingerprint"] == Split.read(run.split_file).fingerprint
    assert written["segmentation"]["slice"]["dice"]["n_slices"] == (result["cases"]["truth_area_px"] > 0).sum()
    assert written["counterfactual"]["removed"]["with_mask"]["n_slices"] > 0
    assert written["made"]["machine"]
    assert written["made"]["device"] == "cpu"
    assert written["model"]["fingerprint"] == read_card(run.model).fingerprint
    assert "synthetic phantoms" in result["table"]


def test_the_operating_point_of_validation_is_what_inference_uses(finished_seg: tuple[Run, dict]) -> None:
    run, result = finished_seg
    card = read_card(run.model)
    chosen = result["scores"]["operating_point"]
    assert card.operating_point["threshold"] == chosen["threshold"]
    assert card.operating_point["flip"] == chosen["flip"]
    assert chosen["n_slices"] == len(Split.read(run.split_file).part("val"))
    assert chosen["dice"] >= chosen["dice_at_default"] - 0.001
    assert card.scores["segmentation.slice.dice"]["n_patients"] > 1
    assert Predictor.load(seg=run.path, device="cpu").runtimes[0].card == card


def test_a_classifier_gets_temperature_scale_and_referral_into_its_card(finished_cls: tuple[Run, dict]) -> None:
    run, result = finished_cls
    card = read_card(run.model)
    chosen = result["scores"]["operating_point"]
    assert card.temperature == pytest.approx(chosen["temperature"])
    assert card.temperature != 1
    assert card.cam_scale == pytest.approx(chosen["cam_scale"])
    assert card.refer_below is not None


def test_stage_one_is_scored_beside_the_final_model(finished_cls: tuple[Run, dict]) -> None:
    run, result = finished_cls
    assert (run.scores / "stage1_slices.csv").is_file()
    assert result["scores"]["stage1"]["classification"]["slice"]["overall"]["accuracy"]["n_slices"] == len(result["cases"])
    assert "stage 1 alone" in result["table"]


def test_the_summary_names_the_best_epoch_and_the_main_scores_with_intervals(finished_runs: Any, tmp_path: Path) -> None:
    run, result = finished_runs.with_result("joint")
    assert len(result["summary"]) == 4  # made runs have no curve of the score that selects
    dice = read_card(run.model).scores["segmentation.slice.dice"]
    (line,) = [line for line in result["summary"] if line.startswith("Dice, mean over slices with a tumour: ")]
    assert f": {dice['value']:.3f} [{dice['low']:.3f}, {dice['high']:.3f}], {dice['n_slices']} slices" in line
    assert f"{dice['n_patients']} patients" in line


def test_what_makes_masks_useless_is_said_at_the_end_and_goes_into_the_card_and_out_of_it(
    finished_seg: tuple[Run, dict], tmp_path: Path
) -> None:
    folder, flaw = tmp_path / "model", read_card(finished_seg[0].model).mask_flaw
    assert flaw.startswith("every mask was empty on validation")  # an untrained network outlines nothing
    assert f"the masks are of no use: {flaw}; check the true masks (`bts sources`), or train longer" in finished_seg[1]["table"]
    shutil.copytree(finished_seg[0].model, folder)
    point: dict[str, Any] = {"flip": False, "n_slices": 3, "threshold": 0.5, "min_area": 0.0}
    assert write_choice(folder, OperatingChoice(**point, mask_flaw="every mask was empty")).mask_flaw == "every mask was empty"
    assert write_choice(folder, OperatingChoice(**point)).mask_flaw == ""


def test_the_test_scores_stand_in_tensorboard(finished_seg: tuple[Run, dict]) -> None:
    run, result = finished_seg
    events = EventAccumulator(str(run.path)).Reload()
    assert events.Scalars("test/slice.dice")[-1].value == pytest.approx(result["cases"]["dice"].mean(), abs=1e-5)


def test_a_run_cut_short_says_so(finished_cls: tuple[Run, dict]) -> None:
    _, result = finished_cls
    assert result["scores"]["limit_batches"] == 2
    assert "at most 2 batches per epoch" in result["table"]


def test_pictures_are_drawn_and_the_run_is_marked_as_finished(finished_seg: tuple[Run, dict]) -> None:
    run, _ = finished_seg
    for name in ("curves.png", "split.png"):
        with Image.open(run.path / name) as picture:
            assert picture.width > 400
    assert run.marker() == {**(run.marker() or {}), "task": "seg", "synthetic": True}
    assert find_latest(run.path.parents[1], "seg") == run


def test_a_joint_model_is_scored_for_masks_classes_and_both_together(finished_runs: Any) -> None:
    run, result = finished_runs.with_result("joint")
    scores, card = result["scores"], read_card(run.model)
    assert {"segmentation", "classification", "together", "explanation"} <= set(scores)
    assert card.temperature == pytest.approx(scores["operating_point"]["temperature"])
    assert card.operating_point["threshold"] == scores["operating_point"]["threshold"]
    assert find_latest(run.path.parents[1], "joint") == run
    assert card.cam_scale == pytest.approx(scores["operating_point"]["cam_scale"])


def test_finishing_twice_gives_the_same_scores(finished_seg: tuple[Run, dict], tmp_path: Path) -> None:
    run, first = finished_seg
    shutil.copytree(run.path, tmp_path / "seg" / "one")
    again = finish_run(Run(tmp_path / "seg" / "one"), device="cpu")["scores"]
    assert {**again, "made": None} == {**first["scores"], "made": None}


@pytest.fixture
def fresh(tmp_path: Path, mixed_set: Path) -> Run:
    return made_run(tmp_path, "seg", data=mixed_set)


def test_a_run_without_its_split_file_is_refused(fresh: Run) -> None:
    fresh.split_file.unlink()
    with pytest.raises(RequestError, match=r"split\.csv: the run has no split file"):
        finish_run(fresh)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no run \(settings\.yaml is missing\)"):
        finish_run(Run(tmp_path))


@pytest.mark.parametrize(("part", "stays"), [("test", "val"), ("val", "train")])
def test_an_empty_part_is_refused(fresh: Run, part: str, stays: str) -> None:
    split = Split.read(fresh.split_file)
    Split(tuple(replace(row, part=stays) if row.part == part else row for row in split.rows)).write(fresh.split_file)
    card = read_card(fresh.model)
    write_made_model(fresh.model, "seg", name="one", classes=list(card.classes), trained=[], seed=0)
    with pytest.raises(RequestError, match=f"no slice in part '{part}'"):
        finish_run(fresh)
    assert not fresh.finished.exists()


def test_test_patients_that_were_trained_on_are_refused(fresh: Run) -> None:
    seen = Split.read(fresh.split_file).part("test")[0]
    write_made_model(fresh.model, "seg", name="seg/one", classes=[], trained=[seen.patient], seed=0)
    with pytest.raises(RequestError, match=r"are of 1 patient that 'seg/one' was trained on \(first: .*\.mat\)"):
        finish_run(fresh)


def test_slices_that_are_not_in_the_data_are_refused(fresh: Run) -> None:
    split = Split.read(fresh.split_file)
    Split(tuple(replace(row, path=f"x{row.path}") for row in split.rows)).write(fresh.split_file)
    with pytest.raises(RequestError, match="are not in the data"):
        finish_run(fresh)


def test_a_model_of_another_class_list_is_refused(tmp_path: Path, mixed_set: Path) -> None:
    run = made_run(tmp_path, "cls", data=mixed_set)
    write_made_model(run.model, "cls", name="cls/one", classes=["cat", "dog", "cow"], trained=[], seed=0)
    with pytest.raises(RequestError, match=r"is none of the model's \(cat, dog, cow\)"):
        finish_run(run)


def test_the_uncertainty_threshold_is_written_and_reset(finished_seg: tuple[Run, dict], tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(finished_seg[0].model, folder)
    choice = OperatingChoice(
        flip=False, n_slices=9, threshold=0.5, min_area=0.0, uncertainty=Uncertainty(0.75, 0.8, 0.1, 10, 40)
    )
    assert write_choice(folder, choice).uncertain_mask_below == 0.75
    assert read_card(folder).uncertain_mask_below == 0.75
    write_choice(folder, replace(choice, uncertainty=None))
    assert not read_card(folder).uncertain_mask_below
