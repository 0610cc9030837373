"""Virtual environments of the peers: made by uv, which links equal files of several environments to one copy on disk."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

from bench.peers.catalogue import ROOT, Peer

NAMED = ("nnunetv2", "segmentation_models_pytorch", "timm", "monai", "bts", "torch")


class InstallError(Exception):
    """A peer that can't be installed; the message is one line for the table."""


def make_environment(peer: Peer, folder: Path) -> Path:
    """Return the Python of a peer's environment in `folder`, made where it is not there yet.

    Raises:
        InstallError: it can't be made.
    """
    folder = folder.absolute()
    home = folder / peer.environment
    python, done = home / "bin" / "python", home / "installed"
    own = any(ROOT.as_uri() in each for each in peer.requirements)
    wanted = "\n".join([*peer.requirements, *([source_version()] if own else [])])
    if done.is_file() and done.read_text(encoding="utf-8") == wanted:
        return python
    uv = _uv(folder)
    log = folder / f"{peer.environment}.log"
    _call([str(uv), "venv", "--quiet", "--clear", "--python", sys.executable, str(home)], log, folder)
    _call([str(uv), "pip", "install", "--quiet", "--python", str(python), *peer.requirements], log, folder)
    done.write_text(wanted, encoding="utf-8")
    return python


def _uv(folder: Path) -> Path:
    """Return the program uv, in an environment of its own."""
    home = folder / "uv"
    program = home / "bin" / "uv"
    if not program.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        venv.create(home, with_pip=True, clear=True)
        _call([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "uv"], folder / "uv.log", folder)
    return program


def _call(command: list[str], log: Path, folder: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment["UV_CACHE_DIR"] = str(folder / "cache")  # on the same disk, or files could not be linked
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        try:
            status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment, check=False).returncode
        except OSError as error:
            raise InstallError(f"can't be installed ({command[0]}: {error.strerror}); see {log}") from error
    if status:
        raise InstallError(f"can't be installed ({reason(log)}); see {log}")


def source_version() -> str:
    """Return the commit of this source, with `-dirty` where files were changed, or `unknown` without git."""
    try:
        line = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"


def versions(python: Path) -> dict[str, str]:
    """Return the versions of the packages in an environment that a reader may ask for, by name."""
    names = {path.name.removesuffix(".dist-info") for path in python.parents[1].glob("lib/*/site-packages/*.dist-info")}
    found = dict(name.split("-", 1) for name in names)
    if "bts" in found:
        found["bts"] += f" at {(python.parents[1] / 'installed').read_text(encoding='utf-8').splitlines()[-1]}"
    return {name: found[name] for name in NAMED if name in found}


def reason(log: Path, *, most: int = 160) -> str:
    """Return the line of a log that says best why a program failed: its last error, or its last line."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if any(word in line.lower() for word in ("error", "because", "killed", "no space"))]
    return (errors or lines or ["no message"])[-1][:most]


def disk_mib(folder: Path) -> float:
    """Return the size of all files in a folder in MiB; a linked file counts in every folder that has it."""
    sizes = (path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
    return sum(sizes) / 2**20
