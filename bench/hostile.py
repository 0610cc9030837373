"""Hostile uploads against a real server on this machine: answers, memory, and files left behind.

Several visitors send files of every readable kind, truncated, with flipped bits and inflated; they break bodies off, leave
uploads unused and answers unread, and send JSON that is none. Number and time are bounded, and what is sent follows from the
seed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.app import Visitor, resident_mib, serving
from bench.hostile_files import Files
from bench.lines import Line
from bench.material import Kind, model

GROWTH_MIB = 300
"""By how much the server's memory may have grown once everything is swept."""
IDLE_S, UPLOAD_MIB, DISK_MIB = 20, 8, 256
"""Limits that the server is started with."""
PATIENCE_S = 120
ACTS = {"ask": 0.55, "batch": 0.05, "leave": 0.15, "break off": 0.15, "unread": 0.05, "junk": 0.05}
"""What a visitor does with a file, and how often."""
JUNK = (
    b"[" * 5000,
    b'{"data": ["' + b"a" * 100_000 + b'"]}',
    b'{"data": [{"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}], "fn_index": 2, "session_hash": "x"}',
    b'{"data": [{"path": "http://127.0.0.1:1/x", "meta": {"_type": "gradio.FileData"}}], "fn_index": 2, "session_hash": "x"}',
    b'{"data": NaN}',
    b"\xff\xfe\x00",
)


@dataclass
class Attack:
    """How much is sent, and what came of it.

    Attributes:
        url: of the server.
        files: what is sent.
        seconds: after which no more is sent.
        most: requests that are sent at most.
        visitors: who send at once.
        seed: of everything drawn.
        outcomes: how often what came back.
    """

    url: str
    files: Files
    seconds: float
    most: int
    visitors: int = 3
    seed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        """Send everything."""
        end = time.monotonic() + self.seconds
        share = self.most // self.visitors
        threads = [threading.Thread(target=self._visit, args=(number, share, end)) for number in range(self.visitors)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _visit(self, number: int, share: int, end: float) -> None:
        rng = np.random.default_rng((self.seed, number))
        done = 0
        while done < share and time.monotonic() < end:
            visit = min(int(rng.integers(1, 12)), share - done)
            done += visit
            with contextlib.suppress(OSError), _visiting(self.url, stays=rng.random() < 0.5) as client:
                for _ in range(visit):
                    if time.monotonic() < end:
                        self._count(client, rng)

    def _count(self, client: Any, rng: np.random.Generator) -> None:
        import httpx

        act = str(rng.choice(list(ACTS), p=list(ACTS.values())))
        way, kind, data = self.files.draw(rng)
        try:
            came = _act(act, client, kind, data, rng)
        except (httpx.HTTPError, RuntimeError, OSError) as error:
            came = f"no answer: {type(error).__name__}"
        self.outcomes[f"{act}: {came}"] += 1
        if act in ("ask", "batch"):
            self.outcomes[f"{way} {kind}"] += 1


@contextlib.contextmanager
def _visiting(url: str, *, stays: bool) -> Iterator[Visitor]:
    """Yield a visitor; one who stays never closes the page."""
    import httpx

    with httpx.Client(base_url=url, timeout=PATIENCE_S) as client:
        visitor = Visitor(client)
        if stays:
            yield visitor
            return
        with client.stream("GET", f"/gradio_api/heartbeat/{visitor.key}") as beat:
            alive = beat.iter_text()
            next(alive)
            yield visitor


def _act(act: str, visitor: Visitor, kind: str, data: bytes, rng: np.random.Generator) -> str:
    """Do one thing and return what came of it."""
    client, name = visitor.client, f"scan{kind}"
    if act == "break off":
        return _break_off(str(client.base_url), name, data, share=float(rng.random()))
    if act == "junk":
        sent = JUNK[int(rng.integers(len(JUNK)))]
        answer = client.post("/gradio_api/queue/join", content=sent, headers={"content-type": "application/json"})
        return f"HTTP {answer.status_code}"
    answer = client.post("/gradio_api/upload", files=[("files", (name, data))] * (3 if act == "batch" else 1))
    if answer.status_code != 200 or act == "leave":
        return f"HTTP {answer.status_code}"
    stored = [{"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}} for path in answer.json()]
    asked = {"data": [stored], "session_hash": visitor.key}
    asked["fn_index"] = visitor.batch if act == "batch" else visitor.handler
    answer = client.post("/gradio_api/queue/join", json=asked)
    if answer.status_code != 200 or act == "unread":
        return f"HTTP {answer.status_code}"
    return _read(visitor)


def _read(visitor: Visitor) -> str:
    """Wait for the answer; return of what kind it is."""
    with visitor.client.stream("GET", "/gradio_api/queue/data", params={"session_hash": visitor.key}) as events:
        for line in events.iter_lines():
            event = json.loads(line.removeprefix("data:")) if line.startswith("data:") else {}
            if event.get("msg") == "process_completed":
                shown = str(event["output"])
                if "Traceback" in shown:
                    return "a traceback"
                if "<figure" in shown or "<table" in shown:
                    return "answered"
                return "one line" if 'role="alert"' in shown.replace('\\"', '"') else "no picture and no line"
    return "no answer: stream ended"


def _break_off(url: str, name: str, data: bytes, *, share: float) -> str:
    """Send a part of an upload and hang up."""
    host, _, port = url.removeprefix("http://").strip("/").partition(":")
    head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'.encode()
    whole = head + data + b"\r\n--b--\r\n"
    request = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(whole)}\r\n"
    request += "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as client:
        client.sendall(request.encode() + whole[: max(1, int(share * (len(whole) - 1)))])
    return "hung up"


def left_in(root: Path) -> list[Path]:
    """Return the files of visitors that lie in a server's private folder."""
    folders = [walked for name in ("uploads", "results") for walked in os.walk(root / name)]  # which may go meanwhile
    return [Path(folder) / name for folder, _, names in folders for name in names]


def wait_for_sweep(root: Path, *, patience_s: float) -> list[Path]:
    """Wait until nothing of a visitor is left, and return what is."""
    end = time.monotonic() + patience_s
    while (left := left_in(root)) and time.monotonic() < end:
        time.sleep(0.25)
    return left


def attack(
    url: str,
    pid: int,
    root: Path,
    files: Files,
    *,
    expire: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext,
    **how: Any,
) -> tuple[Counter[str], list[float], list[Path]]:
    """Attack a server; return what came back, its memory in MiB before, at most and after the sweep, and what is left.

    The server is swept within `expire`, which may shorten the wait.
    """
    good = files.whole[".png"]
    memory, ended = [], threading.Event()
    with _visiting(url, stays=False) as visitor:
        _expect_answer(visitor, good)
    with expire():
        wait_for_sweep(root, patience_s=PATIENCE_S)
    before, peak = resident_mib(pid), [0.0]

    def watch() -> None:
        while not ended.wait(0.5):
            peak[0] = max(peak[0], resident_mib(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        sent = Attack(url, files, **how)
        sent.run()
    finally:
        ended.set()
        watcher.join()
    with expire():
        left = wait_for_sweep(root, patience_s=PATIENCE_S)
    memory = [before, max(peak[0], before), resident_mib(pid)]
    with _visiting(url, stays=False) as visitor:
        _expect_answer(visitor, good)
    return sent.outcomes, memory, left


def _expect_answer(visitor: Visitor, picture: bytes) -> None:
    rng = np.random.default_rng(0)
    came = _act("ask", visitor, ".png", picture, rng)
    if came != "answered":
        raise RuntimeError(f"the server no longer answers a good scan: {came}")


def run(work: Path, *, minutes: float, most: int, seed: int = 0) -> tuple[list[Line], list[str]]:
    """Return memory and what is left of an attack of some minutes, and what was sent."""
    folder, temporary = model(work, Kind("joint", "test_resnet", 64)), work / f"server-{secrets.token_hex(4)}"
    temporary.mkdir()
    options = ("--max-idle", IDLE_S, "--max-upload", UPLOAD_MIB, "--max-disk", DISK_MIB, "--max-seconds", 30)
    with serving(folder, *map(str, options), temporary=temporary) as (url, pid):
        (root,) = temporary.glob("bts-app-*")
        outcomes, memory, left = attack(url, pid, root, Files(work / "hostile"), seconds=60 * minutes, most=most, seed=seed)
    before, peak, after = memory
    bad = sum(count for what, count in outcomes.items() if any(word in what for word in ("traceback", "HTTP 500", "no answer")))
    return [
        Line("server's memory before", (before,), unit="MiB"),
        Line("server's memory at its largest", (peak,), unit="MiB"),
        Line("growth of the server's memory after the sweep", (max(after - before, 0.0),), unit="MiB", must=GROWTH_MIB),
        Line("files left after the sweep", (float(len(left)),), unit="files", must=0),
        Line("requests without an answer, or with a traceback", (float(bad),), unit="requests", must=0),
    ], [
        f"{minutes:g} minutes, at most {most} requests, seed {seed}; a good scan was answered before and after",
        "; ".join(f"{what} {count}" for what, count in sorted(outcomes.items())),
    ]
