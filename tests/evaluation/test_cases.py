"""Table of cases: one row per slice, and errors for missing predictions, labels and masks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from made_cases import MadeSource, Scripted, certain, made_slice, square

from bts.data.patient_ids import SamePatient
from bts.data.slice import Slice
from bts.errors import InputError, RequestError
from bts.evaluation.cases import evaluate_cases
from bts.evaluation.metric_registry import headline
from bts.evaluation.scores import summarise
from bts.glossary import NO_TUMOUR
from bts.inference.prediction import Prediction
from bts.progress import Phase

EMPTY = np.zeros((32, 32), bool)


@pytest.fixture
def source() -> MadeSource:
    return MadeSource(
        [
            made_slice(1, label="glioma", mask=square(4, 4), patient="MR040240"),
            made_slice(2, label="meningioma", mask=square(10, 10), patient="100"),
            made_slice(3, label=NO_TUMOUR, mask=None, patient="200"),
        ]
    )


def answers() -> Scripted:
    cam = square(4, 4).astype(np.float32)
    return Scripted(
        {
            "1.png": (square(4, 4), certain("glioma"), cam),
            "2.png": (EMPTY, certain("glioma", 0.6), cam),
            "3.png": (square(0, 0, 2), certain(NO_TUMOUR), cam),
        }
    )


def test_each_slice_has_one_row_with_its_own_scores(source: MadeSource) -> None:
    cases = evaluate_cases(answers(), source, source.records())
    assert list(cases["path"]) == ["1.png", "2.png", "3.png"]
    assert list(cases["patient"]) == ["MR040240", "100", "200"]
    assert list(cases["dice"])[:2] == [1, 0]
    assert list(cases["right"]) == [True, False, True]
    assert list(cases["consistent"]) == [True, False, False]
    assert list(cases["both_right"]) == [True, False, None]
    assert list(cases["both_right_healthy"]) == [None, None, False]
    assert list(cases["truth_area_px"]) == [36, 36, 0]
    assert list(cases["predicted_area_px"]) == [36, 0, 4]
    assert cases["confidence"].tolist() == pytest.approx([0.9, 0.6, 0.9])
    assert cases["cam_energy"].tolist()[:2] == [1, 0]
    assert np.isnan(cases["cam_energy"][2])  # a healthy slice has no tumour to point at
    overlaps = cases[["dice", "iou", "hd95_px", "asd_px", "surface_dice"]]
    assert not overlaps[:2].isna().any(axis=None)
    assert overlaps[2:].isna().all(axis=None)  # without a true mask there is no overlap


@pytest.mark.parametrize(("same_patient", "patient"), [("suffixes", "MR040240"), ("exact", "MR040240B")])
def test_a_suffix_is_another_patient_only_where_the_split_says_so(same_patient: SamePatient, patient: str) -> None:
    one = MadeSource([made_slice(1, label="glioma", mask=square(4, 4), patient="MR040240B")])
    cases = evaluate_cases(answers(), one, one.records(), same_patient=same_patient)
    assert list(cases["patient"]) == [patient]
    assert list(cases["patient_id"]) == ["MR040240B"]


def test_progress_counts_every_slice_and_predictions_can_be_kept(source: MadeSource, phases: list[Phase]) -> None:
    kept = []
    evaluate_cases(answers(), source, source.records(), keep=lambda r, p: kept.append((r.path, p.label)))
    assert [(phase.name, phase.done, phase.total) for phase in phases] == [("predicting", 3, 3)]
    assert kept == [("1.png", "glioma"), ("2.png", "glioma"), ("3.png", NO_TUMOUR)]


def test_an_empty_part_is_refused(source: MadeSource) -> None:
    with pytest.raises(RequestError, match="the part is empty"):
        evaluate_cases(answers(), source, [])


def test_a_missing_prediction_is_refused_by_name(source: MadeSource) -> None:
    class Forgetful(Scripted):
        def predict_many(self, slices: Iterable[Slice]) -> Iterator[Prediction]:
            yield from list(super().predict_many(slices))[:-1]

    with pytest.raises(InputError, match=r"3\.png: the model gave no prediction"):
        evaluate_cases(Forgetful(answers().answers), source, source.records())


def test_a_prediction_too_many_is_refused(source: MadeSource) -> None:
    class Talkative(Scripted):
        def predict_many(self, slices: Iterable[Slice]) -> Iterator[Prediction]:
            for prediction in super().predict_many(slices):
                yield prediction
                yield prediction

    with pytest.raises(InputError, match="more predictions than the 1 slices"):
        evaluate_cases(Talkative(answers().answers), source, source.records()[:1])


def test_a_tumour_without_its_mask_among_others_is_refused_by_name() -> None:
    items = [made_slice(1, label="glioma", mask=square(4, 4)), made_slice(2, label="glioma", mask=None)]
    source = MadeSource(items)
    told = Scripted({item.path: (EMPTY, None, None) for item in items})
    with pytest.raises(InputError, match=r"2\.png: the slice has no mask, but others of the set have one \(1 are missing\)"):
        evaluate_cases(told, source, source.records())


def test_a_segmenter_on_a_set_without_masks_is_refused_and_a_classifier_is_not() -> None:
    source = MadeSource([made_slice(1, label="glioma", mask=None)])
    with pytest.raises(RequestError, match="no slice of this set has a mask"):
        evaluate_cases(Scripted({"1.png": (EMPTY, None, None)}), source, source.records())
    cases = evaluate_cases(Scripted({"1.png": (None, certain("glioma"), None)}), source, source.records())
    assert "dice" not in cases
    assert cases["right"].all()


def test_a_class_that_the_model_does_not_know_is_refused_by_name() -> None:
    source = MadeSource([made_slice(1, label="metastasis", mask=square(2, 2))])
    with pytest.raises(
        RequestError, match=r"1\.png: class 'metastasis' is none of the model's \(meningioma, glioma, no_tumour\)"
    ):
        evaluate_cases(Scripted({"1.png": (None, certain("glioma"), None)}), source, source.records())


def test_a_slice_without_a_label_is_refused_by_name() -> None:
    source = MadeSource([made_slice(1, label=None, mask=square(2, 2))])
    with pytest.raises(InputError, match=r"1\.png: the slice has no label"):
        evaluate_cases(Scripted({"1.png": (None, certain("glioma"), None)}), source, source.records())


def test_slices_without_a_patient_have_no_patient() -> None:
    source = MadeSource([made_slice(1, label="glioma", mask=square(2, 2), patient=None)])
    cases = evaluate_cases(Scripted({"1.png": (EMPTY, None, None)}), source, source.records())
    assert cases["patient"].isna().all()


def test_tumours_of_a_publisher_without_masks_are_scored_by_their_class_alone() -> None:
    with_mask = [made_slice(n, label="glioma", mask=square(4, 4), patient=str(n)) for n in (1, 2, 3)]
    without = [replace(made_slice(n, label="glioma", mask=None, patient=str(n)), source="no masks") for n in (4, 5)]
    healthy = [made_slice(n, label="no_tumour", mask=None, patient=str(n)) for n in (6, 7)]
    source = MadeSource([*with_mask, *without, *healthy])
    found = {item.path: (square(4, 4), certain("glioma"), None) for item in [*with_mask, *without]}
    found |= {item.path: (EMPTY, certain("no_tumour"), None) for item in healthy}
    cases = evaluate_cases(Scripted(found), source, source.records())
    scores = {row.key: row.score for row in headline(summarise(cases))}
    assert cases["dice"].notna().tolist() == [True] * 3 + [False] * 4
    assert scores["segmentation.slice.dice"].n_slices == scores["segmentation.missed_tumour"].n_slices == 3
    assert scores["segmentation.healthy_with_mask"].n_slices == 2
    assert scores["classification.tumour.accuracy"].n_slices == 5
