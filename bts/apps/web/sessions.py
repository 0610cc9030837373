"""Sessions of the page: owners, folders and lifetime of uploads and results.

A session has a folder under the page's private one, named by a secret that only this visitor's page knows. Every upload has its
own folder and belongs to the first session that requests it. They are removed when the page is closed, when the session has
been idle for a while, and when the server stops.
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

from bts.apps.web.http import HTTPError
from bts.apps.web.limits import MIB, Limits
from bts.errors import RequestError

if TYPE_CHECKING:
    from bts.apps.web.result import Result


BLOCK = 4096
"""Disk space of the smallest file in bytes."""


class SessionClosedError(Exception):
    """The session was closed: its pending work is dropped without a message."""


@dataclass
class Session:
    """One open page, or one client of the API.

    Attributes:
        folder: folder of the results; its name is the secret under which they can be downloaded.
        result: the displayed result.
        result_folder: folder whose files can be downloaded, also after the scan itself was dropped from memory.
        uploads: uploaded files, with the time when each was read.
        owned: folders of this session's uploads.
        together: files of the last upload, of whose series one can be chosen.
        last_seen: time of the last request.
        closed: whether the session was closed; then nothing may be stored.
        stopped: whether the running batch was stopped; finished results stay.
        lock: held while the result is replaced.
    """

    folder: Path
    result: Result | None = None
    result_folder: Path | None = None
    uploads: dict[Path, float] = field(default_factory=dict)
    owned: set[Path] = field(default_factory=set)
    together: tuple[str, ...] = ()
    last_seen: float = field(default_factory=time.monotonic)
    closed: bool = False
    stopped: bool = False
    lock: threading.RLock = field(default_factory=threading.RLock)

    @property
    def secret(self) -> str:
        """Path segment under which the results can be downloaded."""
        return self.folder.name

    def check(self) -> None:
        """Raise `SessionClosedError` if the session was closed; otherwise mark it as active."""
        if self.closed:
            raise SessionClosedError
        self.last_seen = time.monotonic()

    def new_folder(self, name: str) -> Path:
        """Return an empty folder for the next scan, and remove that of the previous one."""
        self.check()
        self.clear()
        folder = self.folder / "scan" / name
        folder.mkdir(parents=True)
        return folder

    def new_batch(self) -> Path:
        """Return an empty folder for the results of a batch, and remove those of the previous one."""
        self.check()
        folder = self.folder / "batch"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def clear(self) -> None:
        """Remove the displayed scan and its files."""
        self.result = self.result_folder = None
        shutil.rmtree(self.folder / "scan", ignore_errors=True)

    def close(self) -> None:
        """Remove all files of this session, except uploads that another session has replaced meanwhile."""
        self.closed = True
        self.clear()
        shutil.rmtree(self.folder, ignore_errors=True)
        for path, read in self.uploads.items():
            if path.exists() and path.stat().st_mtime <= read:
                path.unlink(missing_ok=True)
        for folder in self.owned:
            shutil.rmtree(folder, ignore_errors=True)


class SessionStore:
    """All open sessions.

    Attributes:
        root: private folder with `results` and `uploads`.
        on_close: called with the key of a session that was closed.
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

    def get(self, key: str) -> Session:
        """Return the session of a page, and create it on first use."""
        with self._lock:
            session = self._open.get(key)
            if session is None:
                session = self._open[key] = Session(self.results / secrets.token_urlsafe(18))
            session.last_seen = time.monotonic()
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
        """Return an empty folder for an upload, with a random name."""
        folder = self.uploads / secrets.token_urlsafe(12)
        folder.mkdir(mode=0o700)
        return folder

    def claim(self, path: str | Path, session: Session) -> None:
        """Assign an upload to a session.

        Raises:
            RequestError: it is not an upload, or it belongs to another session.
        """
        folder = Path(path).parent
        with self._lock:
            taken = any(folder in each.owned for each in self._open.values() if each is not session)
            if taken or folder.parent != self.uploads:
                raise RequestError("the upload has been removed: choose the file again")
            session.owned.add(folder)

    def measure(self) -> None:
        """Measure the disk space of the private folder."""
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
        """Count received bytes.

        Raises:
            HTTPError: the disk limit is exceeded.
        """
        with self._lock:
            self._used += size
            full = self._used > self.limits.disk_mib * MIB
        if full:
            raise HTTPError(507, self._full)

    def check_room(self) -> None:
        """Raise `RequestError` if the disk limit is exceeded."""
        self.measure()
        if self._used > self.limits.disk_mib * MIB:
            raise RequestError(self._full)

    @property
    def _full(self) -> str:
        return f"the disk limit of this page, {self.limits.disk_mib:g} MiB for all visitors, is reached: try again later"

    def close(self, key: str) -> None:
        """Close a session, if it exists."""
        with self._lock:
            session = self._open.pop(key, None)
        if session is not None:
            session.close()
        self.on_close(key)

    def sweep(self) -> None:
        """Close idle sessions, remove expired uploads, and drop the oldest scans from memory."""
        now = time.monotonic()
        with self._lock:
            idle = [key for key, each in self._open.items() if now - each.last_seen > self.limits.idle_seconds]
        for key in idle:
            self.close(key)
        self._sweep_uploads()
        self.evict()

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
                        path.rmdir() if path.is_dir() else path.unlink()  # Gradio leaves an empty file per upload
                except OSError:  # already removed by its session, or not empty
                    continue

    def evict(self, *, keep: Session | None = None) -> None:
        """Drop the least recently used scans from memory until the others fit; that of `keep` stays."""
        with self._lock:
            holding = sorted((each for each in self._open.values() if each.result is not None), key=lambda each: each.last_seen)
        total = sum(each.result.voxels for each in holding if each.result is not None)
        for session in holding:
            if total <= self.limits.held_voxels:
                return
            if session is not keep and session.result is not None:
                total -= session.result.voxels
                session.clear()


def _equal(secret: str, given: str) -> bool:
    """Compare in constant time, which requires bytes."""
    return secrets.compare_digest(secret.encode(), given.encode(errors="replace"))
