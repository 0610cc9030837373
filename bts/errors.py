"""Errors for users: one line that states what, where and what to do.

The inner layer raises with the fact; an outer layer adds path and slice with `at`. Only apps turn an error into an exit status.
"""

from __future__ import annotations


class BtsError(Exception):
    """Root of every error that a user can meet; `str()` is one line."""

    exit_status = 2

    def at(self, where: object) -> BtsError:
        """Return the same kind of error with `where` (a path, a slice, a setting) put in front, once."""
        text = str(self)
        return self if str(where) in text else type(self)(f"{where}: {text}")


class RequestError(BtsError):
    """The request itself is wrong (a setting, a missing folder, a model of another task): nothing was started."""

    exit_status = 2


class InputError(BtsError):
    """One input can't be read or used; the others may still be done."""

    exit_status = 1


class Interrupted(BtsError):
    """Ctrl-C or SIGTERM ended the work early; finished work is kept, and the message states how to resume."""

    exit_status = 130
