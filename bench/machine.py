"""Machine of a measurement: processor, cores, threads, load and versions."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from bts.inference.parallel import available_cores

PACKAGES = ("torch", "monai", "timm", "segmentation-models-pytorch", "onnxruntime", "openvino", "numpy", "h5py", "Pillow")


def describe_machine() -> dict[str, Any]:
    """Return the machine in numbers; `load` is how many processes wanted a core over the last minute."""
    return {
        "cpu": _cpu(),
        "flags": [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in _cpuinfo("flags").split()],
        "cores": os.cpu_count(),
        "threads": available_cores(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gpu": _gpu(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "time": time.strftime("%Y-%m-%d %H:%M"),
    }


def _cpuinfo(name: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = (line.partition(":")[2].strip() for line in text.splitlines() if line.partition(":")[0].strip() == name)
    return next(found, "")


def _cpu() -> str:
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _gpu() -> str | None:
    try:
        query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip().splitlines()[0] if done.returncode == 0 and done.stdout.strip() else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
