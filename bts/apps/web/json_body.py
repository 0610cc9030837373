"""JSON request bodies: size limits and validation.

Gradio accepts a URL in place of a file and fetches it, and it accepts any path under its folders. Here a file must be an upload
to this server, named by its path. The validated values are serialised again, so that no other parser can read them differently.
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

from bts.apps.web.http import FILE, HTTPError, Receive

MAX_BYTES = 64 * 1024
"""Limit for a body without files."""
MAX_BYTES_PER_FILE = 1536
"""Additional bytes per uploaded file, for its path, URL and name."""
MAX_DEPTH = 16
"""Maximum nesting of lists and objects."""
KEYS = ("data", "event_id", "fn_index", "session_hash", "trigger_id")
"""Accepted keys of a request; others are dropped."""
KEY = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
NO_UPLOAD = "a file that was not uploaded here: send it to /gradio_api/upload, and use the path in the response"


async def read_body(receive: Receive, *, length: int, max_bytes: int, timeout_s: float) -> bytes:
    """Read a request body.

    Args:
        receive: ASGI receive callable.
        length: value of `Content-Length`, 0 without one.
        max_bytes: size limit, with or without `Content-Length`.
        timeout_s: time limit for the whole body.

    Raises:
        HTTPError: the body is too large (413) or too slow (408).
        ConnectionError: the client has disconnected.
    """

    async def read() -> bytes:
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > max_bytes:
                raise _too_large(max_bytes)
        return bytes(body)

    if length > max_bytes:
        raise _too_large(max_bytes)
    try:
        return await asyncio.wait_for(read(), timeout_s)
    except asyncio.TimeoutError:
        raise HTTPError(408, f"the request body did not arrive within {timeout_s:g} s: send it again") from None


def _too_large(max_bytes: int) -> HTTPError:
    return HTTPError(413, f"JSON body over {max_bytes // 1024} KiB: upload scans to /gradio_api/upload")


def sanitise_body(body: bytes, *, uploads: Path, is_known_host: Callable[[str], bool]) -> bytes:
    """Validate a request body and serialise it again.

    Args:
        body: the body as received.
        uploads: folder of the uploads.
        is_known_host: whether a host name is this server's.

    Raises:
        HTTPError: the body is invalid or names a file that was not uploaded (400), or is too large (413).
    """
    try:
        found = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise HTTPError(400, "invalid JSON: expected an object with 'data'") from None
    if not isinstance(found, dict) or not isinstance(found.get("data", []), list):
        raise HTTPError(400, "expected a JSON object whose 'data' is a list")
    files = _FileFilter(uploads, is_known_host)
    clean = {key: found[key] for key in KEYS if found.get(key) is not None}
    for key, kind in {"event_id": str, "session_hash": str, "fn_index": int, "trigger_id": int}.items():
        if key in clean and (type(clean[key]) is not kind or (kind is str and not KEY.fullmatch(clean[key]))):
            raise HTTPError(400, f"'{key}': expected {'letters and digits' if kind is str else 'a whole number'}")
    if "data" in clean:
        clean["data"] = files.clean(clean["data"])
    if len(body) > MAX_BYTES + files.count * MAX_BYTES_PER_FILE:
        raise _too_large(MAX_BYTES)
    return json.dumps(clean).encode()


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)  # NaN and Infinity, which JSON doesn't have


class _FileFilter:
    """Refuses everything that Gradio would take for a file and that was not uploaded here.

    Attributes:
        count: number of files so far.
    """

    def __init__(self, uploads: Path, is_known_host: Callable[[str], bool]) -> None:
        self._uploads, self._is_known_host = os.path.realpath(uploads), is_known_host
        self.count = 0

    def clean(self, value: Any, *, level: int = 0) -> Any:
        """Return a value with its files checked."""
        if level > MAX_DEPTH:
            raise HTTPError(400, f"JSON nested deeper than {MAX_DEPTH} levels: expected plain values and files")
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
            raise HTTPError(400, NO_UPLOAD)
        if url is not None and not self._is_own_url(url, path):
            raise HTTPError(400, NO_UPLOAD)
        self.count += 1
        plain = {"path": path, "orig_name": name if isinstance(name, str) else None}
        return plain | ({"meta": {"_type": "gradio.FileData"}} if value.get("meta") is not None else {})

    def _is_own_url(self, url: Any, path: str) -> bool:
        """Return whether a URL is the one under which this server serves the upload; the page sends it along."""
        if not isinstance(url, str):
            return False
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        return (not parts.netloc or self._is_known_host(parts.netloc)) and unquote(parts.path).endswith(FILE + path)


def is_upload(path: str, uploads: str | Path) -> bool:
    """Return whether a path is that of an upload: in a folder of its own under `uploads`, links followed."""
    if not os.path.isabs(path) or os.path.normpath(path) != path or "\0" in path:
        return False
    return Path(os.path.realpath(path)).parent.parent == Path(os.path.realpath(uploads))
