"""Class scores against scikit-learn, including absent and never predicted classes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import metrics as sk

from bts.audit.confounding import weighted_auc
from bts.evaluation import classification
from bts.evaluation.classification import auc_intervals, false_share_interval, weighted_false_share
from bts.evaluation.intervals import draw_patients, statistic_interval


def answers(seed: int, classes: int = 3, n: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes, n)
    probabilities = rng.dirichlet(np.ones(classes), n) * 0.6 + 0.4 * np.eye(classes)[truth]
    probabilities = probabilities.round(1) + 1e-6  # ties between slices
    return truth, probabilities.argmax(axis=1), probabilities / probabilities.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_class_scores_are_those_of_scikit_learn(seed: int) -> None:
    truth, predicted, _ = answers(seed, classes=4)
    sums = classification.confusion_rows(truth, predicted, 4).sum(axis=0)
    assert (sums.reshape(4, 4) == sk.confusion_matrix(truth, predicted)).all()
    assert classification.accuracy(sums) == pytest.approx(sk.accuracy_score(truth, predicted))
    assert classification.balanced_accuracy(sums) == pytest.approx(sk.balanced_accuracy_score(truth, predicted))
    precision, recall, f1, _ = sk.precision_recall_fscore_support(truth, predicted, zero_division=0)
    assert classification.precisions(sums) == pytest.approx(precision)
    assert classification.recalls(sums) == pytest.approx(recall)
    assert classification.f1_scores(sums) == pytest.approx(f1)
    assert classification.macro("f1")(sums) == pytest.approx(sk.f1_score(truth, predicted, average="macro"))
    for index in range(4):  # specificity is the recall of "not this class"
        assert classification.specificities(sums)[index] == pytest.approx(sk.recall_score(truth != index, predicted != index))


def test_an_absent_class_is_left_out_of_the_macro_mean_and_a_class_never_predicted_is_not() -> None:
    truth, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 0, 0])
    sums = classification.confusion_rows(truth, predicted, 3).sum(axis=0)
    assert classification.recalls(sums)[:2] == pytest.approx([1, 0])
    assert np.isnan(classification.recalls(sums)[2])
    assert classification.balanced_accuracy(sums) == pytest.approx(0.5)
    assert classification.precisions(sums)[:2] == pytest.approx([0.5, 0])
    assert np.isnan(classification.precisions(sums)[2])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert classification.macro("f1")(sums) == pytest.approx(sk.f1_score(truth, predicted, average="macro"))


def test_one_class_only_has_an_accuracy_and_no_auc() -> None:
    truth = np.zeros(6, dtype=int)
    probabilities = np.full((6, 2), 0.5)
    bootstrap = draw_patients(list("abcdef"), draws=50)
    rows = classification.confusion_rows(truth, truth, 2)
    found = statistic_interval(rows, classification.balanced_accuracy, bootstrap)
    assert found is not None
    assert (found.value, found.low, found.high) == (1, None, None)
    assert auc_intervals(truth, probabilities, bootstrap) == [None, None, None]


def test_a_draw_without_a_class_averages_over_the_classes_it_has() -> None:
    truth, predicted = np.array([0, 0, 1]), np.array([0, 0, 0])
    bootstrap = draw_patients(["a", "b", "c"], draws=500)  # the only slice of class 1 is missing from many draws
    found = statistic_interval(classification.confusion_rows(truth, predicted, 2), classification.balanced_accuracy, bootstrap)
    assert found is not None
    assert found.value == pytest.approx(0.5)
    assert found.high == pytest.approx(1.0)


def test_confusion_intervals_are_those_of_scikit_learn_in_a_loop() -> None:
    truth, predicted, _ = answers(7)
    patients = [f"p{i % 12}" for i in range(len(truth))]
    bootstrap = draw_patients(patients, draws=60)
    rows = classification.confusion_rows(truth, predicted, 3)
    found = classification.balanced_accuracy(bootstrap.weights @ bootstrap.by_patient(rows))
    for sample, weights in zip(found, bootstrap.weights, strict=True):
        weight = weights[bootstrap.codes]
        assert sample == pytest.approx(sk.balanced_accuracy_score(truth, predicted, sample_weight=weight))


@pytest.mark.parametrize("seed", range(4))
def test_weighted_auc_is_that_of_scikit_learn_with_ties(seed: int) -> None:
    truth, _, probabilities = answers(seed)
    weights = np.random.default_rng(seed).integers(0, 4, (5, len(truth))).astype(float)
    found = weighted_auc(truth == 1, probabilities[:, 1], weights)
    wanted = [sk.roc_auc_score(truth == 1, probabilities[:, 1], sample_weight=row) for row in weights]
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize("seed", range(5))
def test_the_false_share_at_a_share_found_is_that_of_scikit_learn_with_ties(seed: int) -> None:
    truth, _, probabilities = answers(seed)
    weights = np.random.default_rng(seed).integers(0, 4, (5, len(truth))).astype(float)
    found = weighted_false_share(truth == 1, probabilities[:, 1], weights, found=0.8)
    for row, share in zip(weights, found, strict=True):
        false, true, _ = sk.roc_curve(truth == 1, probabilities[:, 1], sample_weight=row, drop_intermediate=False)
        assert share == pytest.approx(false[true >= 0.8 - 1e-9][0])


def test_a_false_share_without_negatives_is_undefined() -> None:
    bootstrap = draw_patients(["a", "b"], draws=10)
    assert false_share_interval(np.array([True, True]), np.array([0.2, 0.9]), bootstrap, found=0.8) is None


def test_auc_intervals_hold_the_value_and_end_with_the_macro_mean() -> None:
    truth, _, probabilities = answers(1)
    bootstrap = draw_patients([f"p{i % 20}" for i in range(len(truth))], draws=300)
    *single, macro = auc_intervals(truth, probabilities, bootstrap)
    assert macro is not None
    assert macro.value == pytest.approx(np.mean([one.value for one in single if one]))
    assert macro.value == pytest.approx(sk.roc_auc_score(truth, probabilities, multi_class="ovr"))
    assert macro.low < macro.value < macro.high  # type: ignore[operator]
