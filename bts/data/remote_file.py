"""Download of one large file: resumed after an interruption, then checked by size and checksum."""

from __future__ import annotations

import errno
import hashlib
import http.client
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bts.errors import InputError

CHUNK = 1 << 20
PATIENCE_S = 30.0
"""Seconds without data after which a connection is considered broken."""
PAUSES_S = (1.0, 2.0, 4.0, 8.0)
"""Seconds to wait before each further attempt; the count restarts whenever data have arrived."""
WORTH_ANOTHER_TRY = (202, 408, 425, 429, 500, 502, 503, 504)
"""Status codes worth another attempt; figshare answers 202 with an empty body to frequent requests."""

Progress = Callable[[str, int, int], None]
"""Called with a file's name, bytes received and total bytes."""


class UnreachableError(InputError):
    """The server can't be reached, so the next file would fail too."""


class BrokenError(Exception):
    """This attempt failed; another may succeed."""


@dataclass(frozen=True)
class RemoteFile:
    """A file on a server with its expected size and checksums.

    Attributes:
        name: file name on disk and in messages.
        identity: number of the file on the server.
        size: bytes.
        md5: hexadecimal sum as the publisher gives it, or None.
        sha256: hexadecimal sum, or None.
    """

    name: str
    identity: int
    size: int
    md5: str | None = None
    sha256: str | None = None

    def flaw(self, path: Path) -> str | None:
        """Return how a file on disk differs from the expected one, or None."""
        if (size := path.stat().st_size) != self.size:
            return f"expected {self.size} bytes, received {size}"
        sums = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
        with path.open("rb") as file:
            while block := file.read(CHUNK):
                for each in sums.values():
                    each.update(block)
        for kind, expected in (("md5", self.md5), ("sha256", self.sha256)):
            if expected and sums[kind].hexdigest() != expected:
                return f"expected {kind.upper()} {expected}, received {sums[kind].hexdigest()}"
        return None


def fetch(file: RemoteFile, url: str, path: Path, *, progress: Progress, sleep: Callable[[float], None] = time.sleep) -> None:
    """Download a file to `path` via `path.part`, from which a later call resumes.

    Args:
        file: the expected file; one that differs is never moved to `path`.
        url: its address.
        path: its destination.
        progress: called with the bytes received.
        sleep: waits between attempts.

    Raises:
        UnreachableError: the server can't be reached.
        InputError: the server refuses, the connection keeps breaking, or the sums differ (the wrong file is deleted).
    """
    part = path.with_name(path.name + ".part")
    for last_chance in (False, True):  # a part from an older, interrupted call may be spoilt: once from the start again
        fetch_bytes(file, url, part, progress=progress, sleep=sleep)
        flaw = file.flaw(part)
        if flaw is None:
            part.replace(path)
            return
        part.unlink()
        if last_chance:
            raise InputError(f"{file.name}: {flaw}, twice: the wrong file is deleted; {by_hand(url, path)}")


def fetch_bytes(file: RemoteFile, url: str, part: Path, *, progress: Progress, sleep: Callable[[float], None]) -> None:
    """Fill `part` up to the file's size, over as many connections as needed."""
    attempt, came = 0, False
    while (before := size_of(part)) < file.size:
        try:
            receive(file, url, part, progress=progress)
            reason = "the connection broke"
        except BrokenError as error:
            reason = str(error)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            if isinstance(error, OSError) and not is_network(error):
                raise  # a full disk or a folder that can't be written
            reason = describe(error)
            if not came and is_unreachable(error):
                raise UnreachableError(
                    f"{url}: no connection ({reason}): is this machine online? {by_hand(url, part)}"
                ) from None
        gained = size_of(part) > before
        came, attempt = came or gained, 0 if gained else attempt + 1
        if attempt > len(PAUSES_S):
            raise InputError(f"{file.name}: {reason}, {attempt} times in a row; run again to resume, or {by_hand(url, part)}")
        if size_of(part) < file.size:
            sleep(PAUSES_S[max(attempt - 1, 0)] if attempt else 0)


def receive(file: RemoteFile, url: str, part: Path, *, progress: Progress) -> None:
    """Request the missing bytes once and append them to `part`; if the server ignores the range, start from the beginning."""
    have = size_of(part)
    request = urllib.request.Request(url, headers={"User-Agent": "bts (research software)", "Range": f"bytes={have}-"})
    try:
        response = urllib.request.urlopen(request, timeout=PATIENCE_S)
    except urllib.error.HTTPError as error:
        if error.code == 416:
            part.unlink(missing_ok=True)
            raise InputError(f"{file.name}: expected {file.size} bytes, the server has {have}; {by_hand(url, part)}") from None
        refuse(file, error.code, url, part)
    with response:
        if response.status not in (200, 206):
            refuse(file, response.status, url, part)
        goes_on = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if response.status == 206 and not goes_on:
            raise BrokenError("the server sent another range than requested")
        with part.open("ab" if goes_on else "wb") as out:
            have = have if goes_on else 0
            while block := response.read(CHUNK):
                out.write(block)
                have += len(block)
                progress(file.name, min(have, file.size), file.size)


def refuse(file: RemoteFile, status: int, url: str, part: Path) -> None:
    """Raise the error of an unsuccessful response."""
    words = f"the server answered {status} {http.client.responses.get(status, '')}".strip()
    if status in WORTH_ANOTHER_TRY:
        raise BrokenError(words)
    raise InputError(f"{file.name}: {words} for {url}: {by_hand(url, part)}")


def by_hand(url: str, path: Path) -> str:
    """Return instructions for a manual download."""
    name = path.name.removesuffix(".part")
    return f"open {url} in a browser, save it as {path.with_name(name)}, and run again"


def size_of(path: Path) -> int:
    """Return a file's size in bytes, 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


def cause(error: BaseException) -> BaseException:
    """Return the cause of urllib's error."""
    reason = getattr(error, "reason", None)
    return reason if isinstance(reason, BaseException) else error


def describe(error: BaseException) -> str:
    """Return a network error in words."""
    inner = cause(error)
    return str(getattr(inner, "strerror", None) or inner) or type(inner).__name__


def is_network(error: OSError) -> bool:
    """Return whether the connection failed rather than the disk."""
    return isinstance(error, (urllib.error.URLError, ConnectionError, TimeoutError, socket.gaierror, socket.timeout))


def is_unreachable(error: BaseException) -> bool:
    """Return whether the server can't be reached: no name, refused connection, no route."""
    inner = cause(error)
    unreachable = isinstance(inner, OSError) and inner.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH)
    return isinstance(inner, (socket.gaierror, ConnectionRefusedError)) or unreachable
