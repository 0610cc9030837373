"""Reading of files from strangers in a process of its own.

A file that crashes its parser, never ends or fills the memory then costs one answer, and not the server. One process imports
the readers and forks for each file (`bts.data.readers.isolated_child`); the fork has an address-space limit, a time limit
and nothing else to write to than its answer, which comes back as JSON and raw bytes and is checked like the file itself.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from bts.data.readers.bounds import MAX_ZIP_MEMBERS, MIB, NO_MEMORY, READ_LANES, READ_MEMORY_MIB, READ_SECONDS
from bts.data.readers.catalogue import suffix
from bts.data.readers.scan import Scan
from bts.data.readers.scan_bytes import MAX_WORDS, unpack
from bts.errors import InputError, SeveralSeriesError

LOG = logging.getLogger(__name__)
PACKAGE_ROOT = Path(__file__).resolve().parents[3]
CODE = "from bts.data.readers.isolated_child import main; main({descriptor})"
KEPT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR")
"""Variables that the process gets of this one's; a password in the environment is none of them."""
SET = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HDF5_PLUGIN_PRELOAD": "::",  # HDF5's own word for: load no plugin
    "PYTHONDONTWRITEBYTECODE": "1",
}
START_S = 120
"""Longest wait for the process to start; a busy machine takes seconds."""
GRACE_S = 5
"""How much longer than the time limit an answer is waited for: the limit itself is kept on the other side."""
ALMOST = 0.9
"""Share of the time limit after which an answer that breaks off was ended by the limit: the two clocks start apart."""
MAX_HEAD_BYTES = 16 * MIB
MAX_LINE = 600


class ClaimError(InputError):
    """A header claims more values than the caller takes.

    Attributes:
        claimed: how many.
    """

    claimed = 0


def read_scan_isolated(
    path: str | Path,
    *,
    kind: Literal["file", "folder"] = "file",
    axis: int | None = None,
    series: int | None = None,
    most_values: int | None = None,
    headers: Path | None = None,
    memory_mib: float = READ_MEMORY_MIB,
    seconds: float = READ_SECONDS,
) -> Scan:
    """Return what `read_scan` returns, read in a process of its own; on systems that can't fork in this one.

    Args:
        path: a file, or a folder with the files of one DICOM series.
        kind: which of them.
        axis: as for `read_scan`.
        series: number of the series where there are several, as for `find_one_series`.
        most_values: largest scan by its header (`claimed_values`); None leaves the limits of the readers.
        headers: folder that the headers of a DICOM series are put in: they are the `files` of its `series` then, without
            pixels and private elements. None leaves the series out.
        memory_mib: address space that reading may take.
        seconds: time that reading may take.

    Raises:
        ClaimError: over `most_values`.
        SeveralSeriesError: as `find_one_series`.
        InputError: as `read_scan` or `find_one_series`, or the reader crashed, took too long or too much memory.
        OSError: the process can't be started.
    """
    return _shared().read_scan(
        path,
        kind=kind,
        axis=axis,
        series=series,
        most_values=most_values,
        headers=headers,
        memory_mib=memory_mib,
        seconds=seconds,
    )


def unpack_isolated(
    path: str | Path,
    folder: Path,
    *,
    most_bytes: int,
    memory_mib: float = READ_MEMORY_MIB,
    seconds: float = READ_SECONDS,
) -> dict[Path, str]:
    """Unpack the scans in a zip archive, inflated in a process of its own; return each file and what the archive calls it.

    Args:
        path: the archive.
        folder: for the files, which are called by their numbers.
        most_bytes: of all members, after unpacking.
        memory_mib: as for `read_scan_isolated`.
        seconds: as for `read_scan_isolated`.

    Raises:
        InputError: as `unpack_scans`, or the reader crashed, took too long or too much memory.
        OSError: the process can't be started.
    """
    return _shared().unpack(path, folder, most_bytes=most_bytes, memory_mib=memory_mib, seconds=seconds)


def missing_isolation() -> str | None:
    """Return what this system lacks for reading apart with limits, or None where nothing is missing."""
    if not _can_fork():
        return f"{sys.platform} can't fork: uploads are read in the server's own process, without limits of memory and time"
    if not Path("/proc/self/statm").exists():
        return f"{sys.platform} has no address-space limit: the memory of reading an upload is bounded by header checks alone"
    return None


class ReadingProcess:
    """The process that forks for each file, started with the first one and again where it has ended.

    Args:
        code: that it runs, with `{descriptor}` for the socket.
        lanes: files that are read at once; further ones wait.
    """

    def __init__(self, *, code: str = CODE, lanes: int = READ_LANES) -> None:
        self.code = code
        self._lanes = threading.BoundedSemaphore(lanes)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._owner = os.getpid()

    def read_scan(
        self,
        path: str | Path,
        *,
        kind: Literal["file", "folder"] = "file",
        axis: int | None = None,
        series: int | None = None,
        most_values: int | None = None,
        headers: Path | None = None,
        memory_mib: float = READ_MEMORY_MIB,
        seconds: float = READ_SECONDS,
    ) -> Scan:
        """Return the scan of a file or folder; see `read_scan_isolated`."""
        request = {"kind": kind, "axis": axis, "series": series, "most_values": most_values}
        with self._asked(path, request | {"memory_mib": memory_mib, "seconds": seconds}) as answer:
            claimed = answer.head.get("claimed")
            if claimed is None:
                called = str(path) if kind == "file" else str(answer.head["name"])[:MAX_WORDS]
                return unpack(answer.head, answer.take, path=called, most=int(memory_mib * MIB), headers=headers)
            claimed = int(claimed)
        _refuse_claimed(claimed, most_values or 0, path)
        raise InputError(f"{path}: its reader gave no usable answer: export it again, or as PNG")

    def unpack(
        self,
        path: str | Path,
        folder: Path,
        *,
        most_bytes: int,
        memory_mib: float = READ_MEMORY_MIB,
        seconds: float = READ_SECONDS,
    ) -> dict[Path, str]:
        """Unpack the scans in an archive; see `unpack_isolated`."""
        request = {"kind": "archive", "most_values": most_bytes, "memory_mib": memory_mib, "seconds": seconds}
        with self._asked(path, request) as answer:
            members = [(str(name)[:MAX_WORDS], int(size)) for name, size in answer.head["members"]]
            if (
                len(members) > MAX_ZIP_MEMBERS
                or min(size for _, size in members) < 0
                or sum(size for _, size in members) > most_bytes
            ):
                raise ValueError("members of no or too many bytes")
            found: dict[Path, str] = {}
            for number, (name, size) in enumerate(members):
                file = folder / f"{number:05}{suffix(name)}"
                file.write_bytes(answer.take(size))
                found[file] = name
            return found

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._stop()

    @contextlib.contextmanager
    def _asked(self, path: str | Path, request: dict[str, Any]) -> Iterator[_Answer | _AnswerHere]:
        """Yield the answer to one request; whatever is wrong with it becomes one line."""
        absolute, seconds = str(Path(path).absolute()), request["seconds"]  # `abspath` would remove `..` behind a link
        if not _can_fork():
            try:
                yield _AnswerHere(request | {"path": absolute})
            except InputError as error:
                raise error.reworded(str(error).replace(absolute, str(path))).at(path) from error
            return
        ours, theirs = socket.socketpair()
        with self._lanes, ours:
            with theirs:
                self._send(json.dumps(request | {"path": absolute}).encode(), theirs)
            began = time.monotonic()
            answer = _Answer(ours, until=began + seconds + GRACE_S)
            try:
                answer.read_head()
                if "error" in answer.head:
                    raise _refusal(answer.head, absolute, path)
                if answer.head.get("unexpected") == "MemoryError":
                    raise InputError(NO_MEMORY)
                if "unexpected" in answer.head:
                    raise InputError(f"its reader failed ({str(answer.head['unexpected'])[:40]}): export it again, or as PNG")
                yield answer
            except (EOFError, TimeoutError, ConnectionError) as error:
                if time.monotonic() - began >= ALMOST * seconds:
                    reason = f"stopped after {seconds:g} s of reading: export it again, or as PNG"
                else:
                    most = f"{request['memory_mib']:g} MiB"
                    reason = f"its reader crashed or took more than {most}: the file is damaged, export it again"
                raise InputError(f"{path}: {reason}") from error
            except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
                raise InputError(f"{path}: its reader gave no usable answer: export it again, or as PNG") from error
            except InputError as error:
                raise error.at(path) from error

    def _send(self, request: bytes, answer: socket.socket) -> None:
        """Hand a request over, to a new process where the old one has ended."""
        with self._lock:
            for _ in range(2):
                try:
                    control = self._started()
                    socket.send_fds(control, [request], [answer.fileno()])
                    if control.recv(1):
                        return
                except (OSError, EOFError) as error:
                    LOG.warning("the process that reads uploads has ended (%s)", type(error).__name__)
                self._stop()
        raise OSError("the process that reads uploads can't be started")

    def _started(self) -> socket.socket:
        if self._owner != os.getpid():  # a fork of the server: the process belongs to its parent
            self._process, self._control, self._owner = None, None, os.getpid()
        if self._control is not None:
            return self._control
        reason = missing_isolation()
        if reason:
            LOG.warning("%s", reason)
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", self.code.format(descriptor=theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=PACKAGE_ROOT,  # from where `bts` is imported
                env={name: os.environ[name] for name in KEPT if name in os.environ} | SET,
                start_new_session=True,  # Ctrl-C is the server's affair: it closes the socket
            )
        ours.settimeout(START_S)
        self._control = ours
        return ours

    def _stop(self) -> None:
        if self._owner != os.getpid():
            return
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # with its forks: none of them has anything to save
            self._process.wait()
        self._process = self._control = None


class _Answer:
    """What comes back for one request, up to a point in time."""

    def __init__(self, stream: socket.socket, *, until: float) -> None:
        self.head: dict[str, Any] = {}
        self._stream, self._until = stream, until

    def read_head(self) -> None:
        (size,) = struct.unpack("<Q", self.take(8))
        if size > MAX_HEAD_BYTES:
            raise ValueError("a head of too many bytes")
        found = json.loads(self.take(size))
        if not isinstance(found, dict):
            raise ValueError("a head that is none")
        self.head = found

    def take(self, count: int) -> bytearray:
        """Return the next bytes; raises `EOFError` where there are fewer, and `TimeoutError`."""
        found = bytearray(count)
        view, got = memoryview(found), 0
        while got < count:
            self._stream.settimeout(max(self._until - time.monotonic(), 0.001))
            received = self._stream.recv_into(view[got:])
            if not received:
                raise EOFError
            got += received
        return found


class _AnswerHere:
    """The answer to a request that is read in this process, as the system can't fork."""

    def __init__(self, request: dict[str, Any]) -> None:
        from bts.data.readers.answers import READS  # here, as the readers are slow to import

        head, parts = READS[request["kind"]](request)
        self.head = json.loads(json.dumps(head))  # with lists for tuples, as it comes from another process
        self._bytes = iter(parts)

    def take(self, count: int) -> bytearray:
        """Return the next part, which has `count` bytes."""
        return bytearray(next(self._bytes))


def _refuse_claimed(claimed: int, most: int, path: str | Path) -> None:
    if claimed > most:
        error = ClaimError(f"{path}: its header claims {claimed} values: at most {most} are accepted here")
        error.claimed = claimed
        raise error


def _refusal(head: dict[str, Any], absolute: str, path: str | Path) -> InputError:
    """Return the error of the other process."""
    line, *choices = (
        "".join(letter for letter in str(each).replace(absolute, str(path)) if letter.isprintable())[:MAX_LINE]
        for each in (head["error"], *list(head.get("choices", ()))[:MAX_ZIP_MEMBERS])
    )
    if not choices:
        return InputError(line)
    several = SeveralSeriesError(line)
    several.choices = tuple(choices)
    return several


def _can_fork() -> bool:
    return hasattr(os, "fork") and hasattr(socket, "send_fds")


_PROCESS: ReadingProcess | None = None
_PROCESS_LOCK = threading.Lock()


def _shared() -> ReadingProcess:
    """Return the process of this program, started with its first file and ended with the program."""
    global _PROCESS
    with _PROCESS_LOCK:
        if _PROCESS is None:
            _PROCESS = ReadingProcess()
            atexit.register(_PROCESS.close)
        return _PROCESS
