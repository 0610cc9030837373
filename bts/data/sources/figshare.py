"""Cheng's set (figshare 1512427): files `N.mat` with label and patient inside, folds in `cvind.mat`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NoReturn

import numpy as np

from bts.data.readers.mat import MatHead, read_mat, read_mat_head, read_mat_variable
from bts.data.slice import Slice
from bts.data.sources.base import Record, Source, sources
from bts.data.sources.picture_files import files_under, log_skipped, record_mask_values
from bts.errors import InputError, RequestError
from bts.glossary import FIGSHARE_CLASSES, NO_TUMOUR

FOLDS_FILE = "cvind.mat"


@sources.register("figshare")
class Figshare(Source):
    """`N.mat` in the root or in any folder under it, as the publisher's archives unpack.

    A phantom set (`bts phantom`) has the same layout and is read by the same class; there, and only there, slices may be
    healthy, and `classes` then ends with `no_tumour`.
    """

    name: ClassVar[str] = "figshare"

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self._files = _numbered_files(self.root)
        self._looked: dict[str, MatHead | InputError] = {}
        usable = (head for path in self._files.values() if isinstance(head := self._look(path), MatHead))
        first = next(usable, None)
        if first is None:
            _refuse(list(self._failed()))
        self.synthetic = first.synthetic
        healthy = self.synthetic and NO_TUMOUR in {first.label, *(head.label for head in usable)}
        self.classes: tuple[str, ...] = (*FIGSHARE_CLASSES, NO_TUMOUR) if healthy else FIGSHARE_CLASSES

    def records(self) -> list[Record]:
        """Return label, patient and fold of every slice, in the order of their numbers.

        Raises:
            InputError: a file can't be read, unless such files are skipped; names the first and counts the others.
            RequestError: phantoms and real slices are in one folder, or `cvind.mat` doesn't fit.
        """
        heads = self._heads()
        folds = self._folds()
        return [
            Record(path=path, label=heads[path].label, patient=heads[path].patient, fold=folds.get(number))
            for number, path in self._files.items()
            if path in heads
        ]

    def read(self, record: Record) -> Slice:
        """Return the slice of a record, with mask."""
        path = self.root / record.path
        try:
            return read_mat(path, source=self.name, mask_labels=self.mask_labels)
        except InputError as error:
            raise error.at(path) from error
        except OSError as error:
            raise InputError(f"{path}: can't be read ({error.strerror})") from error

    def mask_values(self, record: Record) -> np.ndarray | None:
        """Return the stored values of a record's mask."""
        return record_mask_values(self.root, record)

    def _look(self, path: str) -> MatHead | InputError:
        """Return what a file says of its slice, or why it can't be used; each file is opened once."""
        if path not in self._looked:
            try:
                self._looked[path] = read_mat_head(self.root / path)
            except InputError as error:
                self._looked[path] = InputError(str(error.at(self.root / path)))
            except OSError as error:
                self._looked[path] = InputError(f"{self.root / path}: can't be read ({error.strerror})")
        return self._looked[path]

    def _failed(self) -> Iterator[InputError]:
        return (head for path in self._files.values() if isinstance(head := self._look(path), InputError))

    def _heads(self) -> dict[str, MatHead]:
        failed = list(self._failed())
        if failed and not self.skip_unreadable:
            _refuse(failed)
        for error in failed:
            log_skipped("skipped, as data.unreadable says", str(error))
        heads = {path: head for path in self._files.values() if isinstance(head := self._look(path), MatHead)}
        if len({head.synthetic for head in heads.values()}) > 1:
            raise RequestError(f"{self.root}: phantoms and real slices in one folder: keep them apart, then start again")
        return heads

    def _folds(self) -> dict[int, int]:
        """Return the author's fold of each slice number, or nothing where there is no `cvind.mat`."""
        path = next((file for file in files_under(self.root) if file.name.lower() == FOLDS_FILE), None)
        if path is None:
            return {}
        try:
            values = np.ravel(read_mat_variable(path, "cvind")).astype(float)
        except InputError as error:
            raise error.at(path) from error
        if not (np.isfinite(values).all() and (values >= 1).all() and (values == np.round(values)).all()):
            raise InputError(f"{path}: expected whole folds from 1 on, one a slice: download it again or delete it")
        if max(self._files) > len(values):
            raise InputError(
                f"{path}: {len(values)} folds, but there is a slice {max(self._files)}.mat: it belongs to another set"
            )
        return {number: int(values[number - 1]) for number in self._files}


def _refuse(failed: Sequence[InputError]) -> NoReturn:
    more = f" (and {len(failed) - 1} more files that can't be used)" if len(failed) > 1 else ""
    raise InputError(f"{failed[0]}{more}") from failed[0]


def _numbered_files(root: Path) -> dict[int, str]:
    """Return path by number, relative to root, in the order of the numbers."""
    ways = "get the data with `bts download`, or make a synthetic set with `bts phantom`, then name its folder with --data.root"
    if not root.is_dir():
        raise RequestError(f"{root}: no such folder of data: {ways}")
    found: dict[int, str] = {}
    others = []
    for file in files_under(root):
        path = file.relative_to(root).as_posix()
        if not is_numbered(file):
            others += [path] if file.suffix.lower() == ".mat" and file.name.lower() != FOLDS_FILE else []
            continue
        number = int(file.stem)
        if number in found:
            raise RequestError(f"{root}: slice {number} is there twice ({found[number]}, {path}): delete one copy")
        found[number] = path
    if others:
        log_skipped(str(root), f"{len(others)} .mat files without a number as name are not used (first: {others[0]})")
    if not found:
        raise RequestError(f"{root}: no figshare slices (1.mat, 2.mat, ...) in it: {ways}")
    return dict(sorted(found.items()))


def is_numbered(file: Path) -> bool:
    """Return whether a file is named as a slice of the set: `1.mat`, `0001.mat`, `1.MAT`."""
    return file.suffix.lower() == ".mat" and re.fullmatch(r"0*[1-9][0-9]{0,8}", file.stem, re.ASCII) is not None
