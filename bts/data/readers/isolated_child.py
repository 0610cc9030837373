"""The process in which uploads are read; `bts.data.readers.isolated` starts it and talks to it.

It imports the readers once and then forks for each file. The fork reads one file under limits, answers on the socket that
came with the request, and ends: whatever a hostile file does to it ends with it. This process itself never opens a file of
a user, and it ends when the other side of its socket is closed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bts.data.readers.answers import Answer
from bts.data.readers.bounds import MIB
from bts.errors import InputError

ACCEPTED = b"k"
MAX_REQUEST_BYTES = 2**16
REAP_S = 1.0
"""How often ended forks are collected while one is running."""
OPEN_FILES = 32
Read = Callable[[dict[str, Any]], Answer]
"""Takes a request; returns the head of an answer and the bytes after it."""


def main(descriptor: int, read: Read | None = None) -> None:
    """Answer requests until the other side closes the socket.

    Args:
        descriptor: of the socket.
        read: answers a request in the fork; the readers of this package where it is not given.
    """
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN if number == signal.SIGINT else signal.SIG_DFL)
    read = read or reader()
    gc.collect()
    gc.freeze()  # the forks share what is there
    running: dict[int, float] = {}
    with socket.socket(fileno=descriptor) as control:
        while True:
            ready, _, _ = select.select([control], [], [], REAP_S if running else None)
            _end_overdue(running)
            if not ready:
                continue
            message, descriptors, _, _ = socket.recv_fds(control, MAX_REQUEST_BYTES, 1)
            if not message:
                break
            request = json.loads(message)
            child = os.fork()
            if child == 0:
                control.close()
                _answer(descriptors[0], request, read)
            os.close(descriptors[0])
            running[child] = time.monotonic() + request["seconds"]
            control.sendall(ACCEPTED)
    for child in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def reader() -> Read:
    """Return what reads a file, everything that it needs imported."""
    import nibabel  # noqa: F401
    import scipy.io.matlab  # noqa: F401
    from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin  # noqa: F401

    for plugin in ("jpeg_ls", "openjpeg", "gdcm"):  # decoders of the extra `dicom`, each on its own
        with contextlib.suppress(ImportError):
            importlib.import_module(plugin)
    with contextlib.suppress(ImportError):  # without pydicom there is no DICOM, as the reader says
        import pydicom.encaps
        import pydicom.pixels.decoders  # noqa: F401
    from bts.data.readers import mat, nifti  # noqa: F401
    from bts.data.readers.answers import READS

    return lambda request: READS[request["kind"]](request)


def limit(*, memory_mib: float, seconds: float) -> None:
    """Take from this process what reading a file does not need; it is killed after `seconds`."""
    import resource

    whole_seconds = int(seconds) + 1
    _lower(resource.RLIMIT_CPU, whole_seconds)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_NOFILE, OPEN_FILES)
    _lower(resource.RLIMIT_NPROC, 0)
    taken = _address_space()
    if taken is not None:
        _lower(resource.RLIMIT_AS, taken + int(memory_mib * MIB))
    signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends a process that does not handle it


def _lower(kind: int, value: int) -> None:
    import resource

    most = resource.getrlimit(kind)[1]
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(kind, (value, value))


def _address_space() -> int | None:
    """Return the bytes of address space that this process has; None where the system does not say."""
    try:
        pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[0]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _answer(descriptor: int, request: dict[str, Any], read: Read) -> None:
    """Do one request and end this process."""
    try:
        parts: Sequence[memoryview] = ()
        try:
            limit(memory_mib=request["memory_mib"], seconds=request["seconds"])
            head, parts = read(request)
        except InputError as error:
            head = {"error": str(error), "choices": getattr(error, "choices", ())}
        except MemoryError:
            head = {"unexpected": "MemoryError"}
        except Exception as error:  # a fault of a reader: told by its name, as its text may hold a value of the scan
            head = {"unexpected": type(error).__name__}
        with socket.socket(fileno=descriptor) as answer:
            packed = json.dumps(head).encode()
            answer.sendall(struct.pack("<Q", len(packed)) + packed)
            for part in parts:
                answer.sendall(part)
    finally:
        os._exit(0)


def _end_overdue(running: dict[int, float]) -> None:
    """Collect forks that have ended, and kill those whose own alarm did not end them."""
    for child, until in list(running.items()):
        ended, _ = os.waitpid(child, os.WNOHANG)
        if ended:
            del running[child]
        elif time.monotonic() > until + REAP_S:
            os.kill(child, signal.SIGKILL)
