"""CPU cores that a computation may use: affinity, cgroup quota, and the share that other processes take; and its memory.

With OpenMP every thread waits for the slowest one at the end of each loop. A thread that shares its core with another process
holds up all others: one thread fewer is then many times faster than one too many.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}
"""Variables of GNU's and of Intel's OpenMP that let waiting threads sleep instead of spin; read when torch is imported."""
FIXED_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables with which a user sets the number of threads."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
"""Options of glibc's `mallopt`."""
RETURNED_BYTES = 2**20
"""Size in bytes from which on `return_freed_memory` returns a block; returning smaller ones took more CPU time."""
NEGLIGIBLE = 0.3
"""Cores' worth of other processes' work that costs no thread."""


def is_torchrun() -> bool:
    """Return whether torchrun started this process as one of several: it ends them all once one exits with an error."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def let_threads_sleep() -> None:
    """Set the variables of `PASSIVE`, unless the user has set one of OpenMP's wait policy."""
    if not any(name in os.environ for name in (*PASSIVE, "GOMP_SPINCOUNT")):
        os.environ.update(PASSIVE)


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Let the C library keep freed memory for the next allocation inside the block, instead of returning it to the system.

    glibc maps a block above 32 MiB anew each time, and the kernel fills its pages with zeros at their first use. The maps of a
    network are that large and the same in each step: a training step of the joint MobileNetV2 takes 0.9 of its time (16 slices
    of 224 pixels), and the peak of memory is the same. Nothing is changed without glibc, or where the user has set its
    variables.
    """
    library = _allocator()
    if library is None:
        yield
        return
    library.mallopt(M_MMAP_MAX, 0)
    library.mallopt(M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        library.mallopt(M_MMAP_MAX, 65536)  # glibc's default
        library.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # what glibc's own rule arrives at once a large block has been freed
        library.mallopt(M_TRIM_THRESHOLD, 64 * 2**20)
        library.malloc_trim(0)


def return_freed_memory() -> None:
    """Let the C library return every freed block of at least 1 MiB to the system, for a process that runs for days.

    glibc raises its limit to the largest block that was freed, up to 32 MiB; smaller ones then stay in its heap, which other
    blocks keep from shrinking. Nothing is changed without glibc, or where the user has set its variables.
    """
    library = _allocator()
    if library is not None:
        library.mallopt(M_MMAP_THRESHOLD, RETURNED_BYTES)
        library.mallopt(M_TRIM_THRESHOLD, 2 * RETURNED_BYTES)


def _allocator() -> ctypes.CDLL | None:
    """Return glibc; None with another C library, or where the user has set the allocator's variables."""
    try:
        library = ctypes.CDLL("libc.so.6")
        found = bool(library.mallopt and library.malloc_trim)
    except (OSError, AttributeError):
        return None
    return library if found and not any(name.startswith("MALLOC_") for name in os.environ) else None


@dataclass(frozen=True)
class Cores:
    """What limits the threads of this process.

    Attributes:
        count: cores of its CPU affinity.
        quota: cores' worth of time of its cgroup, None without a limit.
        default: number of threads of the library.
        processes: number of processes of this training on the machine.
    """

    count: int
    quota: float | None
    default: int
    processes: int = 1


def choose_threads(cores: Cores, busy: float) -> tuple[int, str]:
    """Return the number of threads and the reason; `busy` is the cores' worth of work of other processes.

    >>> choose_threads(Cores(count=2, quota=None, default=2), busy=0.1)
    (2, '2 cores, 0.1 of them in use by other processes')
    >>> choose_threads(Cores(count=2, quota=None, default=2), busy=1.0)
    (1, '2 cores, 1.0 of them in use by other processes')
    """
    free = cores.count - max(0, math.ceil(busy - NEGLIGIBLE))
    reason = f"{cores.count} {'core' if cores.count == 1 else 'cores'}"
    if cores.quota is not None:
        free = min(free, math.floor(cores.quota))
        reason += f", a quota of {cores.quota:g} cores"
    reason += f", {busy:.1f} of them in use by other processes"
    if cores.processes > 1:
        free //= cores.processes
        reason += f", shared by {cores.processes} processes"
    return max(1, min(free, cores.default)), reason


def allowed_cores() -> set[int]:
    """Return the numbers of the cores of this process's CPU affinity, all cores where the system has no affinity."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def cgroup_quota(root: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> float | None:
    """Return the smallest CPU limit, in cores, of this process's cgroup and those above it; None without a limit.

    Args:
        root: mount point of the cgroup file system.
        membership: file that names the cgroup of this process, version 2 as `0::/a/b`, version 1 as `1:cpu,cpuacct:/a/b`.
    """
    limits = []
    for line in _read(membership).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        base = root / "cpu" if controllers else root
        parts = Path(path).parts[1:]
        for depth in range(len(parts) + 1):
            limits.append(_limit(base.joinpath(*parts[:depth])))
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(folder: Path) -> float | None:
    """Return the limit of one cgroup, `<quota> <period>` or `max <period>`; version 1 has a file for each, -1 for none."""
    text = _read(folder / "cpu.max") or f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}"
    numbers = text.split()
    if len(numbers) != 2 or not all(number.isdigit() for number in numbers) or int(numbers[1]) == 0:
        return None
    return int(numbers[0]) / int(numbers[1])


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""


def busy_ticks(text: str, cores: Collection[int]) -> int:
    """Return the clock ticks that cores have worked, from `/proc/stat`; the host's share of a virtual core (steal) is work.

    >>> busy_ticks("cpu  9 9 9 9\\ncpu0 5 1 2 900 30 1 0 4 3 0\\ncpu1 7 0 0 800 0 0 0 0 0 0\\n", {0})
    13
    """
    total = 0
    for line in text.splitlines():
        name, *columns = line.split() or [""]
        if name[:3] == "cpu" and name[3:].isdigit() and int(name[3:]) in cores:
            user, nice, system, _idle, _iowait, *others = map(int, columns[:8])  # what follows is part of user and nice
            total += user + nice + system + sum(others)
    return total


class OtherLoad:
    """Cores' worth of work that other processes have done since the last reading, on the cores of this process."""

    def __init__(self) -> None:
        self._cores = allowed_cores()
        self._before = self.clocks()

    def read(self) -> float:
        """Return the mean since the last reading, or since this object was made; waits until that is 0.3 s ago."""
        time.sleep(max(0.0, 0.3 - (time.monotonic() - self._before[0])))
        before, self._before = self._before, self.clocks()
        wall_s, all_s, own_s = (now - then for now, then in zip(self._before, before, strict=True))
        if all_s == 0 and hasattr(os, "getloadavg"):  # a system without /proc/stat
            return max(0.0, os.getloadavg()[0] - own_s / wall_s)
        return max(0.0, (all_s - own_s) / wall_s)

    def clocks(self) -> tuple[float, float, float]:
        """Return the wall time, the busy time of the cores and the processor time of this process, in seconds."""
        ticks = busy_ticks(_read(Path("/proc/stat")), self._cores)
        per_s = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
        return time.monotonic(), ticks / per_s, time.process_time()
