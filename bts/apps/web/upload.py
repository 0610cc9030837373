"""Uploads: written to a folder of their own while they arrive, and gone where they break off.

This stands in the place of Gradio's own routes. Those put equal files of different visitors into one folder, hold parts that
are no file in memory, leave what breaks off, and fetch addresses that are asked for as files.
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

from bts.apps.web.bodies import is_upload
from bts.apps.web.intake import bare_name
from bts.apps.web.limits import MIB, Limits
from bts.apps.web.refusal import Refusal
from bts.apps.web.routes import FILE, UPLOAD
from bts.apps.web.sessions import Sessions

BESIDES = 64 * 1024
"""Bytes of a form around its files."""
NAME_BYTES = 200
"""Longest name of a file; its end stays, as it says of what kind the file is."""
PART_HEADERS = 8 * 1024
"""Bytes of the headers of one file."""
TRACKED = 256
"""Uploads whose progress is reported at once; the oldest are forgotten."""
TELL_S, TRACK_S = 0.05, 3.0
"""Seconds between two tellings, and for which an upload may be waited for."""


def too_large(limits: Limits) -> Refusal:
    """Return the refusal of what is larger than the page takes."""
    return Refusal(413, f"more than {limits.upload_mib:g} MiB: this page takes no larger file, use `python infer.py`")


def safe_name(name: str) -> str:
    """Return a name of a file without folders, control characters and what shells read.

    >>> safe_name("../../head (1).nii.gz")
    'head (1).nii.gz'
    """
    name = "".join(letter for letter in bare_name(name) if letter not in '<>:"|?*$`').strip(". ")
    encoded = name.encode("utf-8", errors="replace")
    return encoded[-NAME_BYTES:].decode("utf-8", errors="ignore").lstrip(". ") or "scan"


@dataclass
class Progress:
    """How far one upload is.

    Attributes:
        name: of the file that arrives.
        untold: bytes that arrived since it was last asked.
        done: whether it has ended.
    """

    name: str = ""
    untold: int = 0
    done: bool = False


class Uploads:
    """Takes uploads, tells how far they are, and gives them back.

    Attributes:
        sessions: where they lie, and how much room there is.
        limits: what is accepted.
    """

    def __init__(self, sessions: Sessions, limits: Limits) -> None:
        self.sessions, self.limits = sessions, limits
        self._progress: OrderedDict[str, Progress] = OrderedDict()

    def add_to(self, app: Any) -> None:
        """Put the routes into an application, before it has any other under these paths."""
        app.router.add_route(UPLOAD, self.take, methods=["POST"])
        app.router.add_route("/gradio_api/upload_progress", self.tell, methods=["GET"])
        app.router.add_route(FILE + "{path:path}", self.give, methods=["GET", "HEAD"])

    async def take(self, request: Any) -> Any:
        """Answer an upload with the paths of its files."""
        from starlette.responses import JSONResponse

        progress = self._track(str(request.query_params.get("upload_id", ""))[:64])
        form = Form(self.sessions, self.limits, boundary=_boundary(request.headers.get("content-type", "")))
        try:
            await asyncio.to_thread(self.sessions.measure)
            async for chunk in _patient(request.stream(), self.limits.stall_seconds):
                self.sessions.charge(len(chunk))
                form.feed(chunk)
                progress.name = form.name
                progress.untold += len(chunk)
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

    async def tell(self, request: Any) -> Any:
        """Answer with a stream of events until an upload is done."""
        from starlette.responses import StreamingResponse

        key = str(request.query_params.get("upload_id", ""))
        waited = 0.0
        while key not in self._progress and waited < TRACK_S:
            await asyncio.sleep(TELL_S)
            waited += TELL_S
        if key not in self._progress:
            raise Refusal(404, "no such upload is under way")
        return StreamingResponse(self._events(key), media_type="text/event-stream")

    async def _events(self, key: str) -> AsyncIterator[str]:
        while (progress := self._progress.get(key)) is not None:
            if progress.done:
                self._progress.pop(key, None)
                yield _event({"msg": "done"})
                return
            if progress.untold:
                received, progress.untold = progress.untold, 0
                yield _event({"msg": "update", "orig_name": progress.name, "chunk_size": received})
            await asyncio.sleep(TELL_S)

    async def give(self, request: Any) -> Any:
        """Answer with an upload, for whoever knows its path."""
        from starlette.responses import FileResponse

        path = str(request.path_params["path"])
        if not is_upload(path, self.sessions.uploads) or not Path(path).is_file():
            raise Refusal(404, "no file of this page: choose the file again")
        return FileResponse(path, filename=Path(path).name, media_type="application/octet-stream")


def _event(message: dict[str, Any]) -> str:
    return f"data: {json.dumps(message)}\n\n"


def _boundary(content_type: str) -> bytes:
    from python_multipart.multipart import parse_options_header

    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        raise Refusal(415, "no form: expected multipart/form-data with a boundary")
    return boundary


async def _patient(chunks: AsyncIterator[bytes], stall_s: float) -> AsyncIterator[bytes]:
    """Yield what arrives, as long as something does."""
    iterator = chunks.__aiter__()
    while True:
        try:
            yield await asyncio.wait_for(iterator.__anext__(), stall_s)
        except StopAsyncIteration:
            return
        except asyncio.TimeoutError:
            raise Refusal(408, f"nothing came for {stall_s:g} s: send the file again") from None


class Form:
    """A form with files, which are written as they arrive. Parts that are no file are dropped.

    Attributes:
        name: of the file that arrives.
    """

    def __init__(self, sessions: Sessions, limits: Limits, *, boundary: bytes) -> None:
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
        """Take the next piece.

        Raises:
            Refusal: it is too large (413), or no form (400).
        """
        from python_multipart.exceptions import FormParserError

        self._total += len(chunk)
        if self._total > self._limits.upload_mib * MIB + BESIDES:
            raise too_large(self._limits)
        try:
            self._parser.write(chunk)
        except FormParserError:
            raise _no_form() from None

    def end(self) -> list[str]:
        """Return the paths of the files.

        Raises:
            Refusal: the form is not whole, or has no file.
        """
        if not self._ended or not self._paths:
            raise _no_form()
        return [str(path) for path in self._paths]

    def remove(self) -> None:
        """Remove what has arrived."""
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
            raise _no_form()

    def _header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field, self._value = b"", b""

    def _headers_finished(self) -> None:
        from python_multipart.multipart import parse_options_header

        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if b"filename" not in options:
            return
        if len(self._paths) >= self._limits.files:
            raise Refusal(413, f"more than {self._limits.files} files at once: use `python infer.py`")
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


def _no_form() -> Refusal:
    return Refusal(400, "no whole form with a file: send the file again")
