"""One-line messages with a remedy for common errors of torch."""

from __future__ import annotations

import errno
import re

from bts.runs import Run
from bts.settings import Settings

SHARED_MEMORY = re.compile(
    r"DataLoader worker .*(Bus error|exited unexpectedly|Killed)|unable to .*/torch_|out of shared memory", re.DOTALL
)
BATCH_NORM = re.compile(r"Expected more than 1 value per channel when training")
OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|not enough memory", re.IGNORECASE)
DISK_FULL = re.compile(r"PytorchStreamWriter failed|file write failed|No space left on device|Disk quota exceeded")


def explain(error: Exception, settings: Settings, run: Run) -> str | None:
    """Return what went wrong and what to do about it in one line, or None for an error that has no such explanation."""
    text = str(error)
    data = settings.data
    if SHARED_MEMORY.search(text):
        now = "automatic" if data.workers is None else data.workers
        return (
            "the data loader processes ended, most often because shared memory (/dev/shm) is too small: use `--data.workers 0` "
            f"(now {now}), or give the container more, such as `docker run --shm-size 1g`"
        )
    if (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)) or DISK_FULL.search(text):
        then = f"resume with --resume {run.path}" if run.checkpoints.is_dir() else "start again"
        return f"{run.path}: the disk is full or its quota is used up: free some space, then {then}"
    if BATCH_NORM.search(text):
        return (
            f"batch norm cannot train on one value per channel: a training batch has one slice of {data.size} px; raise "
            f"`--data.batch_size` (now {data.batch_size}) to 2 or more, or train on 2 slices or more"
        )
    if type(error).__name__ == "OutOfMemoryError" or OUT_OF_MEMORY.search(text):
        batches = f"batches of {data.batch_size} slices of {data.size} px"
        return f"out of memory with {batches}: lower `--data.batch_size` or `--data.size`"
    return None
