"""The one DICOM series among files that came together, as in an upload."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.data.readers.catalogue import file_kind
from bts.data.readers.series import LeftOut, SeriesFiles, find_series
from bts.errors import InputError, SeveralSeriesError

LISTED = 3
"""Most series that a message names."""


def find_one_series(files: Sequence[Path], *, number: int | None = None) -> tuple[SeriesFiles, tuple[str, ...]]:
    """Return one volume (or lone slice) of MR in files that came together, and a note on each kind of files left out.

    Args:
        files: always in the same order.
        number: of the volume among the choices; None expects the only one.

    Raises:
        SeveralSeriesError: several volumes, with those that can't be read; the choices.
        InputError: no volume, one that can't be read, or a damaged file, which may belong to any of them.
    """
    dicom = [file for file in files if file_kind(file) == "dicom"]
    if not dicom:
        raise InputError(f"{len(files)} files, none of them DICOM: several files at once are the slices of one DICOM series")
    found, left = find_series(dicom)
    failed = [each for each in left if each.failed]
    skipped = [each for each in left if not each.failed]
    damaged = [each for each in failed if not each.name]
    if damaged:
        raise InputError(f"{_refusal(damaged[0])}{_more(len(damaged) - 1, 'that can not be read')}")
    choices: list[SeriesFiles | LeftOut] = [*found, *failed]
    if not choices:
        reason = f"; {_name(skipped[0])} is skipped: {skipped[0].reason}{_more(len(skipped) - 1, '')}" if skipped else ""
        raise InputError(f"no slice of MR in it{reason}")
    if number is None and len(choices) > 1:
        raise _several(found, failed)
    if number is not None and not 0 <= number < len(choices):
        raise InputError(f"series {number} of {len(choices)}: expected 0 to {len(choices) - 1}, choose the files again")
    chosen = choices[number or 0]
    if isinstance(chosen, LeftOut):
        raise InputError(_refusal(chosen))
    notes = [f"{_name(each)} is skipped: {each.reason}" for each in skipped]
    if len(files) > len(dicom):
        notes.append(f"files that are no DICOM are skipped: {len(files) - len(dicom)}")
    return chosen, tuple(notes)


def _several(found: Sequence[SeriesFiles], failed: Sequence[LeftOut]) -> SeveralSeriesError:
    studies = len({each.series.study_uid for each in found})
    of = f" of {studies} studies" if studies > 1 else ""
    lines = (*(each.summary for each in found), *(f"{each.name}, can't be read: {each.reason}" for each in failed))
    listed = "; ".join(lines[:LISTED])
    error = SeveralSeriesError(f"{len(lines)} series{of}: {listed}{_more(len(lines) - LISTED, '')}: choose the files of one")
    error.choices = lines
    return error


def _more(count: int, what: str) -> str:
    return f" and {count} more {what}".rstrip() if count > 0 else ""


def _name(each: LeftOut) -> str:
    return each.name or each.files[0]


def _refusal(each: LeftOut) -> str:
    return f"{_name(each)}: {each.reason}"
