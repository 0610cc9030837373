"""Every error that a program can end with: one line, the right status, a traceback only with --debug."""

from __future__ import annotations

import errno
import gc
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from bts.apps.run import OneLineParser, run_app
from bts.errors import InputError, Interrupted, RequestError


def failing(error: BaseException) -> Callable[..., int]:
    def function(argv: object) -> int:
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (
            RequestError("data/figshare: no slices: run `bts download`"),
            2,
            "error: data/figshare: no slices: run `bts download`",
        ),
        (InputError("3.mat: truncated"), 1, "error: 3.mat: truncated"),
        (Interrupted("go on with --resume"), 130, "go on with --resume"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            OSError(errno.ENOSPC, "No space left", "out/a.png"),
            2,
            "error: out/a.png: the disk is full: free some space or choose another folder",
        ),
        (
            PermissionError(errno.EACCES, "denied", "out"),
            2,
            "error: out: permission denied: choose another folder, or change its permissions",
        ),
        (OSError(errno.EROFS, "read-only"), 2, "error: the file system is read-only: choose another folder"),
        (MemoryError(), 2, "error: out of memory (MemoryError): lower the batch size or the size of the pictures"),
        (ValueError("two\nlines"), 1, "error: unexpected ValueError: two lines (`--debug` shows where; please report it)"),
    ],
)
def test_an_error_is_one_line_and_a_status(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(failing(error), []) == status
    told = capsys.readouterr()
    assert told.err == line + "\n"
    assert told.out == ""


def test_debug_shows_the_traceback_above_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(failing(RequestError("wrong")), ["--debug"]) == 2
    told = capsys.readouterr().err
    assert told.startswith("Traceback")
    assert told.endswith("error: wrong\n")


def test_what_the_function_returns_is_the_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(lambda argv: len(argv), ["a", "b"]) == 2
    assert run_app(failing(SystemExit(0)), []) == 0


def test_sigterm_ends_as_an_interruption(capsys: pytest.CaptureFixture[str]) -> None:
    def terminated(argv: object) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0

    before = signal.getsignal(signal.SIGTERM)
    try:
        assert run_app(terminated, []) == 130
    finally:
        signal.signal(signal.SIGTERM, before)


def test_what_the_program_logs_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    def says(argv: object) -> int:
        logging.getLogger("bts.data").info("reading %d slices", 3)
        return 0

    run_app(says, [])
    capsys.readouterr()
    run_app(says, [])
    assert capsys.readouterr().out == "reading 3 slices\n"


def test_an_unknown_option_gets_the_nearest_one() -> None:
    parser = OneLineParser(prog="bts thing", description="")
    parser.add_argument("--axis")
    with pytest.raises(RequestError, match=r"unknown argument '--axes' \(did you mean '--axis'\?\); `bts thing --help`"):
        parser.parse_args(["--axes", "2"])


def test_a_closed_pipe_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    """`bts sources | head -1`: the reader has what it wanted."""
    import subprocess
    import sys

    code = "from bts.apps.run import run_app; raise SystemExit(run_app(lambda a: print('x' * 10**6) or 0))"
    done = subprocess.run(f'{sys.executable} -c "{code}" | head -1', shell=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("xxx")
    assert done.stderr == ""


def test_a_command_leaves_the_garbage_collector_alone() -> None:
    """A server that collects rarely grows by half over 200 uploads (`python -m bench app`)."""
    before = gc.get_threshold()
    try:
        gc.set_threshold(700, 10, 10)
        run_app(lambda _: 0, [])
        assert gc.get_threshold() == (700, 10, 10)
    finally:
        gc.set_threshold(*before)


PROGRAM = """
import atexit, sys, threading, time
from bts.apps.run import run_program

def main():
    atexit.register(print, "exit function")
    threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
    sys.stdout.write("answer ")
    return int(sys.argv[1]) if sys.argv[1:] else 1 / 0

class Slow:
    def __del__(self):
        print("freed")

kept = Slow()
run_program(main)
"""


@pytest.mark.parametrize(("argument", "status"), [(["0"], 0), (["2"], 2), ([], 1)])
def test_a_program_ends_its_threads_and_exit_functions_but_frees_nothing(argument: list[str], status: int) -> None:
    ended = subprocess.run([sys.executable, "-c", PROGRAM, *argument], text=True, capture_output=True)
    assert (ended.returncode, ended.stdout) == (status, "answer thread\nexit function\n")
    assert ("ZeroDivisionError" in ended.stderr) == (not argument)


def test_a_reader_that_went_away_is_no_error() -> None:
    program = "import time; from bts.apps.run import run_program; run_program(lambda: print('x') or time.sleep(0.2) or 0)"
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": os.environ | {"PYTHONUNBUFFERED": ""}}
    with subprocess.Popen([sys.executable, "-c", program], text=True, **how) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == ""
    assert running.returncode == 0
