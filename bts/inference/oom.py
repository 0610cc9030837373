"""Recovery from running out of memory: a batch that does not fit is halved until it does."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from bts.inference.runtimes.base import RawOutput

T = TypeVar("T")
LOG = logging.getLogger(__name__)
MESSAGES = re.compile(r"out of memory|bad[ _]alloc|(?:can't|failed to|unable to|could not) allocate", re.IGNORECASE)
"""Messages of torch, ONNX Runtime and OpenVINO; their exceptions share no class."""


class AdaptiveBatcher:
    """Runs batches in parts that fit in memory, and remembers the size that did.

    Attributes:
        largest: slices that are run together; None while no batch was too large.
    """

    def __init__(self) -> None:
        self.largest: int | None = None

    def run(self, batch: Sequence[T], run: Callable[[Sequence[T]], list[RawOutput]]) -> list[RawOutput]:
        """Return what `run` returns for the batch, an output per model.

        Raises:
            MemoryError: a single slice does not fit.
        """
        largest = self.largest or len(batch)  # read once: a part may halve it again
        if len(batch) > largest:
            return _join([self.run(batch[start : start + largest], run) for start in range(0, len(batch), largest)])
        try:
            return run(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise MemoryError("one slice alone does not fit in memory") from error
        self.largest = len(batch) // 2
        LOG.warning("a batch of %d slices does not fit in memory: halved to %d from here on", len(batch), self.largest)
        return self.run(batch, run)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an exception of any of the libraries means that memory is exhausted."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or bool(MESSAGES.search(str(error)))


def _join(parts: Sequence[Sequence[RawOutput]]) -> list[RawOutput]:
    """Concatenate the outputs for the parts of a batch, one per model."""
    return [RawOutput(*(_stack(values) for values in zip(*outputs, strict=True))) for outputs in zip(*parts, strict=True)]


def _stack(values: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [value for value in values if value is not None]
    return np.concatenate(known) if known else None
