"""Parallel inference: worker threads of this process.

A worker handles a scan from reading to the written files. Reading, the network, drawing and compressing release the GIL for
most of their time, so workers use several cores. On a CPU the cores are divided among the networks of the workers: no core
waits at the end of a layer for one that is drawing.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from bts.cpu import allowed_cores

T = TypeVar("T")
R = TypeVar("R")
MAX_WORKERS = 16
"""Maximum number of workers: more would wait for the GIL, and each holds a batch in memory; further cores become threads."""
PREFETCH = 2
"""Number of results per worker that are computed in advance: this bounds the memory."""


def requested_threads() -> int:
    """Return the number of threads in `OMP_NUM_THREADS`, as torch reads it; 0 if it is not set."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdigit() else 0


def available_cores() -> int:
    """Return the number of cores that this process may use: `OMP_NUM_THREADS`, else those of its CPU affinity."""
    return requested_threads() or len(allowed_cores())


def workers_for(items: int) -> int:
    """Return the number of workers for a number of items on this machine."""
    return max(1, min(available_cores(), MAX_WORKERS, items))


def threads_per_worker(workers: int) -> int:
    """Return the number of threads for the network of each worker; 0 for a single worker: the library's choice."""
    return max(1, available_cores() // workers) if workers > 1 else 0


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items; the last one may be shorter."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def map_ordered(work: Callable[[T], R], items: Iterable[T], *, workers: int) -> Iterator[R]:
    """Yield `work(item)` for each item in order, computed by worker threads.

    Items are taken as needed, at most `PREFETCH` per worker ahead of the next result. An error in `work` is raised in place of
    its result. If the caller stops early, running work is finished and no more is started.
    """
    if workers == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers, thread_name_prefix="bts-worker") as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= PREFETCH * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()
