"""Limits of the page, per visitor and in total."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from bts.errors import InputError

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Limits of the page; `infer.py` on the command line has none of them.

    Attributes:
        upload_mib: size of an upload.
        seconds: computing time of a scan.
        batch_seconds: computing time of a batch.
        waiting: length of the request queue; further requests are refused.
        files: number of files of a batch or of a series; a longer series is packed as a zip.
        unpacked_mib: size of the scans in a zip archive after unpacking.
        voxels: size of a volume in voxels, checked from the header.
        pixels: size of a picture or of a slice of a volume in pixels.
        held_voxels: size of all scans in memory; beyond it the least recently used ones are dropped.
        idle_seconds: time without a request after which a visitor's scan and results are removed.
        disk_mib: disk space for uploads and results of all visitors; beyond it uploads are refused.
        stall_seconds: time without data after which an upload is aborted.
        sweep_seconds: interval between removals of expired data.
    """

    upload_mib: float = 200
    seconds: float = 120
    batch_seconds: float = 1800
    waiting: int = 16
    files: int = 512
    unpacked_mib: float = 512
    voxels: int = 2**26
    pixels: int = 2**24
    held_voxels: int = 2**27
    idle_seconds: float = 1800
    disk_mib: float = 4096
    stall_seconds: float = 60
    sweep_seconds: float = 30


@dataclass
class Deadline:
    """Time limit of a request, from its creation on.

    Attributes:
        seconds: the limit.
    """

    seconds: float
    began: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Raise `InputError` if the limit is exceeded."""
        if time.monotonic() - self.began > self.seconds:
            raise InputError(f"stopped after {self.seconds:g} s, the time limit of this page: use `python infer.py`")
