"""Time from a dropped scan to its picture on the page, compared with `infer.py`, and memory of the server."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bench.clock import once
from bench.lines import Line
from bench.material import Kind, model, scans
from bts.errors import RequestError

ROOT = Path(__file__).resolve().parents[1]
INFER, DROP = "infer.py, one scan, warm", "page, drop to picture"
GROWTH = 1.1
"""Largest memory after many uploads as a multiple of that after few."""
A_VISIT = 10
"""Scans that one visitor drops before the page is closed and the next one comes."""
PATIENCE_S = 300


def run(work: Path, *, quick: bool) -> tuple[list[Line], list[str]]:
    """Return the lines of the page, and what to know of them."""
    if find_spec("gradio") is None:
        raise RequestError('the page needs Gradio: pip install "bts[app]"')
    folder = model(work, Kind("joint", "test_resnet", 64) if quick else Kind("joint", "mobilenetv2_100"))
    few, many = (2, 4) if quick else (20, 200)
    paths = sorted(scans(work, count=many, patients=2 if quick else 20).glob("*.mat"))
    with serving(folder) as (url, pid):
        memory, dropped, inferred = _measure(url, pid, folder, paths, few=few, out=work / "written")
    held = f"server's memory after {few} uploads"
    return [
        Line(INFER, tuple(inferred)),
        Line(DROP, tuple(dropped), against=INFER),
        Line(held, (memory[few],), unit="MiB"),
        Line(f"server's memory after {many} uploads", (memory[many],), unit="MiB", against=held, must=GROWTH),
    ], [
        "joint MobileNetV2, ONNX Runtime, random weights; .mat of 512x512 or 256x256; the page and infer.py take turns",
        "infer.py: the scan read, answered, its four files written, in a process that has answered before",
        "drop to picture: the bytes sent to a server on this machine, waited for in its queue, read, answered, the same files "
        "written, the picture's layers drawn and received; what a browser does before and after is not in it",
        f"memory: resident; every visitor drops {A_VISIT} scans and closes the page",
    ]


def _measure(
    url: str, pid: int, folder: Path, paths: list[Path], *, few: int, out: Path
) -> tuple[dict[int, float], list[float], list[float]]:
    """Return the server's memory in MiB by number of uploads, and the milliseconds of the page and of `infer.py`."""
    from bts.data.readers.catalogue import read_scan
    from bts.inference.predictor import Predictor
    from bts.inference.write import write_prediction

    predictor = Predictor.load(joint=folder, runtime="onnx", device="cpu")

    def infer(path: Path) -> None:
        write_prediction(predictor.predict(read_scan(path).slices[0]), out)

    memory, dropped, inferred = {}, [], []
    for start in range(0, len(paths), A_VISIT):
        with visiting(url) as visitor:
            for number, path in enumerate(paths[start : start + A_VISIT], start + 1):
                dropped.append(1000 * once(lambda path=path: visitor.drop(path)))
                if number <= few:
                    inferred.append(1000 * once(lambda path=path: infer(path)))
                if number in (few, len(paths)):
                    memory[number] = resident_mib(pid)
    return memory, dropped[1:few], inferred[1:]  # the first answer of a process is not that of the others


class Visitor:
    """Who asks the server as the page in a browser does.

    Attributes:
        client: an open connection.
        key: which visit it is.
        handler: number of what happens when a scan is dropped.
        batch: number of what happens when many scans are to be answered.
    """

    def __init__(self, client: Any) -> None:
        self.client, self.key = client, secrets.token_hex(8)
        config = client.get("/config").json()
        (zone,) = (each["id"] for each in config["components"] if each["props"].get("elem_id") == "bts-upload")
        (self.handler,) = (each["id"] for each in config["dependencies"] if [zone, "upload"] in each["targets"])
        (files,) = (each["id"] for each in config["components"] if each["props"].get("elem_id") == "bts-files")
        (self.batch,) = (each["id"] for each in config["dependencies"] if each["inputs"] == [files])

    def drop(self, path: Path) -> None:
        """Send a scan and wait for its picture."""
        answer = self.client.post("/gradio_api/upload", files={"files": (path.name, path.read_bytes())})
        (stored,) = answer.raise_for_status().json()
        data = [[{"path": stored, "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}]]
        asked = {"data": data, "fn_index": self.handler, "session_hash": self.key}
        self.client.post("/gradio_api/queue/join", json=asked).raise_for_status()
        with self.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": self.key}) as events:
            for line in events.iter_lines():
                event = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
                if event.get("msg") == "process_completed":
                    if "<figure" not in str(event["output"]["data"][0]):
                        raise RuntimeError(f"no picture of {path.name}: {event['output']['data'][1]}")
                    return
        raise RuntimeError(f"no answer for {path.name}")


@contextlib.contextmanager
def visiting(url: str) -> Iterator[Visitor]:
    """Yield a visitor whose page is open, and closed afterwards."""
    import httpx

    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        visitor = Visitor(client)
        with client.stream("GET", f"/gradio_api/heartbeat/{visitor.key}") as beat:
            alive = beat.iter_text()  # held on to: the page counts as closed once nobody reads any more
            next(alive)
            yield visitor


@contextlib.contextmanager
def serving(folder: Path, *options: str, temporary: Path | None = None) -> Iterator[tuple[str, int]]:
    """Yield address and process of a page over a model, with further options, and with a temporary folder of its own."""
    line = [sys.executable, "-m", "bts.apps.cli", "app", "--joint", str(folder), "--runtime", "onnx", "--device", "cpu"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({"TMPDIR": str(temporary)} if temporary else {})
    with subprocess.Popen([*line, "--port", "0", *options], stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        try:
            said = next((words for words in server.stdout if words.startswith("open ")), None)
            if said is None:
                raise RuntimeError(f"{' '.join(line)} ended with {server.wait()}")
            yield said.split()[1], server.pid
        finally:
            server.terminate()


def resident_mib(pid: int) -> float:
    """Return the memory that a process holds."""
    done = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(done.stdout) / 2**10
