"""Common types of the export formats: trained model, written files, output paths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bts.errors import RequestError
from bts.models.card import ModelCard

if TYPE_CHECKING:
    from bts.models.base import Network


@dataclass(frozen=True)
class Trained:
    """A trained model as its folder holds it.

    Attributes:
        folder: the model folder.
        network: in eval mode, on the CPU.
        card: its card.
    """

    folder: Path
    network: Network
    card: ModelCard


@dataclass(frozen=True)
class Written:
    """What an export has left.

    Attributes:
        path: file or folder.
        notes: lines for the user.
    """

    path: Path
    notes: tuple[str, ...]


@contextmanager
def writing(place: Path) -> Iterator[None]:
    """Tell in one line where and why nothing can be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(f"{place}: can't be written ({reason}): free disk space or choose another --out") from error


def file_at(out: Path | None, *, usual: Path) -> Path:
    """Return the file that is meant by `--out`: itself where it bears the suffix of the usual one, else that name in it."""
    if out is None:
        return usual
    if out.suffix.lower() == usual.suffix and not out.is_dir():
        return out
    return out / usual.name
