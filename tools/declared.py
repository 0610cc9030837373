"""Dependencies that setup.cfg declares, and what each of them brings along on this machine."""

from __future__ import annotations

from configparser import ConfigParser
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bts.errors import RequestError

SETUP = Path(__file__).resolve().parents[1] / "setup.cfg"
CORE = "core"
"""Name of the group of `install_requires`; the other groups are extras."""


def declared(setup: Path = SETUP) -> dict[str, list[Requirement]]:
    """Return the requirements of setup.cfg by group: `core`, then the extras."""
    settings = ConfigParser()
    settings.read_string(setup.read_text(encoding="utf-8"))
    texts = {CORE: settings["options"]["install_requires"], **settings["options.extras_require"]}
    return {group: [Requirement(line) for line in text.splitlines() if line.strip()] for group, text in texts.items()}


def closure(requirements: list[Requirement]) -> set[str]:
    """Return the canonical names of installed packages that requirements need on this machine, directly or through others.

    Raises:
        RequestError: one of `requirements` is not installed.
    """
    found: set[tuple[str, str]] = set()  # (package, extra)
    waiting = list(requirements)
    for each in waiting:
        if not each.marker or each.marker.evaluate({"extra": ""}):
            try:
                distribution(each.name)
            except PackageNotFoundError as error:
                raise RequestError(f"{each.name} is not installed: `make licences` installs every extra") from error
    while waiting:
        each = waiting.pop()
        name = canonicalize_name(each.name)
        for extra in ("", *each.extras):
            if (name, extra) in found:
                continue
            try:
                needs = distribution(name).requires or []
            except PackageNotFoundError:  # for another system or Python
                continue
            found.add((name, extra))
            needed = [Requirement(need) for need in needs]
            waiting += [need for need in needed if need.marker is None or need.marker.evaluate({"extra": extra})]
    return {name for name, _ in found}
