"""Interleaved timing: repeated in turn, so that a slower machine affects every candidate alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

Call = Callable[[], object]


def once(call: Call) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def once_cpu(call: Call) -> tuple[float, float]:
    """Return the seconds that a call takes, and those of all cores that it uses: other work on the machine lengthens only the
    first.
    """
    began, cpu = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - began, time.process_time() - cpu


def in_turn(calls: Mapping[str, Call], *, rounds: int, each: int) -> dict[str, list[float]]:
    """Return the milliseconds of every call, `rounds` times `each` of them.

    In every round each takes its turn, after one call that does not count: the threads and caches of the one before have to go.
    """
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            call()
            found[name] += [1000 * once(call) for _ in range(each)]
    return found
