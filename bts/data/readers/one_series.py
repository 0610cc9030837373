"""The one DICOM series among files that came together, as in an upload."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.data.readers.catalogue import file_kind
from bts.data.readers.series import LeftOut, SeriesFiles, find_series
from bts.errors import InputError

LISTED = 3
"""Most series that a message names."""


def find_one_series(folder: str | Path) -> tuple[SeriesFiles, tuple[str, ...]]:
    """Return the only volume (or lone slice) of MR in the files of a folder, and a note on each kind of files left out.

    Raises:
        InputError: none, several, or one that can't be read as a volume.
    """
    files = sorted(Path(folder).iterdir())
    dicom = [file for file in files if file_kind(file) == "dicom"]
    if not dicom:
        raise InputError(f"{len(files)} files, none of them DICOM: several files at once are the slices of one DICOM series")
    found, left = find_series(dicom)
    failed = [each for each in left if each.failed]
    if failed:
        raise InputError(f"{_name(failed[0])}: {failed[0].reason}{_more(len(failed) - 1, 'that can not be read')}")
    skipped = [each for each in left if not each.failed]
    if not found:
        reason = f"; {_name(skipped[0])} is skipped: {skipped[0].reason}{_more(len(skipped) - 1, '')}" if skipped else ""
        raise InputError(f"no slice of MR in it{reason}")
    if len(found) > 1:
        raise InputError(_several(found))
    notes = [f"{_name(each)} is skipped: {each.reason}" for each in skipped]
    if len(files) > len(dicom):
        notes.append(f"files that are no DICOM are skipped: {len(files) - len(dicom)}")
    return found[0], tuple(notes)


def _several(found: Sequence[SeriesFiles]) -> str:
    studies = len({each.series.study_uid for each in found})
    of = f" of {studies} studies" if studies > 1 else ""
    listed = ", ".join(f"{each.name} ({each.shape[2]} slices)" for each in found[:LISTED])
    return (
        f"{len(found)} series{of}, {listed}{_more(len(found) - LISTED, '')}: one series is answered at once, choose its files"
    )


def _more(count: int, what: str) -> str:
    return f" and {count} more {what}".rstrip() if count > 0 else ""


def _name(each: LeftOut) -> str:
    return each.name or each.files[0]
