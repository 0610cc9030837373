"""Processes of the peers: the same cores and threads for all, with time and peak memory."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peers.environments import reason

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
WORKERS = ("nnUNet_n_proc_DA", "nnUNet_def_n_proc")
"""nnU-Net's processes, which its manual asks the user to set to the cores at hand."""
EVERY_S = 2.0
"""Time between two measurements of memory."""


class PeerError(Exception):
    """A peer's program that failed; the message is one line for the table."""


@dataclass(frozen=True)
class Done:
    """Seconds of a process and the peak of the memory of all its processes together, MiB; None where it can't be measured."""

    seconds: float
    peak_mib: float | None


def cores_at_hand() -> list[int]:
    """Return the cores that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def run_process(command: Sequence[str], *, cores: int, log: Path, limit_s: float, folder: Path) -> Done:
    """Run a command on that many cores, add its output to a log, and end all that it started.

    Raises:
        PeerError: it fails, or takes longer than `limit_s`.
    """
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= dict.fromkeys((*THREADS, *WORKERS), str(cores))
    environment |= {"PYTHONUNBUFFERED": "1", "NO_ALBUMENTATIONS_UPDATE": "1", "HF_HUB_OFFLINE": "1"}
    bound = cores_at_hand()[:cores]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        began = time.perf_counter()
        process = subprocess.Popen(
            list(command), stdout=file, stderr=subprocess.STDOUT, env=environment, cwd=folder, start_new_session=True
        )
        if hasattr(os, "sched_setaffinity"):
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(process.pid, bound)  # before it starts others, which inherit it
        memory = _Memory(process.pid)
        try:
            status = process.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            raise PeerError(f"stopped: it took longer than {limit_s / 60:.0f} minutes; see {log}") from None
        finally:
            memory.stop()
            _end(process)
    if status:
        raise PeerError(f"failed with status {status} ({reason(log)}); see {log}")
    return Done(time.perf_counter() - began, memory.peak_mib)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process, if it still runs, and what it has left in its session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)


class _Memory:
    """Peak of the proportional set size of a process and its descendants, measured in a thread; Linux only."""

    def __init__(self, pid: int) -> None:
        self.peak_mib: float | None = None
        self._pid, self._stopped = pid, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if sys.platform == "linux":
            self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(EVERY_S if self.peak_mib else 0.2):
            if found := sum(map(_pss_kib, descendants(self._pid))):
                self.peak_mib = max(self.peak_mib or 0.0, found / 1024)


def descendants(pid: int) -> list[int]:
    """Return a process and all processes that it started, directly or not."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def _pss_kib(pid: int) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
