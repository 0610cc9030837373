"""Known vulnerabilities of the pinned packages, asked of PyPI's advisory service by pip-audit.

A service that can't be reached is said and is no failure, so that `make lint` works without a network. A known vulnerability is
one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bts.apps.run import DONE, SOME_FAILED, OneLineParser
from bts.errors import RequestError

ROOT = Path(__file__).resolve().parents[1]
PINNED = ("constraints.txt", "requirements/app.lock.txt")
SECONDS = 10
"""How long one answer of the service may take."""
NO_ANSWER = re.compile(r"\b\w*(Connection|Proxy|SSL|Timeout|Service)\w*(Error)?: ")
"""Last line of pip-audit where the service does not answer."""
ACCEPTED: dict[str, str] = {}
"""Identifier of a vulnerability that is known and does not apply -> why."""


class NotReached(Exception):
    """The advisory service did not answer, or does not know the packages."""


def command(argv: Sequence[str]) -> int:
    """Ask for known vulnerabilities, list them, and return the exit status."""
    parser = OneLineParser(
        prog="python -m tools vulnerabilities", description=f"Ask for known vulnerabilities of {' and '.join(PINNED)}."
    )
    parser.parse_args(argv)
    if find_spec("pip_audit") is None:
        raise RequestError("pip-audit is not installed: pip install -c constraints.txt 'bts[dev]'")
    pins = sorted({pin for name in PINNED for pin in pins_of(ROOT / name)})
    try:
        ask(
            pins[:1]
        )  # one question tells whether the service is there: without it, each package would wait for its own time-out
        found = ask(pins)
    except NotReached as reason:
        print(f"vulnerabilities: NOT CHECKED, {reason}")
        return DONE
    print("\n".join(found) or f"vulnerabilities: none known in {len(pins)} packages")
    return SOME_FAILED if found else DONE


def pins_of(file: Path) -> list[str]:
    """Return `name==version` of each line of a requirements file that applies here, without hashes."""
    lines = [line.split(" \\")[0].split("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    pins = [Requirement(line) for line in lines if line and not line.startswith("--")]
    return [f"{canonicalize_name(pin.name)}{pin.specifier}" for pin in pins if pin.marker is None or pin.marker.evaluate()]


def ask(pins: list[str]) -> list[str]:
    """Return a line for each known vulnerability of pinned packages.

    Raises:
        NotReached: the service does not answer, or answers about none of the packages.
        RequestError: pip-audit failed in another way.
    """
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder, "pinned.txt")
        listed.write_text("\n".join(pins) + "\n", encoding="utf-8")
        line = [
            sys.executable,
            "-m",
            "pip_audit",
            "--no-deps",
            "--disable-pip",
            "--progress-spinner",
            "off",
            "--format",
            "json",
        ]
        accepted = [word for name in ACCEPTED for word in ("--ignore-vuln", name)]
        ended = subprocess.run(
            [*line, "--timeout", str(SECONDS), *accepted, "-r", str(listed)], capture_output=True, text=True, check=False
        )
    return findings(ended.stdout, ended.stderr)


def findings(answer: str, said: str) -> list[str]:
    """Return a line for each known vulnerability in pip-audit's JSON; `said` is what it wrote to standard error.

    Raises:
        NotReached: as `ask`.
        RequestError: as `ask`.
    """
    if not answer.strip():
        last = (said.strip().splitlines() or ["no word"])[-1]
        if NO_ANSWER.search(last):
            raise NotReached(f"the advisory service can't be reached ({last.split('(')[0].strip()[:120]})")
        raise RequestError(f"pip-audit failed: {last}")
    packages = json.loads(answer)["dependencies"]
    if not any("vulns" in package for package in packages):
        raise NotReached("the package index has no advisory service")
    return [
        f"{package['name']} {package['version']}: {known['id']}, fixed in {', '.join(known['fix_versions']) or 'no version'}"
        for package in packages
        for known in package.get("vulns", ())
    ]
