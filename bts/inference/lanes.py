"""Parallel work: lanes (threads) within this process, and this process's share of several that torchrun or srun started.

A lane carries a scan all the way from reading to the written files. Reading, the network, drawing and compressing release
Python's lock for most of their time, so lanes use several cores. On a CPU each lane's network computes with its own share of
the
cores: no core waits at the end of a layer for one that is drawing.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from bts.errors import RequestError

T = TypeVar("T")
R = TypeVar("R")
MOST = 16
"""Largest number of lanes: more would wait for Python's lock, and each holds a batch in memory; more cores become threads."""
AHEAD = 2
"""Results per lane that are computed ahead of the one that is taken next: this bounds the memory."""
VARIABLES = (("RANK", "WORLD_SIZE", "LOCAL_RANK"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"))
"""Environment variables of torchrun and of srun: rank, number of processes, rank on this machine. SLURM's number of tasks is
that of the step, which srun sets; that of the job is also set where a batch script runs a single process."""


def threads_asked() -> int:
    """Return the number of threads in `OMP_NUM_THREADS`, as torch reads it; 0 where it is not set: one per core."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdigit() else 0


def cores_here() -> int:
    """Return the number of cores that this process may use: `OMP_NUM_THREADS`, else those of its CPU affinity."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return threads_asked() or own or 1


def lanes_for(items: int) -> int:
    """Return the number of lanes for a number of items on this machine."""
    return max(1, min(cores_here(), MOST, items))


def threads_a_lane(lanes: int) -> int:
    """Return the number of threads for the network of each lane; 0 for a single lane: the library's choice."""
    return max(1, cores_here() // lanes) if lanes > 1 else 0


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items; the last one may be shorter."""
    left = iter(items)
    while batch := list(islice(left, size)):
        yield batch


def map_ordered(work: Callable[[T], R], items: Iterable[T], *, lanes: int) -> Iterator[R]:
    """Yield `work(item)` for each item in order, computed in lanes.

    Items are taken as needed, at most `AHEAD` per lane ahead of the result that is yielded next. An error in `work` is raised
    in place of its result. If the caller stops early, running work is waited for and no more is started.
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


@dataclass(frozen=True)
class Share:
    """This process among those that were started together. Inputs are independent, so each takes every `world`-th of them.

    Attributes:
        rank: of this process, from 0.
        world: number of processes.
        local: rank among the processes of this machine, from 0.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    def of(self, items: Sequence[T]) -> list[T]:
        """Return this process's items; those of all processes together are each item once."""
        return list(items[self.rank :: self.world])


def read_share(environment: Mapping[str, str] | None = None) -> Share:
    """Return this process's share from the environment; all items where it was started alone.

    Raises:
        RequestError: the variables are not numbers, or the rank is not below the number of processes.
    """
    known = os.environ if environment is None else environment
    for rank, world, local in VARIABLES:
        if rank in known and world in known:
            values = {name: known.get(name, "0") for name in (rank, world, local)}
            if not all(value.isdigit() for value in values.values()) or not int(values[rank]) < int(values[world]):
                found = ", ".join(f"{name}={value}" for name, value in values.items())
                raise RequestError(f"{found}: expected numbers, {rank} from 0 to below {world}: start with torchrun or srun")
            return Share(int(values[rank]), int(values[world]), int(values[local]))
    return Share()


def under_torchrun() -> bool:
    """Return whether torchrun started this process: it ends all others as soon as one exits with a status other than 0."""
    return "TORCHELASTIC_RUN_ID" in os.environ
