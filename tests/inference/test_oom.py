"""Batches that do not fit in memory are halved, and the outputs keep their order."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pytest
from fake_models import BrightRuntime, make_card, make_slice

from bts.inference.oom import AdaptiveBatcher, is_out_of_memory
from bts.inference.predictor import Predictor
from bts.inference.runtimes.base import RawOutput


def runner(*, fits: int, asked: list[int], error: Exception):
    """Say of every number the number itself, twice; more than fit raise the error."""

    def run(batch: Sequence[int]) -> list[RawOutput]:
        asked.append(len(batch))
        if len(batch) > fits:
            raise error
        return [RawOutput(mask_prob=np.array(batch, np.float32)), RawOutput(class_logits=-np.array(batch, np.float32))]

    return run


def test_a_batch_that_fits_is_asked_at_once() -> None:
    asked: list[int] = []
    AdaptiveBatcher().run(range(8), runner(fits=8, asked=asked, error=MemoryError()))
    assert asked == [8]


def test_a_batch_is_halved_until_it_fits_and_that_is_remembered(caplog: pytest.LogCaptureFixture) -> None:
    asked: list[int] = []
    batcher, run = AdaptiveBatcher(), runner(fits=3, asked=asked, error=MemoryError())
    with caplog.at_level(logging.WARNING):
        first, second = batcher.run(range(9), run)
    assert first.mask_prob.tolist() == list(range(9))
    assert second.class_logits.tolist() == [-number for number in range(9)]
    assert first.class_logits is None
    assert asked == [9, 4, 2, 2, 2, 2, 1]
    assert [record.getMessage() for record in caplog.records] == [
        "a batch of 9 slices does not fit in memory: halved to 4 from here on",
        "a batch of 4 slices does not fit in memory: halved to 2 from here on",
    ]
    asked.clear()
    batcher.run(range(4), run)
    assert asked == [2, 2]


def test_one_slice_that_does_not_fit_is_an_error_of_memory() -> None:
    with pytest.raises(MemoryError, match="one slice alone does not fit"):
        AdaptiveBatcher().run(range(4), runner(fits=0, asked=[], error=RuntimeError("bad allocation")))


def test_another_error_is_not_taken_for_one_of_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        AdaptiveBatcher().run(range(4), runner(fits=0, asked=[], error=RuntimeError("shapes do not match")))


@pytest.mark.parametrize(
    "text",
    [
        "CUDA out of memory. Tried to allocate 20.00 GiB",
        "[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 9 bytes",
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code: std::bad_alloc",
        "[ONNXRuntimeError] : 1 : FAIL : BFCArena Failed to allocate memory for requested buffer of size 8",
        "Exception from src/inference: bad allocation",
    ],
)
def test_what_the_libraries_say_is_understood(text: str) -> None:
    assert is_out_of_memory(RuntimeError(text))


class Small(BrightRuntime):
    """A runtime that fits two slices."""

    def run(self, images: np.ndarray, *, cam_class: int | None = None) -> RawOutput:
        if len(images) > 2:
            raise RuntimeError("bad allocation")
        return super().run(images, cam_class=cam_class)


def test_a_predictor_answers_every_slice_in_order_where_the_batch_is_too_large() -> None:
    predictor = Predictor([Small(make_card("seg"))])
    slices = [make_slice(path=f"{number}.png") for number in range(5)]
    assert [found.slice.path for found in predictor.predict_many(slices, batch_size=5)] == [item.path for item in slices]
