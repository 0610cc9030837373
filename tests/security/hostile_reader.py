"""A reader that does what a hostile file could make one do; runs in the process of `bts.data.readers.isolated`."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import socket
from pathlib import Path
from typing import Any

import numpy as np

from bts.data.readers.isolated_child import Answer, main
from bts.data.readers.scan import Scan
from bts.data.readers.scan_bytes import pack
from bts.data.slice import Slice
from bts.errors import InputError

PICTURE = np.arange(48, dtype=np.float32).reshape(6, 8)


def read(request: dict[str, Any]) -> Answer:
    """Do what the file's name says."""
    name = Path(request["path"]).stem
    if name == "crash":
        ctypes.string_at(0)
    elif name == "hang":
        while True:
            signal.pthread_sigmask(signal.SIG_BLOCK, [])
    elif name == "asleep":
        signal.sigwait([signal.SIGUSR1])
    elif name == "deaf":  # code that has taken the fork over does not end by its own alarm
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
        signal.sigwait([signal.SIGUSR1])
    elif name == "bomb":
        np.ones(2**28)
    elif name == "exit":
        os._exit(0)
    elif name == "bug":
        raise ZeroDivisionError("secret value 42")
    elif name == "lines":
        raise InputError("one\ntwo\x1b[31m" + "x" * 9000)
    elif name == "world":
        return _told(_world()), ()
    elif name == "huge":
        head, parts = pack(Scan(path="", slices=[Slice(image=PICTURE, source="file", path="")]))
        head["slices"][0]["shape"] = [8192, 8192]
        return head, parts
    elif name == "many heads":
        return {"slices": [{}] * 2_000_000}, ()
    elif name.startswith("head"):
        return json.loads(Path(request["path"]).read_text()), ()
    head, parts = pack(Scan(path="", slices=[Slice(image=PICTURE, source="file", path="", label=name)]))
    return (head, [parts[0][:50]]) if name == "short" else (head, parts)


def _told(text: str) -> dict[str, Any]:
    return {"error": text}


def _world() -> str:
    """What a fork can reach, as JSON."""
    found = {
        "environment": sorted(os.environ),
        "open": sorted(int(name) for name in os.listdir("/proc/self/fd")),
        "limits": {
            name: resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))[0] for name in ("CORE", "FSIZE", "NOFILE", "NPROC")
        },
        "kinds": [_kind(number) for number in range(8)],
    }
    return json.dumps(found)


def _kind(number: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{number}").split(":")[0]
    except OSError:
        return ""


def start(descriptor: int) -> None:
    """Answer with `read`."""
    main(descriptor, read)


def dead(descriptor: int) -> None:
    """End at once, as a process that can't import its readers."""
    socket.socket(fileno=descriptor).close()
