"""Tables of scores against counts from the cases."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from made_tables import CLASSES, made_cases
from sklearn import metrics as sk

from bts.evaluation.classification import patient_cases
from bts.evaluation.metric_registry import headline, text_table
from bts.evaluation.scores import plain, summarise


@pytest.fixture(scope="module")
def cases() -> pd.DataFrame:
    return made_cases()


@pytest.fixture(scope="module")
def summary(cases: pd.DataFrame) -> dict:
    return summarise(cases, draws=300)


def test_misses_and_false_masks_are_the_shares_that_counting_gives(cases: pd.DataFrame, summary: dict) -> None:
    tumour, healthy = cases[cases.truth_area_px > 0], cases[cases.truth_area_px == 0]
    masks = summary["segmentation"]
    assert masks["missed_tumour"].value == pytest.approx((tumour.predicted_area_px == 0).mean())
    assert masks["healthy_with_mask"].value == pytest.approx((healthy.predicted_area_px > 0).mean())
    assert masks["healthy_with_large_mask"].value == pytest.approx((healthy.predicted_area_px >= 10).mean())
    assert masks["healthy_with_mask"].n_slices == len(healthy)
    assert masks["healthy_with_mask"].n_patients == healthy.patient.nunique()


def test_means_count_empty_masks_and_the_patient_mean_averages_within_patients_first(
    cases: pd.DataFrame, summary: dict
) -> None:
    masks = summary["segmentation"]
    assert masks["slice"]["dice"].value == pytest.approx(cases.dice.mean())
    assert masks["patient"]["dice"].value == pytest.approx(cases.groupby("patient").dice.mean().mean())
    both = cases[(cases.truth_area_px > 0) & (cases.predicted_area_px > 0)]
    assert masks["both_masks"]["hd95_px"].value == pytest.approx(both.hd95_px.mean())
    assert masks["class"]["glioma"]["dice"].value == pytest.approx(cases[cases.label == "glioma"].dice.mean())
    assert "hd95_mm" not in masks["slice"]


def test_planes_are_scored_apart_where_they_are_known(cases: pd.DataFrame, summary: dict) -> None:
    planes = summary["segmentation"]["plane"]
    assert list(planes) == ["axial", "sagittal"]
    assert planes["axial"]["dice"].value == pytest.approx(cases[cases.plane == "axial"].dice.mean())
    assert summarise(cases.assign(plane=None), draws=20)["segmentation"]["plane"] == {}


def test_size_tertiles_hold_all_tumours_in_three_equal_groups(cases: pd.DataFrame, summary: dict) -> None:
    tumours = (cases.truth_area_px > 0).sum()
    counts = [summary["segmentation"]["size"][name]["dice"].n_slices for name in ("small", "medium", "large")]
    assert sum(counts) == tumours
    assert max(counts) - min(counts) <= 2


def test_classes_are_scored_per_slice_and_per_patient(cases: pd.DataFrame, summary: dict) -> None:
    found = summary["classification"]
    assert found["slice"]["overall"]["accuracy"].value == pytest.approx(sk.accuracy_score(cases.label, cases.predicted))
    assert found["slice"]["confusion"] == sk.confusion_matrix(cases.label, cases.predicted, labels=CLASSES).tolist()
    means = cases.groupby("patient")[[f"prob_{name}" for name in CLASSES]].mean()
    truth = cases.groupby("patient").label.first()
    predicted = means.columns[means.to_numpy().argmax(axis=1)].str.removeprefix("prob_")
    assert found["patient"]["overall"]["accuracy"].value == pytest.approx((predicted == truth).mean())
    assert found["patient"]["overall"]["accuracy"].n_slices == cases.patient.nunique()


def test_one_patient_with_slices_of_two_classes_stands_once_for_each() -> None:
    cases = made_cases(6)
    cases["patient"] = "one"
    table = patient_cases(cases)
    assert set(table.label) == set(cases.label)
    assert table.n_slices.sum() == 6


def test_contradictions_and_both_right_are_counted(cases: pd.DataFrame, summary: dict) -> None:
    assert summary["together"]["contradiction"].value == pytest.approx(1 - cases.consistent.mean())
    assert summary["together"]["heads_contradiction"].value == pytest.approx(1 - cases.heads_consistent.mean())
    assert summary["together"]["both_right"].value == pytest.approx(cases.both_right.dropna().mean())
    assert summary["together"]["both_right"].n_slices == (cases.label != "no_tumour").sum()
    assert summary["together"]["both_right_healthy"].value == pytest.approx(cases.both_right_healthy.dropna().mean())


def test_referral_is_scored_with_its_coverage(cases: pd.DataFrame, summary: dict) -> None:
    answered = ~cases.refer
    found = summary["classification"]["referral"]
    assert found["coverage"].value == pytest.approx(answered.mean())
    assert found["accuracy_answered"].value == pytest.approx(cases[answered].right.mean())
    assert found["accuracy_referred"].value == pytest.approx(cases[~answered].right.mean())


def test_grad_cam_is_scored_for_right_and_wrong_answers_apart(cases: pd.DataFrame, summary: dict) -> None:
    tumour = cases[cases.label != "no_tumour"]
    found = summary["explanation"]
    assert found["right"]["cam_energy"].value == pytest.approx(tumour[tumour.right].cam_energy.mean())
    assert found["wrong"]["cam_hit"].value == pytest.approx(tumour[~tumour.right].cam_hit.mean())


def test_every_number_of_the_headline_carries_patients_slices_and_seed(summary: dict) -> None:
    rows = headline(summary)
    assert len(rows) > 15
    assert all(row.score.n_patients > 1 and row.score.n_slices > 1 and row.score.draws == 300 for row in rows if row.score)
    text = text_table(summary)
    assert "120 slices of 27 patients; 95% interval over 300 draws, seed 0" in text
    assert all(len(line) < 160 for line in text.splitlines())


def test_a_summary_is_json_without_nan(summary: dict) -> None:
    text = json.dumps(plain(summary), allow_nan=False)
    assert json.loads(text)["segmentation"]["slice"]["dice"]["draws"] == 300


def test_an_absent_class_and_a_single_patient_are_defined() -> None:
    cases = made_cases(30)
    only = cases[cases.label == "glioma"].assign(patient="one", patient_id="one")
    summary = summarise(only, draws=50)
    assert summary["segmentation"]["healthy_with_mask"] is None
    assert summary["segmentation"]["slice"]["dice"].low is None
    assert summary["classification"]["slice"]["class"]["meningioma"]["recall"] is None
    assert "no interval" in text_table(summary)
    json.dumps(plain(summary), allow_nan=False)


def test_without_patient_ids_the_slice_is_drawn_and_that_is_said(cases: pd.DataFrame) -> None:
    summary = summarise(cases.assign(patient=None, patient_id=None), draws=50)
    assert (summary["unit"], summary["n_patients"]) == ("slice", len(cases))
    assert "slices without patient IDs" in text_table(summary)


def test_uncertain_masks_are_counted_among_poor_masks_with_missed_tumours_and_among_the_others() -> None:
    cases = made_cases()
    drawn = cases.predicted_area_px > 0
    cases["mask_confidence"] = np.where(drawn, 0.5, np.nan)
    cases["mask_uncertain"] = [bool(i % 3) if there else None for i, there in enumerate(drawn)]
    found = summarise(cases)["segmentation"]["uncertain"]
    uncertain, poor = cases.mask_uncertain == True, cases.dice < 0.5  # noqa: E712
    tumour = cases.truth_area_px > 0
    assert (tumour & ~drawn).any()
    assert found["caught"].value == pytest.approx(uncertain[tumour & poor].mean())
    assert found["caught"].n_slices == (tumour & poor).sum()
    assert found["false"].value == pytest.approx(uncertain[tumour & ~poor].mean())
    assert found["healthy"].value == pytest.approx(uncertain[~tumour & drawn].mean())
    assert found["dice_others"].value == pytest.approx(cases.dice[drawn & ~uncertain].mean())
    assert any(row.key == "segmentation.uncertain.caught" for row in headline(summarise(cases)))


def test_a_table_without_uncertain_masks_has_no_line_about_them() -> None:
    assert "uncertain" not in summarise(made_cases())["segmentation"]


def test_scores_of_tumour_slices_and_of_healthy_slices_stand_apart_with_their_publishers() -> None:
    cases = made_cases()
    healthy = cases.label == "no_tumour"
    cases["source"] = np.where(healthy, np.where(np.arange(len(cases)) % 2, "brisc", "kaggle"), "figshare")
    summary = summarise(cases, draws=50)
    assert summary["segmentation"]["slice"]["dice"].n_slices == (~healthy).sum()
    assert summary["segmentation"]["slice"]["hd95_px"].value == pytest.approx(cases.hd95_px[~healthy].mean())
    assert set(summary["segmentation"]["class"]) == {"glioma", "meningioma"}
    assert summary["classification"]["tumour"]["accuracy"].value == pytest.approx(cases.right[~healthy].mean())
    assert summary["classification"]["healthy"]["accuracy"].value == pytest.approx(cases.right[healthy].mean())
    figshare, brisc = (summary["publishers"][name] for name in ("figshare", "brisc"))
    assert figshare["accuracy_tumour"].value == pytest.approx(cases.right[~healthy].mean())
    assert (figshare["accuracy_healthy"], figshare["healthy_with_mask"]) == (None, None)
    assert (brisc["dice"], brisc["accuracy_tumour"], brisc["missed"]) == (None, None, None)
    own = cases[cases.source == "brisc"]
    assert brisc["healthy_with_mask"].value == pytest.approx((own.predicted_area_px > 0).mean())
    names = {row.key: row.name for row in headline(summary)}
    assert names["classification.tumour.accuracy"] == "class right on slices with a tumour (figshare)"
    assert names["classification.healthy.accuracy"] == "class right on healthy slices (brisc, kaggle)"


def test_healthy_slices_alone_have_no_dice_and_a_rate_of_false_masks() -> None:
    cases = made_cases()
    cases = cases[cases.label == "no_tumour"]
    summary = summarise(cases, draws=50)
    keys = {row.key for row in headline(summary)}
    assert not {key for key in keys if "dice" in key or "iou" in key or "hd95" in key}
    assert "segmentation.healthy_with_mask" in keys


def test_the_precision_of_the_mask_stands_beside_the_energy_of_the_map() -> None:
    cases = made_cases()
    tumour = cases[cases.label != "no_tumour"]
    found = summarise(cases, draws=50)["explanation"]["all"]
    assert found["mask_precision"].value == pytest.approx(tumour.precision.mean())


def test_no_class_score_has_an_interval_without_a_width() -> None:
    cases = made_cases()
    cases["predicted"], cases["right"] = cases["label"], True
    for name in ("glioma", "meningioma", "no_tumour"):
        cases[f"prob_{name}"] = np.where(cases.label == name, 0.9, 0.05)
    found = summarise(cases, draws=50)["classification"]["slice"]
    recall = found["class"]["glioma"]["recall"]
    assert (recall.value, recall.low) == (1, pytest.approx(0.025 ** (1 / 9)))  # nine patients with a glioma
    assert found["overall"]["accuracy"].low == pytest.approx(0.025 ** (1 / 27))
    assert found["overall"]["macro_f1"].low is None
