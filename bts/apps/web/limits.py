"""What the page accepts, of one visitor and of all together."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from bts.errors import InputError

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What the page accepts; `infer.py` on the command line has none of these limits.

    Attributes:
        upload_mib: largest file.
        seconds: longest time that one scan may compute.
        batch_seconds: longest time that one batch may compute.
        waiting: requests that may wait; a further one is asked to come back.
        files: most files of one batch.
        voxels: largest volume in voxels, from the header before anything is read.
        pixels: largest picture, and largest slice of a volume, in pixels.
        held_voxels: of all scans that are kept for open pages; beyond it the oldest ones are let go.
        idle_seconds: after that long without a request a visitor's scan and results are removed.
        disk_mib: uploads and results of all visitors together; beyond it no further upload is taken.
        stall_seconds: after that long without a byte of an upload it is broken off.
        sweep_seconds: how often what has expired is removed.
    """

    upload_mib: float = 200
    seconds: float = 120
    batch_seconds: float = 1800
    waiting: int = 16
    files: int = 200
    voxels: int = 2**26
    pixels: int = 2**24
    held_voxels: int = 2**27
    idle_seconds: float = 1800
    disk_mib: float = 4096
    stall_seconds: float = 60
    sweep_seconds: float = 30


@dataclass
class Deadline:
    """When a request must have ended.

    Attributes:
        seconds: that it may take from now on.
    """

    seconds: float
    began: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Raise `InputError` where the time is over."""
        if time.monotonic() - self.began > self.seconds:
            raise InputError(f"stopped after {self.seconds:g} s, the longest that this page computes: use `python infer.py`")
