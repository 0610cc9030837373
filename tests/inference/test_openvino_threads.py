"""Do two threads that are the first to ask OpenVINO both get an answer, or does the process stand still?"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openvino", reason="openvino is not installed: pip install 'bts[openvino]'")
PROGRAM = """
import sys, threading
from pathlib import Path
import numpy as np
from bts.inference.runtimes.openvino import OpenVinoRuntime
sys.setswitchinterval(1e-6)  # the threads take turns at every step: without care one in two of these processes stood still
runtime = OpenVinoRuntime.open(Path(sys.argv[1]), device="cpu", lanes=2)
images = np.zeros((1, 64, 64), np.uint8)
together = threading.Barrier(2)
def ask():
    together.wait()
    runtime.run(images)
threads = [threading.Thread(target=ask) for _ in range(2)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print("answered")
"""
TIMES = 4


def test_two_threads_may_be_the_first_to_ask(exported_models: dict[str, Path]) -> None:
    for _ in range(TIMES):
        line = [sys.executable, "-c", PROGRAM, str(exported_models["joint"])]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout.strip()) == (0, "answered"), done.stderr
