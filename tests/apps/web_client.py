"""Asks the page as a browser and as programs do, over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from web_models import write_png

PATIENCE_S = 60
FILE = {"meta": {"_type": "gradio.FileData"}}


def upload(url: str, data: bytes, name: str, **how: Any) -> httpx.Response:
    return httpx.post(f"{url}/gradio_api/upload", files={"files": (name, data)}, timeout=PATIENCE_S, **how)


def uploaded(url: str, folder: Path, name: str = "scan.png") -> str:
    """Upload a picture that is answered; return its path on the server."""
    (path,) = upload(url, write_png(folder / name).read_bytes(), name).json()
    return str(path)


def ask(url: str, data: list[Any], *, session: str | None = None) -> httpx.Response:
    """Ask as the how-to does with curl, without waiting for the answer."""
    body = {"data": data} | ({} if session is None else {"session_hash": session})
    return httpx.post(f"{url}/gradio_api/call/predict", json=body, timeout=PATIENCE_S)


def events(url: str, asked: httpx.Response) -> str:
    """Wait for the events of an answer; a refusal has none but its line."""
    if asked.status_code != 200:
        return asked.text
    return httpx.get(f"{url}/gradio_api/call/predict/{asked.json()['event_id']}", timeout=PATIENCE_S).text


def answered(told: str) -> dict[str, Any]:
    assert "event: complete" in told, told
    found: dict[str, Any] = json.loads(told.split("data: ")[-1])[0]
    return found


def handlers(url: str) -> dict[str, int]:
    """Numbers of what happens when one scan is dropped, when many are to be answered, and when a slice is chosen."""
    config = httpx.get(f"{url}/config", timeout=PATIENCE_S).json()
    ids = {each["props"].get("elem_id"): each["id"] for each in config["components"]}
    found = {}
    for each in config["dependencies"]:
        if [ids["bts-upload"], "upload"] in each["targets"]:
            found["one"] = each["id"]
        if each["inputs"] == [ids["bts-files"]]:
            found["many"] = each["id"]
        if [ids["bts-slice"], "change"] in each["targets"]:
            found["slice"] = each["id"]
    return found


def drain(url: str, session: str) -> str:
    """Wait until everything that a session asked for is answered."""
    return httpx.get(f"{url}/gradio_api/queue/data", params={"session_hash": session}, timeout=PATIENCE_S).text


def one_line(answer: httpx.Response) -> str:
    """The one line of a refusal."""
    assert answer.text.endswith("\n"), answer.text
    assert answer.text.count("\n") == 1, answer.text
    assert "Traceback" not in answer.text
    return answer.text.strip()


def until(holds: Callable[[], bool]) -> bool:
    """Wait until something holds; a busy machine is no failure."""
    end = time.monotonic() + PATIENCE_S
    while not (found := holds()) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def everything_in(root: Path) -> set[Path]:
    """Files and folders in the private folder of a server, which may go while it is looked through."""
    return {Path(folder) / name for folder, folders, files in os.walk(root) for name in (*folders, *files)}


def files_in(root: Path) -> list[Path]:
    """Files in the private folder of a server."""
    return sorted(Path(folder) / name for folder, _, files in os.walk(root) for name in files)


@contextlib.contextmanager
def listening() -> Iterator[tuple[str, list[bytes]]]:
    """Yield an address on this machine, and what was sent to it by whoever asked there."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def answer() -> None:
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    client, _ = server.accept()
                    with client:
                        client.settimeout(PATIENCE_S)
                        heard.append(client.recv(65536))
                        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Type: image/png\r\n\r\nsecret")

        thread = threading.Thread(target=answer, daemon=True)
        server.settimeout(0.2)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/inside.png", heard
        ended.set()
        thread.join()
