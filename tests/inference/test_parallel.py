"""Workers keep the order, the memory bound and the errors of their items."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from fake_models import BrightRuntime, make_card, make_slice

from bts.inference.parallel import (
    MAX_WORKERS,
    PREFETCH,
    available_cores,
    batches,
    map_ordered,
    requested_threads,
    threads_per_worker,
    workers_for,
)
from bts.inference.predictor import Predictor


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_order_of_the_items(workers: int) -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3 == 0))  # every third is late
        return number * number

    assert list(map_ordered(work, range(20), workers=workers)) == [number * number for number in range(20)]


def test_lanes_work_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=20)  # nobody passes before three are there
    assert len(list(map_ordered(lambda _: meeting.wait(), range(3), workers=3))) == 3


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_items_are_taken_than_the_lanes_may_hold(workers: int) -> None:
    taken: list[int] = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    results = map_ordered(lambda number: number, items(), workers=workers)
    assert next(results) == 0
    assert len(taken) <= PREFETCH * workers


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_is_raised_where_its_result_would_come(workers: int) -> None:
    def work(number: int) -> int:
        if number == 2:
            raise ValueError("the third is broken")
        return number

    found: list[int] = []
    with pytest.raises(ValueError, match="the third is broken"):
        found.extend(map_ordered(work, range(50), workers=workers))
    assert found == [0, 1]


def test_whoever_stops_early_leaves_nothing_running() -> None:
    before = threading.active_count()
    results = map_ordered(lambda number: number, range(100), workers=2)
    next(results)
    results.close()
    assert threading.active_count() == before


def test_batches_are_full_but_for_the_last() -> None:
    assert list(batches("abcde", 2)) == [["a", "b"], ["c", "d"], ["e"]]


@pytest.mark.parametrize(("value", "expected"), [("2", 2), ("3,1", 3), ("", 0), ("many", 0)])
def test_the_number_of_threads_follows_the_environment(monkeypatch: pytest.MonkeyPatch, value: str, expected: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert requested_threads() == expected


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    assert available_cores() == 6
    assert [workers_for(items) for items in (0, 1, 4, 500)] == [1, 1, 4, 6]
    assert [threads_per_worker(workers) for workers in (1, 2, 4, 12)] == [0, 3, 1, 1]
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    assert (workers_for(500), threads_per_worker(workers_for(500))) == (MAX_WORKERS, 64 // MAX_WORKERS)


def test_many_slices_with_workers_answer_as_one_after_another() -> None:
    slices = [make_slice(np.random.default_rng(number).normal(size=(20, 24))) for number in range(9)]
    models = [BrightRuntime(make_card("seg")), BrightRuntime(make_card("cls"), class_logits=[0, 2, 1], cam=np.eye(2))]
    one, many = (list(Predictor(models, workers=workers).predict_many(slices, batch_size=2)) for workers in (1, 3))
    for alone, found in zip(one, many, strict=True):
        assert found.slice is alone.slice
        assert np.array_equal(found.mask, alone.mask)
        assert found.to_dict() == alone.to_dict()


def test_on_a_cpu_a_slice_goes_through_the_networks_alone() -> None:
    runtime = BrightRuntime(make_card("seg"))
    runtime.device = "cpu in f32"
    assert Predictor([runtime]).best_batch_size == 1
    runtime.device = "cuda"
    assert Predictor([runtime]).best_batch_size > 1
