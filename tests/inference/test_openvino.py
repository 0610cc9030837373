"""Known faults of OpenVINO's binding that the runtime works around: a deadlock at the first call, and a lost signal stack."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openvino", reason="openvino is not installed: pip install 'bts[openvino]'")
SIGNALS = """
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
THREADS = """
import sys, threading
from pathlib import Path
import numpy as np
from bts.inference.runtimes.openvino import OpenVinoRuntime
sys.setswitchinterval(1e-6)  # the threads alternate at every step: without the lock, half of these processes hung
runtime = OpenVinoRuntime.open(Path(sys.argv[1]), device="cpu", workers=2)
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


def test_a_signal_is_handled_after_two_models_have_gone(exported_models: dict[str, Path]) -> None:
    folders = [str(exported_models[task]) for task in ("seg", "cls")]
    done = subprocess.run([sys.executable, "-c", SIGNALS, *folders], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "handled"), done.stderr


def test_two_threads_may_make_the_first_call(exported_models: dict[str, Path]) -> None:
    for _ in range(TIMES):
        line = [sys.executable, "-c", THREADS, str(exported_models["joint"])]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout.strip()) == (0, "answered"), done.stderr


@pytest.mark.parametrize(("name", "told"), [("openvino-f32", "in f32; "), ("openvino", " (OpenVINO's choice for this CPU, ")])
def test_the_note_gives_the_precision_and_who_chose_it(name: str, told: str, exported_models: dict[str, Path]) -> None:
    from bts.inference.runtimes.openvino import OpenVinoRuntime

    (note,) = OpenVinoRuntime.open(exported_models["seg"], device="cpu", name=name).notes
    assert note.startswith(f"{name} on the CPU in ")
    assert told in note
    assert "requested" not in note
