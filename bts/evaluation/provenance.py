"""Provenance of a number: commit, versions, machine, device and time."""

from __future__ import annotations

import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import bts
from bts.cpu import allowed_cores

PACKAGES = ("torch", "monai", "numpy", "scikit-learn")


def provenance(device: str) -> dict[str, Any]:
    """Return time, commit, version, machine and device, as far as they are known."""
    return {
        "time": time.strftime("%Y-%m-%d %H:%M %z"),
        "bts": bts.__version__,
        "commit": commit(),
        "machine": machine(),
        "device": device,
        "versions": ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES),
    }


def commit(folder: Path | None = None) -> str | None:
    """Return the commit of the checkout that contains this code, with `+` for local changes; None without git."""
    where = folder or Path(bts.__file__).resolve().parent
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"],
            cwd=where, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip() or None


def machine() -> str:
    """Return the name of the processor and the number of usable cores."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    except OSError:
        pass  # not Linux: fall back to the name that Python reports
    cores = len(allowed_cores())
    return f"{name}, {cores} cores"
