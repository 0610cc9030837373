"""Processes of tests that are forked from one with all imports done: a fork takes milliseconds, the imports take seconds.

The page's processes are forked from one that has imported Gradio and the page; others may be copies of the tests' own process.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import warnings
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from unittest import mock

from bts.apps.web.serve import GRADIO_SETTINGS, PROXIES

TESTS = Path(__file__).resolve().parent
_HOW = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_CONTEXT: Any = multiprocessing.get_context(_HOW)
_CONTEXT.set_forkserver_preload(
    ["gradio", "bts.apps.web.page", "bts.apps.web.serve", "bts.apps.cli", "web_models", "web_server"]
)


def start(work: Callable[..., object], *given: Any, log: Path, temporary: Path, copy: bool = False) -> BaseProcess:
    """Call a function in a process of its own, which exits with what the function returns.

    Args:
        work: the function; its module is imported there, so it had better not be a module of tests.
        given: its arguments.
        log: file for all that the process prints.
        temporary: its folder of temporary files and its working folder.
        copy: fork this process, which has imported torch, and not the one that has imported Gradio.
    """
    temporary.mkdir(exist_ok=True)
    if copy:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks of a process with threads
            how = "fork" if _fork_can_train() else "spawn"
            process: BaseProcess = multiprocessing.get_context(how).Process(target=_run, args=(work, given, log, temporary))
            process.start()
        return process
    path = os.pathsep.join([str(TESTS.parent), str(TESTS), str(TESTS / "apps"), os.environ.get("PYTHONPATH", "")])
    with mock.patch.dict(os.environ, GRADIO_SETTINGS, PYTHONPATH=path):  # for what is imported before the first fork
        for name in PROXIES:
            os.environ.pop(name, None)
        process = _CONTEXT.Process(target=_run, args=(work, given, log, temporary))
        process.start()
    return process


def _fork_can_train() -> bool:
    """Whether autograd works in a fork of this process: not if its first work here was an export, which starts threads."""
    trial = multiprocessing.get_context("fork").Process(target=_train)
    trial.start()
    trial.join()
    return trial.exitcode == 0


def _train() -> None:
    import torch

    with contextlib.suppress(RuntimeError):
        torch.ones(1, requires_grad=True).sum().backward()
        os._exit(0)
    os._exit(1)


def _run(work: Callable[..., object], given: tuple[Any, ...], log: Path, temporary: Path) -> None:
    written = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in (1, 2):
        os.dup2(written, descriptor)
    sys.stdout, sys.stderr = (os.fdopen(descriptor, "w", buffering=1, closefd=False) for descriptor in (1, 2))
    warnings.simplefilter("ignore")
    os.chdir(temporary)
    os.environ["TMPDIR"], tempfile.tempdir = str(temporary), None
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    sys.exit(work(*given))
