"""Bootstrap intervals over patients against a plain loop, and edge cases."""

from __future__ import annotations

import time

import numpy as np
import pytest
import scipy.stats

from bts.evaluation.intervals import (
    Bootstrap,
    difference_interval,
    draw_patients,
    mean_interval,
    patient_mean_interval,
    ratio,
    statistic_interval,
)


def looped_means(values: np.ndarray, patients: list[str], bootstrap: Bootstrap) -> np.ndarray:
    """The mean in each draw, by writing out the drawn slices one patient after the other."""
    names = sorted(set(patients))
    means = []
    for row in bootstrap.weights:
        drawn = [v for name, times in zip(names, row, strict=True) for _ in range(int(times))
                 for v, p in zip(values, patients, strict=True) if p == name]  # fmt: skip
        means.append(np.mean(drawn))
    return np.array(means)


@pytest.fixture
def patients() -> list[str]:
    return ["b", "a", "a", "c", "c", "c", "d", "b"]


def test_the_interval_is_that_of_a_plain_loop_over_draws(patients: list[str]) -> None:
    values = np.random.default_rng(3).random(8)
    bootstrap = draw_patients(patients, seed=1, draws=200)
    found = mean_interval(values, bootstrap)
    assert found is not None
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx(
        tuple(np.quantile(looped_means(values, patients, bootstrap), [0.025, 0.975]))
    )
    assert (found.n_patients, found.n_slices, found.seed, found.draws) == (4, 8, 1, 200)


def test_each_draw_has_as_many_patients_as_there_are(patients: list[str]) -> None:
    assert (draw_patients(patients, draws=50).weights.sum(axis=1) == 4).all()


def test_same_seed_same_interval_in_any_order_of_slices(patients: list[str]) -> None:
    values = np.arange(8.0)
    order = np.random.default_rng(0).permutation(8)
    first = mean_interval(values, draw_patients(patients, draws=100))
    second = mean_interval(values[order], draw_patients([patients[i] for i in order], draws=100))
    assert first is not None
    assert second is not None
    assert (first.low, first.high) == pytest.approx((second.low, second.high))


def test_a_patient_interval_is_wider_than_one_that_draws_slices() -> None:
    rng = np.random.default_rng(5)
    patients = np.repeat([f"p{i}" for i in range(30)], 20)
    values = np.repeat(rng.normal(size=30), 20) + 0.1 * rng.normal(size=600)  # slices of a patient are alike
    by_patient = mean_interval(values, draw_patients(list(patients)))
    by_slice = mean_interval(values, draw_patients([str(i) for i in range(600)]))
    assert by_patient is not None
    assert by_slice is not None
    assert by_patient.high - by_patient.low > 3 * (by_slice.high - by_slice.low)  # type: ignore[operator]


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(11)
    hits = 0
    for seed in range(200):
        values = rng.normal(size=60)
        found = mean_interval(values, draw_patients([f"{i:02d}" for i in range(60)], seed=seed, draws=400))
        assert found is not None
        hits += found.low <= 0 <= found.high  # type: ignore[operator]
    assert 0.89 <= hits / 200 <= 0.99


def test_one_patient_has_a_value_and_no_interval() -> None:
    found = mean_interval(np.array([0.2, 0.4]), draw_patients(["only", "only"]))
    assert found is not None
    assert found.value == pytest.approx(0.3)
    assert (found.low, found.high, found.n_patients) == (None, None, 1)
    assert found.text() == "0.300 [no interval]"


def test_a_mean_over_nothing_is_none_and_no_slice_at_all_is_refused(patients: list[str]) -> None:
    assert mean_interval(np.ones(8), draw_patients(patients), keep=np.zeros(8, bool)) is None
    assert patient_mean_interval(np.ones(8), draw_patients(patients), keep=np.zeros(8, bool)) is None
    with pytest.raises(ValueError, match="at least one slice"):
        draw_patients([])


def test_slices_left_out_may_hold_nan(patients: list[str]) -> None:
    values = np.array([1.0, np.nan, np.nan, 2.0, 2.0, 2.0, 3.0, 1.0])
    keep = np.isfinite(values)
    found = mean_interval(values, draw_patients(patients), keep=keep)
    assert found is not None
    assert found.value == pytest.approx(11 / 6)
    assert (found.n_patients, found.n_slices) == (3, 6)


def test_the_patient_mean_weighs_patients_alike(patients: list[str]) -> None:
    values = np.array([0.0, 1.0, 1.0, 0.5, 0.5, 0.5, 1.0, 1.0])  # a 1, b 0.5, c 0.5, d 1
    found = patient_mean_interval(values, draw_patients(patients))
    assert found is not None
    assert found.value == pytest.approx(0.75)


def test_a_model_against_itself_differs_by_nothing(patients: list[str]) -> None:
    pairs = np.stack([np.random.default_rng(0).random(8), np.ones(8)], axis=1)
    found = difference_interval(pairs, pairs, ratio, draw_patients(patients))
    assert found is not None
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    rng = np.random.default_rng(2)
    patients = [f"p{i:02d}" for i in range(40)]
    first = np.stack([rng.random(40), np.ones(40)], axis=1)
    second = first + np.array([0.05, 0.0])  # always better by the same
    bootstrap = draw_patients(patients)
    found = difference_interval(first, second, ratio, bootstrap)
    alone = statistic_interval(first, ratio, bootstrap)
    assert found is not None
    assert alone is not None
    assert (found.low, found.high) == pytest.approx((0.05, 0.05))
    assert alone.high - alone.low > 0.1  # type: ignore[operator]


def test_three_thousand_slices_take_less_than_ten_seconds() -> None:
    rng = np.random.default_rng(0)
    patients = [f"p{i}" for i in rng.integers(0, 233, 3064)]
    start = time.perf_counter()
    bootstrap = draw_patients(patients)
    for _ in range(50):
        mean_interval(rng.random(3064), bootstrap)
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize("happened", [False, True])
def test_a_share_of_nobody_or_of_all_has_the_exact_binomial_bound_over_patients(happened: bool) -> None:
    patients = [f"p{index // 2}" for index in range(60)]  # 30 patients of two slices each
    values, keep = np.full(60, happened), np.arange(60) < 40  # 20 of them count
    found = mean_interval(values, draw_patients(patients, draws=50), keep=keep)
    assert found is not None
    low, high = scipy.stats.binomtest(20 if happened else 0, 20).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.value == float(happened)


def test_a_score_whose_draws_all_agree_has_no_interval_unless_it_is_a_share() -> None:
    found = mean_interval(np.zeros(6), draw_patients(list("aabbcc"), draws=50))  # a distance in pixels has no upper bound of 1
    assert found is not None
    assert (found.low, found.high, found.n_patients) == (None, None, 3)
    share = mean_interval(np.zeros(6, dtype=bool), draw_patients(list("aabbcc"), draws=50))
    assert share is not None
    assert share.high == pytest.approx(1 - 0.025 ** (1 / 3))


def test_look_alike_slices_of_unknown_patients_are_clusters_and_known_patients_are_not() -> None:
    bootstrap = draw_patients(["7", "8", "unknown-1", "unknown-1"], draws=50)
    values, healthy = np.array([0.0, 1, 0, 1]), np.array([False, False, True, True])
    tumour, both = mean_interval(values, bootstrap, keep=~healthy), mean_interval(values, bootstrap)
    assert tumour is not None
    assert both is not None
    assert (tumour.unit, tumour.counted) == ("patient", "2")
    assert (both.unit, both.counted) == ("cluster", "3 clusters")
