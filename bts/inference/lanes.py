"""How do several scans go through at once and still come out in their order? In lanes: threads that each carry one all the way.

Reading, the network, drawing and compressing all leave Python's lock for most of their time, so lanes use as many cores. On a
CPU each lane's network computes with its own share of the cores: no core waits at the end of a layer for one that is drawing.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from bts.inference.runtimes.exported import threads_asked

T = TypeVar("T")
R = TypeVar("R")
MOST = 16
"""Lanes at most: more would wait for Python's lock, and each holds a batch in memory; they take the other cores as threads."""
AHEAD = 2
"""Pieces of work a lane that are under way or finished and not yet asked for: what bounds the memory."""


def cores_here() -> int:
    """Return how many cores this process may use: as `OMP_NUM_THREADS` says, else those it may run on."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return threads_asked() or own or 1


def lanes_for(items: int) -> int:
    """Return how many lanes serve a number of items on this machine."""
    return max(1, min(cores_here(), MOST, items))


def threads_a_lane(lanes: int) -> int:
    """Return how many threads the network of each of several lanes computes with; 0 with one lane: as the library chooses."""
    return max(1, cores_here() // lanes) if lanes > 1 else 0


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items, the last one of those that are left."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def map_ordered(work: Callable[[T], R], items: Iterable[T], *, lanes: int) -> Iterator[R]:
    """Yield `work(item)` of each item in the order of the items, computed in lanes.

    Items are taken as they are needed, at most `AHEAD` a lane before the one that is yielded next. An error in `work` is raised
    where its result would come; whoever stops early waits for what is under way, and nothing else is begun.
    """
    if lanes == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(lanes, thread_name_prefix="lane") as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= AHEAD * lanes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()
