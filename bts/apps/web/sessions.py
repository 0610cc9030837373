"""The visitors of the page: whose scan is whose, where it lies, and when it is removed.

A visitor has a folder under the page's private one, named by a secret that only this visitor's page is told. Every upload has
one too, and belongs to the first visitor who asks about it. They are removed when the page is closed, when nothing was asked
for a while, and with the server at the latest.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bts.apps.web.limits import MIB, Limits
from bts.apps.web.refusal import Refusal
from bts.errors import RequestError

if TYPE_CHECKING:
    from bts.apps.web.result import Result


BLOCK = 4096
"""Bytes that the smallest file takes."""


class GoneError(Exception):
    """The visitor has left: what was under way is dropped without a message."""


@dataclass
class Session:
    """One open page, or one client of the API.

    Attributes:
        folder: holds the results; its name is the secret under which they can be fetched.
        result: the scan that is shown.
        written: folder whose files can be fetched, also where the scan itself is no longer held.
        uploads: what was uploaded, with the time when it was read.
        owned: folders of the uploads that belong to this visitor.
        seen: when something was last asked.
        closed: True once the visitor has left; then nothing may be kept.
        stopped: True once the visitor wants no more of the batch under way; what is done stays.
        lock: held while the result is replaced.
    """

    folder: Path
    result: Result | None = None
    written: Path | None = None
    uploads: dict[Path, float] = field(default_factory=dict)
    owned: set[Path] = field(default_factory=set)
    seen: float = field(default_factory=time.monotonic)
    closed: bool = False
    stopped: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def secret(self) -> str:
        """What the results are fetched under."""
        return self.folder.name

    def check(self) -> None:
        """Raise `GoneError` where the visitor has left; a visitor whose scans are being answered is not idle."""
        if self.closed:
            raise GoneError
        self.seen = time.monotonic()

    def new_folder(self, name: str) -> Path:
        """Return an empty folder for the scan to be shown; that of the one before goes."""
        self.check()
        self.forget()
        folder = self.folder / "scan" / name
        folder.mkdir(parents=True)
        return folder

    def new_batch(self) -> Path:
        """Return an empty folder for the results of many scans; those of an earlier batch go."""
        self.check()
        folder = self.folder / "batch"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def forget(self) -> None:
        """Let the shown scan go, and all files of it."""
        self.result = self.written = None
        shutil.rmtree(self.folder / "scan", ignore_errors=True)

    def close(self) -> None:
        """Remove everything of this visitor; a file that somebody uploaded anew meanwhile stays theirs."""
        self.closed = True
        self.forget()
        shutil.rmtree(self.folder, ignore_errors=True)
        for path, read in self.uploads.items():
            if path.exists() and path.stat().st_mtime <= read:
                path.unlink(missing_ok=True)
        for folder in self.owned:
            shutil.rmtree(folder, ignore_errors=True)


class Sessions:
    """All open pages.

    Attributes:
        root: the private folder: `results` for what is computed, `uploads` for what arrives.
        on_close: called with the key of a session that has ended.
    """

    def __init__(self, root: Path, limits: Limits) -> None:
        self.root, self.limits = root, limits
        self.uploads, self.results = root / "uploads", root / "results"
        for folder in (self.uploads, self.results):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.on_close: Callable[[str], None] = lambda key: None
        self._open: dict[str, Session] = {}
        self._lock = threading.Lock()
        self._used = 0

    def __len__(self) -> int:
        return len(self._open)

    def of(self, key: str) -> Session:
        """Return the session of a page, a new one where it has none."""
        with self._lock:
            session = self._open.get(key)
            if session is None:
                session = self._open[key] = Session(self.results / secrets.token_urlsafe(18))
            session.seen = time.monotonic()
            return session

    def keys(self) -> set[str]:
        """Return the keys of all open sessions."""
        with self._lock:
            return set(self._open)

    def by_secret(self, secret: str) -> Session | None:
        """Return the open session with this secret."""
        with self._lock:
            return next((each for each in self._open.values() if _equal(each.secret, secret)), None)

    def new_upload(self) -> Path:
        """Return an empty folder for an upload; nobody can guess its name."""
        folder = self.uploads / secrets.token_urlsafe(12)
        folder.mkdir(mode=0o700)
        return folder

    def claim(self, path: str | Path, session: Session) -> None:
        """Let an upload belong to a visitor, if it is nobody's yet.

        Raises:
            RequestError: it is none, or another visitor's.
        """
        folder = Path(path).parent
        with self._lock:
            taken = any(folder in each.owned for each in self._open.values() if each is not session)
            if taken or folder.parent != self.uploads:
                raise RequestError("the upload is no longer there: choose the file again")
            session.owned.add(folder)

    def measure(self) -> None:
        """Count anew what lies in the private folder."""
        used = 0
        for folder, _, names in os.walk(self.root):
            for name in names:
                try:
                    used += max((Path(folder) / name).stat().st_size, BLOCK)
                except OSError:  # removed meanwhile
                    continue
        with self._lock:
            self._used = used

    def charge(self, size: int) -> None:
        """Count bytes that arrive.

        Raises:
            Refusal: there is no room for them.
        """
        with self._lock:
            self._used += size
            full = self._used > self.limits.disk_mib * MIB
        if full:
            raise Refusal(507, self._full)

    def check_room(self) -> None:
        """Raise `RequestError` where there is no room for further results."""
        self.measure()
        if self._used > self.limits.disk_mib * MIB:
            raise RequestError(self._full)

    @property
    def _full(self) -> str:
        return f"all visitors together fill the {self.limits.disk_mib:g} MiB of this page: try again later"

    def close(self, key: str) -> None:
        """End a session; one that was never opened is no matter."""
        with self._lock:
            session = self._open.pop(key, None)
        if session is not None:
            session.close()
        self.on_close(key)

    def sweep(self) -> None:
        """End what has been idle for long, remove uploads that nobody asked about, and let the oldest scans go."""
        now = time.monotonic()
        with self._lock:
            idle = [key for key, each in self._open.items() if now - each.seen > self.limits.idle_seconds]
        for key in idle:
            self.close(key)
        self._sweep_uploads()
        self.make_room()

    def _sweep_uploads(self) -> None:
        with self._lock:
            owned = {folder for each in self._open.values() for folder in each.owned}
        for name, _, files in os.walk(self.uploads, topdown=False):
            folder = Path(name)
            if folder in owned:
                continue
            for path in (*(folder / file for file in files), folder):
                try:
                    old = time.time() - path.stat().st_mtime > self.limits.idle_seconds
                    if path != self.uploads and (old or (folder == self.uploads and path.is_file())):
                        path.rmdir() if path.is_dir() else path.unlink()  # Gradio leaves an empty file for each that it takes
                except OSError:  # its own session was faster, or the folder is not empty
                    continue

    def make_room(self, *, besides: Session | None = None) -> None:
        """Let the scans go that were shown longest ago until the others fit; that of `besides` stays."""
        with self._lock:
            holding = sorted((each for each in self._open.values() if each.result is not None), key=lambda each: each.seen)
        total = sum(each.result.voxels for each in holding if each.result is not None)
        for session in holding:
            if total <= self.limits.held_voxels:
                return
            if session is not besides and session.result is not None:
                total -= session.result.voxels
                session.forget()

    def end(self) -> None:
        """Remove everything."""
        for key in list(self._open):
            self.close(key)
        shutil.rmtree(self.root, ignore_errors=True)


def _equal(secret: str, given: str) -> bool:
    """Compare in constant time; text that is not ASCII has to be encoded for that."""
    return secrets.compare_digest(secret.encode(), given.encode(errors="replace"))
