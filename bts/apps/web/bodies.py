"""Bodies of JSON: how much is read of them, and what may stand in them.

Gradio takes an address where a file is expected and fetches it, and it takes any path under its folders. Here a file is what
was uploaded to this server, named by its path. What is passed on is written anew from what was checked, so that nobody can read
it in another way.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

from bts.apps.web.refusal import Receive, Refusal
from bts.apps.web.routes import FILE

LARGEST = 64 * 1024
"""Bytes of a body without files."""
EACH_FILE = 1536
"""Bytes by which the path, the address and the name of one uploaded file may lengthen a body."""
NESTED = 16
"""Levels of lists and objects."""
KEYS = ("data", "event_id", "fn_index", "session_hash", "trigger_id")
"""Of a request; all others are dropped."""
KEY = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
NO_UPLOAD = "a file that was not uploaded here: send it to /gradio_api/upload, and name the path of its answer"


async def read_body(receive: Receive, *, length: int, most: int, patience_s: float) -> bytes:
    """Return a body.

    Args:
        receive: of the server.
        length: as stated, 0 where it isn't.
        most: bytes that are taken, whether stated or not.
        patience_s: for the whole of it.

    Raises:
        Refusal: it is too large (413), or did not come in time (408).
        ConnectionError: the client has gone.
    """

    async def read() -> bytes:
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > most:
                raise _too_large(most)
        return bytes(body)

    if length > most:
        raise _too_large(most)
    try:
        return await asyncio.wait_for(read(), patience_s)
    except asyncio.TimeoutError:
        raise Refusal(408, f"a body that did not come within {patience_s:g} s: send it again") from None


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"a body of JSON over {most // 1024} KiB: scans are sent to /gradio_api/upload")


def checked(body: bytes, *, uploads: Path, known: Callable[[str], bool]) -> bytes:
    """Return a request for an answer, written anew.

    Args:
        body: as it came.
        uploads: folder under which files may be named.
        known: tells of a host whether it is this server's.

    Raises:
        Refusal: it is no such request, or names a file that was not uploaded (400), or is too large for what it names (413).
    """
    try:
        found = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise Refusal(400, "no readable JSON: expected an object with 'data'") from None
    if not isinstance(found, dict) or not isinstance(found.get("data", []), list):
        raise Refusal(400, "expected a JSON object whose 'data' is a list")
    files = _Files(uploads, known)
    clean = {key: found[key] for key in KEYS if found.get(key) is not None}
    for key, kind in {"event_id": str, "session_hash": str, "fn_index": int, "trigger_id": int}.items():
        if key in clean and (type(clean[key]) is not kind or (kind is str and not KEY.fullmatch(clean[key]))):
            raise Refusal(400, f"'{key}': expected {'letters and digits' if kind is str else 'a whole number'}")
    if "data" in clean:
        clean["data"] = files.clean(clean["data"])
    if len(body) > LARGEST + files.count * EACH_FILE:
        raise _too_large(LARGEST)
    return json.dumps(clean).encode()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity, which JSON doesn't have


class _Files:
    """Cleans data of everything that Gradio could take for a file and that is none of ours.

    Attributes:
        count: files so far.
    """

    def __init__(self, uploads: Path, known: Callable[[str], bool]) -> None:
        self._uploads, self._known = os.path.realpath(uploads), known
        self.count = 0

    def clean(self, value: Any, *, level: int = 0) -> Any:
        """Return a value with its files checked."""
        if level > NESTED:
            raise Refusal(400, f"JSON of more than {NESTED} levels: expected plain values and files")
        if isinstance(value, list):
            return [self.clean(each, level=level + 1) for each in value]
        if not isinstance(value, dict):
            return value
        if {"path", "url", "meta", "is_stream"} & set(value):
            return self._file(value)
        return {key: self.clean(each, level=level + 1) for key, each in value.items()}

    def _file(self, value: dict[str, Any]) -> dict[str, Any]:
        """Return an uploaded file as Gradio expects it: path and name, nothing else."""
        path, url, name = value.get("path"), value.get("url"), value.get("orig_name")
        if not isinstance(path, str) or not is_upload(path, self._uploads):
            raise Refusal(400, NO_UPLOAD)
        if url is not None and not self._own(url, path):
            raise Refusal(400, NO_UPLOAD)
        self.count += 1
        plain = {"path": path, "orig_name": name if isinstance(name, str) else None}
        return plain | ({"meta": {"_type": "gradio.FileData"}} if value.get("meta") is not None else {})

    def _own(self, url: Any, path: str) -> bool:
        """Return whether an address is that under which this server shows the upload. The page sends it along."""
        if not isinstance(url, str):
            return False
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        return (not parts.netloc or self._known(parts.netloc)) and unquote(parts.path).endswith(FILE + path)


def is_upload(path: str, uploads: str | Path) -> bool:
    """Return whether a path lies where an upload does: in a folder of its own under `uploads`, links followed."""
    if not os.path.isabs(path) or os.path.normpath(path) != path or "\0" in path:
        return False
    return Path(os.path.realpath(path)).parent.parent == Path(os.path.realpath(uploads))
