"""Errors for users: one line that states what, where and what to do.

The inner layer raises with the fact; an outer layer adds path and slice with `at`. Only apps turn an error into an exit status.
"""

from __future__ import annotations

import copy
from typing import TypeVar

Same = TypeVar("Same", bound="BtsError")


class BtsError(Exception):
    """Root of every error that a user can meet; `str()` is one line."""

    exit_status = 2

    def at(self: Same, where: object) -> Same:
        """Return the same error with `where` (a path, a slice, a setting) put in front, once."""
        text = str(self)
        return self if str(where) in text else self.reworded(f"{where}: {text}")

    def reworded(self: Same, text: str) -> Same:
        """Return the same error with another text."""
        found = copy.copy(self)
        found.args = (text,)
        return found


class RequestError(BtsError):
    """The request itself is wrong (a setting, a missing folder, a model of another task): nothing was started."""

    exit_status = 2


class InputError(BtsError):
    """One input can't be read or used; the others may still be done."""

    exit_status = 1


class SeveralSeriesError(InputError):
    """Files that came together hold several series, of which one is to be chosen.

    Attributes:
        choices: a line on each, in the order of their numbers.
    """

    choices: tuple[str, ...] = ()


class Interrupted(BtsError):
    """Ctrl-C or SIGTERM ended the work early; finished work is kept, and the message states how to resume."""

    exit_status = 130
