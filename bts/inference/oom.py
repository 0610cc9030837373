"""What if a batch is too large for the memory? It is halved until it fits, which is told once and remembered."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from bts.inference.runtimes.base import RawOutput

T = TypeVar("T")
LOG = logging.getLogger(__name__)
SAID = re.compile(r"out of memory|bad[ _]alloc|(?:can't|failed to|unable to|could not) allocate", re.IGNORECASE)
"""How torch, ONNX Runtime and OpenVINO say that memory is short; they share no kind of error for it."""


class AdaptiveBatcher:
    """Asks about batches in parts that fit.

    Attributes:
        most: slices that are asked about together; None before anything was too large.
    """

    def __init__(self) -> None:
        self.most: int | None = None

    def run(self, batch: Sequence[T], run: Callable[[Sequence[T]], list[RawOutput]]) -> list[RawOutput]:
        """Return what `run` says of the batch, an answer a model.

        Raises:
            MemoryError: not even one slice fits.
        """
        most = self.most or len(batch)  # of now: a part may halve it again
        if len(batch) > most:
            return _join([self.run(batch[start : start + most], run) for start in range(0, len(batch), most)])
        try:
            return run(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise MemoryError("one slice alone does not fit in memory") from error
        self.most = len(batch) // 2
        LOG.warning("a batch of %d slices does not fit in memory: halved to %d from here on", len(batch), self.most)
        return self.run(batch, run)


def is_out_of_memory(error: Exception) -> bool:
    """Return whether a library means that memory is short."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or bool(SAID.search(str(error)))


def _join(parts: Sequence[Sequence[RawOutput]]) -> list[RawOutput]:
    """Put the answers to the parts of a batch, an answer a model each, one behind another."""
    return [RawOutput(*(_stack(values) for values in zip(*answers, strict=True))) for answers in zip(*parts, strict=True)]


def _stack(values: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [value for value in values if value is not None]
    return np.concatenate(known) if known else None
