"""Telemetry of third-party libraries, switched off before any of them is imported.

`import bts` calls `switch_off_telemetry`, so every command, the page and a user's own program pass here. A library that a
program imported before `bts` may have sent something by then: import `bts` first.
"""

from __future__ import annotations

import os
import sys

SWITCHES = {
    "DO_NOT_TRACK": "1",  # consoledonottrack.com: huggingface_hub and others
    "FASTAPI_OTEL_AUTO_CONFIGURE": "false",  # FastAPI exports traces of requests where OTEL_* variables name a server
    "GRADIO_ANALYTICS_ENABLED": "False",  # events and the version check
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "NO_ALBUMENTATIONS_UPDATE": "1",  # the import looks for a newer version on PyPI
    "ORT_DISABLE_TELEMETRY": "1",  # events to Microsoft from native code, and a device identifier under ~/.cache
    "OTEL_SDK_DISABLED": "true",
    "RAY_USAGE_STATS_ENABLED": "0",  # of a cluster that this process starts; that of another one is its administrator's
    "WANDB_ERROR_REPORTING": "false",
}
"""Environment variable -> the value that switches a library's telemetry off. Child processes inherit them."""

BLOCKED = ("openvino_telemetry",)
"""Packages that only send events. Where one can't be imported, its library uses a stub of its own: OpenVINO has one."""


def switch_off_telemetry() -> None:
    """Set the variables of `SWITCHES`, and let the import of a package of `BLOCKED` fail as if it were not installed."""
    os.environ.update(SWITCHES)
    for name in BLOCKED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None makes the import raise ModuleNotFoundError
