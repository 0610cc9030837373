"""Common code of all commands: argument parsing, one-line errors and exit statuses.

0 done, 1 some inputs failed (each is reported, the others are done), 2 invalid request, 130 interrupted. Every command, root
script or `bts` subcommand, is run by `run_app`.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import errno
import io
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from bts.errors import BtsError, RequestError
from bts.progress import REPORTER
from bts.registry import suggestion

UNPRINTABLE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, bidirectional marks, and bytes of a file name that are not UTF-8."""

DONE, SOME_FAILED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130

SYSTEM_ERRORS = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    errno.EDQUOT: "your disk quota is used up: free some space or choose another folder",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "permission denied: choose another folder, or change its permissions",
    errno.EPERM: "not permitted: choose another folder, or change its permissions",
    errno.ENOENT: "no such file or folder: check the path",
    errno.ENOTDIR: "a file where a folder is expected: choose another folder",
    errno.EISDIR: "a folder where a file is expected: choose a file",
    errno.EEXIST: "a file of that name exists: remove it or choose another folder",
    errno.EMFILE: "too many files are open: raise the limit with `ulimit -n`",
}


class OneLineParser(argparse.ArgumentParser):
    """Argument parser with one-line errors that name the nearest option for an unknown one."""

    def __init__(self, *, prog: str, description: str, epilog: str | None = None, help_option: bool = True) -> None:
        shape = argparse.RawDescriptionHelpFormatter
        super().__init__(
            prog=prog, description=description, epilog=epilog, formatter_class=shape, allow_abbrev=False, add_help=help_option
        )
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return the options; raises `RequestError` that names every unknown option."""
        options, unknown = self.parse_known_args(args, namespace)
        if unknown:
            known = [text for action in self._actions for text in action.option_strings]
            wrong = [
                text for text in unknown if text.startswith("-")
            ] or unknown  # the value of an unknown option need not be named
            named = ", ".join(f"'{text}'{suggestion(text.split('=')[0], known)}" for text in wrong)
            self.error(f"unknown argument {named}")
        return options

    def error(self, message: str) -> NoReturn:
        """Raise `RequestError` in place of argparse's usage text."""
        raise RequestError(f"{message}; `{self.prog} --help` lists the options")


def add_model_options(parser: argparse.ArgumentParser, *, what: str) -> None:
    """Add --seg, --cls and --joint to a parser; each may be repeated, and is None or a list of paths.

    Args:
        parser: parser of the command.
        what: accepted kinds of a path, such as `run, model folder or exported file`.
    """
    for task, kind in {"seg": "segmenter", "cls": "classifier", "joint": "joint model"}.items():
        text = f"{what} of a {kind}, or hf://owner/name; repeat for an ensemble"
        parser.add_argument(f"--{task}", type=Path, action="append", metavar="MODEL", help=text)


def describe(error: BaseException) -> tuple[str, int]:
    """Return the error line for the user and the exit status."""
    if isinstance(error, BtsError):
        return one_line(error), error.exit_status
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return f"out of memory ({one_line(error)}): lower the batch size or the size of the pictures", WRONG_REQUEST
    if isinstance(error, OSError) and error.errno in SYSTEM_ERRORS:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{SYSTEM_ERRORS[error.errno]}", WRONG_REQUEST
    kind = type(error).__name__
    return f"unexpected {kind}: {one_line(error)} (`--debug` shows where; please report it)", SOME_FAILED


def one_line(error: BaseException) -> str:
    """Return the message of an error without line breaks and control characters."""
    return printable(" ".join(str(error).split())) or type(error).__name__


def printable(text: str) -> str:
    """Return a text with control characters, line breaks and invalid Unicode escaped.

    >>> printable("scan\\x1b[2J.png"), printable("Gehirn ä.png")
    ('scan\\\\x1b[2J.png', 'Gehirn ä.png')
    """
    return UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def say(text: str, *, file: TextIO | None = None) -> None:
    """Print lines to standard output, or to another stream, what is not printable as escapes."""
    with REPORTER.aside():
        print("\n".join(map(printable, text.split("\n"))), file=file, flush=True)


def run_program(main: Callable[[], int]) -> NoReturn:
    """Run `main`, the program of this process, and exit with its status.

    Threads end and exit functions run as ever. After them the process ends at once: to free the objects of torch one by one
    takes Python seconds.
    """
    status = 1

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)

    atexit.register(leave)  # the first that is registered is the last to run
    status = main()
    sys.exit(status)


def run_app(function: Callable[[Sequence[str]], int], argv: Sequence[str] | None = None) -> int:
    """Run `function(argv)` and return the exit status; an error is one line on standard error.

    `--debug` anywhere among the arguments adds the traceback. SIGTERM ends a program as Ctrl-C does.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    end_on_sigterm()
    take_any_name()
    show_log()
    try:
        return function(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else (WRONG_REQUEST if end.code else DONE)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python reports the error again at exit
        return DONE
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        line, status = describe(error)
        print(f"error: {line}" if status != INTERRUPTED else line, file=sys.stderr)
        return status


def take_any_name() -> None:
    """Make standard output and error escape what their encoding lacks (cp1252 has no Greek), in place of an exception."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def show_log() -> None:
    """Print this project's log messages to standard output; other libraries are left alone."""
    logger = logging.getLogger("bts")
    logger.setLevel(logging.INFO)
    for old in [each for each in logger.handlers if isinstance(each, LogHandler)]:
        logger.removeHandler(old)
    logger.addHandler(LogHandler())


class LogHandler(logging.Handler):
    """Print messages as they are, to the current standard output, so that redirections work."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one message."""
        say(record.getMessage())


def end_on_sigterm() -> None:
    """Make SIGTERM (from a batch system or `kill`) raise `KeyboardInterrupt`, so that files are closed and models are saved."""

    def interrupt(number: int, frame: object) -> NoReturn:
        raise KeyboardInterrupt

    try:
        signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread: signals belong to the program that runs it
        return
