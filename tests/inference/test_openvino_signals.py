"""A signal after OpenVINO has answered is handled: two models that come and go leave the process whole."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openvino", reason="openvino is not installed: pip install 'bts[openvino]'")
PROGRAM = """
import gc, signal, sys
from pathlib import Path
from bts.inference.runtimes.openvino import OpenVinoRuntime
signal.signal(signal.SIGTERM, lambda number, frame: print("handled"))
first, second = (OpenVinoRuntime.open(Path(folder), device="cpu") for folder in sys.argv[1:])
del first
gc.collect()
del second
gc.collect()
signal.raise_signal(signal.SIGTERM)
"""


def test_a_signal_is_handled_after_two_models_have_gone(exported_models: dict[str, Path]) -> None:
    folders = [str(exported_models[task]) for task in ("seg", "cls")]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *folders], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "handled"), done.stderr
