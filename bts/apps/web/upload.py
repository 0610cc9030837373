"""Upload routes: files are streamed to a folder of their own, and removed if the upload is aborted.

They replace Gradio's routes, which store equal files of different visitors in one folder, keep form fields in memory, leave
aborted uploads on disk, and fetch URLs that are requested as files.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bts.apps.web.http import FILE, UPLOAD, HTTPError
from bts.apps.web.json_body import is_upload
from bts.apps.web.limits import MIB, Limits
from bts.apps.web.sessions import SessionStore
from bts.apps.web.upload_reader import bare_name

FORM_OVERHEAD = 64 * 1024
"""Bytes of a form besides its files."""
NAME_BYTES = 200
"""Maximum length of a file name; longer ones are cut at the start, to keep the suffix."""
PART_HEADERS = 8 * 1024
"""Size limit for the headers of one file."""
TRACKED = 256
"""Maximum number of uploads with progress reports; the oldest are dropped first."""
POLL_S, TRACK_S = 0.05, 3.0
"""Seconds between two progress reports, and to wait for the start of an upload."""


def too_large(limits: Limits) -> HTTPError:
    """Return the error for a file over the limit."""
    return HTTPError(413, f"more than {limits.upload_mib:g} MiB: too large for this page, use `python infer.py`")


def safe_name(name: str) -> str:
    """Return a file name without folders, control characters and characters that are special in a shell.

    >>> safe_name("../../head (1).nii.gz")
    'head (1).nii.gz'
    """
    name = "".join(letter for letter in bare_name(name) if letter not in '<>:"|?*$`').strip(". ")
    encoded = name.encode("utf-8", errors="replace")
    return encoded[-NAME_BYTES:].decode("utf-8", errors="ignore").lstrip(". ") or "scan"


@dataclass
class Progress:
    """Progress of one upload.

    Attributes:
        name: name of the current file.
        unreported: bytes received since the last report.
        done: whether the upload has ended.
    """

    name: str = ""
    unreported: int = 0
    done: bool = False


class Uploads:
    """Routes to upload files, to follow the progress, and to download them again.

    Attributes:
        sessions: store of the uploads.
        limits: limits of the page.
    """

    def __init__(self, sessions: SessionStore, limits: Limits) -> None:
        self.sessions, self.limits = sessions, limits
        self._progress: OrderedDict[str, Progress] = OrderedDict()

    def add_routes(self, app: Any) -> None:
        """Add the routes to an application, before any other under these paths."""
        app.router.add_route(UPLOAD, self.receive, methods=["POST"])
        app.router.add_route("/gradio_api/upload_progress", self.report_progress, methods=["GET"])
        app.router.add_route(FILE + "{path:path}", self.download, methods=["GET", "HEAD"])

    async def receive(self, request: Any) -> Any:
        """Store the files of a form and respond with their paths."""
        from starlette.responses import JSONResponse

        progress = self._track(str(request.query_params.get("upload_id", ""))[:64])
        form = FormWriter(self.sessions, self.limits, boundary=_boundary(request.headers.get("content-type", "")))
        try:
            await asyncio.to_thread(self.sessions.measure)
            async for chunk in _with_timeout(request.stream(), self.limits.stall_seconds):
                self.sessions.charge(len(chunk))
                form.feed(chunk)
                progress.name = form.name
                progress.unreported += len(chunk)
            return JSONResponse(form.end())
        except BaseException:
            form.remove()
            raise
        finally:
            progress.done = True

    def _track(self, key: str) -> Progress:
        progress = Progress()
        if key:
            self._progress[key] = progress
            if len(self._progress) > TRACKED:
                self._progress.popitem(last=False)
        return progress

    async def report_progress(self, request: Any) -> Any:
        """Respond with server-sent events until an upload has ended."""
        from starlette.responses import StreamingResponse

        key = str(request.query_params.get("upload_id", ""))
        waited = 0.0
        while key not in self._progress and waited < TRACK_S:
            await asyncio.sleep(POLL_S)
            waited += POLL_S
        if key not in self._progress:
            raise HTTPError(404, "no such upload in progress")
        return StreamingResponse(self._events(key), media_type="text/event-stream")

    async def _events(self, key: str) -> AsyncIterator[str]:
        while (progress := self._progress.get(key)) is not None:
            if progress.done:
                self._progress.pop(key, None)
                yield _event({"msg": "done"})
                return
            if progress.unreported:
                received, progress.unreported = progress.unreported, 0
                yield _event({"msg": "update", "orig_name": progress.name, "chunk_size": received})
            await asyncio.sleep(POLL_S)

    async def download(self, request: Any) -> Any:
        """Respond with an uploaded file, given its path."""
        from starlette.responses import FileResponse

        path = str(request.path_params["path"])
        if not is_upload(path, self.sessions.uploads) or not Path(path).is_file():
            raise HTTPError(404, "no such upload: choose the file again")
        return FileResponse(path, filename=Path(path).name, media_type="application/octet-stream")


def _event(message: dict[str, Any]) -> str:
    return f"data: {json.dumps(message)}\n\n"


def _boundary(content_type: str) -> bytes:
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        raise HTTPError(415, "expected Content-Type multipart/form-data with a boundary")
    return boundary


async def _with_timeout(chunks: AsyncIterator[bytes], stall_s: float) -> AsyncIterator[bytes]:
    """Yield chunks; raise an `HTTPError` if none arrives in time."""
    iterator = chunks.__aiter__()
    while True:
        try:
            yield await asyncio.wait_for(iterator.__anext__(), stall_s)
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError:
            raise HTTPError(408, f"no data received for {stall_s:g} s: send the file again") from None


class FormWriter:
    """Streaming parser of a form that writes its files to disk and drops all other fields.

    Attributes:
        name: name of the current file.
    """

    def __init__(self, sessions: SessionStore, limits: Limits, *, boundary: bytes) -> None:
        from python_multipart.multipart import MultipartParser

        self.name = ""
        self._sessions, self._limits = sessions, limits
        self._paths: list[Path] = []
        self._file: BinaryIO | None = None
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value = b"", b""
        self._total, self._ended = 0, False
        names = ("part_begin", "header_field", "header_value", "header_end", "headers_finished", "part_data", "part_end", "end")
        self._parser = MultipartParser(boundary, {f"on_{name}": getattr(self, f"_{name}") for name in names})  # type: ignore[arg-type]

    def feed(self, chunk: bytes) -> None:
        """Parse the next chunk.

        Raises:
            HTTPError: the form is too large (413) or invalid (400).
        """
        from python_multipart.exceptions import FormParserError

        self._total += len(chunk)
        if self._total > self._limits.upload_mib * MIB + FORM_OVERHEAD:
            raise too_large(self._limits)
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise _invalid_form() from None

    def end(self) -> list[str]:
        """Return the paths of the files.

        Raises:
            HTTPError: the form is incomplete or has no file.
        """
        if not self._ended or not self._paths:
            raise _invalid_form()
        return [str(path) for path in self._paths]

    def remove(self) -> None:
        """Remove the files."""
        if self._file is not None:
            self._file.close()
        for path in self._paths:
            shutil.rmtree(path.parent, ignore_errors=True)

    def _part_begin(self) -> None:
        self._headers, self._field, self._value = {}, b"", b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]
        self._check_headers()

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._check_headers()

    def _check_headers(self) -> None:
        if len(self._field) + len(self._value) > PART_HEADERS or len(self._headers) > 8:
            raise _invalid_form()

    def _header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def _headers_finished(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"filename" not in options:
            return
        if len(self._paths) >= self._limits.files:
            raise HTTPError(413, f"more than {self._limits.files} files at once: use `python infer.py`")
        self.name = options[b"filename"].decode("utf-8", errors="replace")
        self._paths.append(self._sessions.new_upload() / safe_name(self.name))
        self._file = self._paths[-1].open("xb")

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is None:
            return
        if self._file.tell() + end - start > self._limits.upload_mib * MIB:
            raise too_large(self._limits)
        self._file.write(data[start:end])

    def _part_end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _end(self) -> None:
        self._ended = True


def _invalid_form() -> HTTPError:
    return HTTPError(400, "incomplete form, or no file in it: send the file again")
