"""Folders named by class: `CLASS/picture`, or `Training/CLASS/picture` beside `Testing/CLASS/picture`.

Several such folders may be merged: their paths joined with `:` (`;` on Windows), as in `PATH`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from bts.data.readers.catalogue import skipped_line
from bts.data.slice import Slice
from bts.data.sources.base import Record, Source, sources
from bts.data.sources.labels import MASK_WORDS, PICTURE_WORDS, UNLABELLED, class_name, ordered_classes, part_name
from bts.data.sources.picture_files import folders_in, log_skipped, pictures_in, read_record, refuse_missing, split_files
from bts.errors import RequestError
from bts.glossary import Part, count_of


@sources.register("folders")
class Folders(Source):
    """Pictures in folders named by class, with or without the publisher's train and test folders around them."""

    name: ClassVar[str] = "folders"
    synthetic = False

    def __init__(self, root: Path) -> None:
        parts = [str(root)] if Path(root).is_dir() else str(root).split(os.pathsep)  # a name may hold `:`
        roots = [Path(each) for each in parts if each]
        for each in roots:
            refuse_missing(each)
        _refuse_nested(roots)
        self.root = roots[0] if len(roots) == 1 else Path(os.path.commonpath([each.absolute() for each in roots]))
        self._records = [record for each in roots for record in self._read_root(each)]
        self.classes: tuple[str, ...] = ordered_classes(record.label for record in self._records if record.label)

    def records(self) -> list[Record]:
        """Return label and published part of every picture, class by class."""
        return list(self._records)

    def read(self, record: Record) -> Slice:
        """Return the slice of a record; there are no masks."""
        return read_record(self.root, record, source=self.name)

    def _read_root(self, root: Path) -> list[Record]:
        parts: list[tuple[Part | None, Path]] = [(part_name(each.name), each) for each in labelled_folders(root)]
        named = [each.name for part, each in parts if part]
        others = [each.name for part, each in parts if not part]
        if not parts:
            raise RequestError(f"{root}: no folders named by class in it: expected CLASS/picture or Training/CLASS/picture")
        if named and others:
            raise RequestError(
                f"{root}: '{named[0]}' is a part and '{others[0]}' a class: expected either only parts or only classes here"
            )
        if not named:
            parts = [(None, root)]
        return [record for part, folder in parts for record in self._read_classes(folder, part)]

    def _read_classes(self, folder: Path, part: Part | None) -> list[Record]:
        _refuse_loose(folder)
        classes = labelled_folders(folder)
        if not classes:
            raise RequestError(f"{folder}: no folders named by class in it: expected CLASS/picture")
        found = []
        for each in classes:
            pictures, others = split_files(each)
            if others:
                log_skipped(str(each), skipped_line([other.name for other in others]))
            if not pictures:
                inside = folders_in(each)
                why = f"but a folder '{inside[0].name}': pictures must lie right in it" if inside else "remove it or fill it"
                raise RequestError(f"{each}: the class folder holds no readable picture, {why}")
            found += [Record(path=self._relative(file), label=class_name(each.name), part=part) for file in pictures]
        return found

    def _relative(self, file: Path) -> str:
        return file.relative_to(self.root).as_posix() if file.is_relative_to(self.root) else self._from_common(file)

    def _from_common(self, file: Path) -> str:
        return file.absolute().relative_to(self.root).as_posix()


def labelled_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder without those of unlabelled pictures, which are counted in the log."""
    found = folders_in(folder)
    unlabelled = [each for each in found if each.name.lower() in UNLABELLED]
    for each in unlabelled:
        log_skipped(str(each), f"{len(pictures_in(each))} pictures without a label are not used (a folder of predictions)")
    for each in found:
        _refuse_no_class(each)
    return [each for each in found if each not in unlabelled]


def _refuse_no_class(folder: Path) -> None:
    name = folder.name.lower()
    if name in MASK_WORDS or name in PICTURE_WORDS:
        what = "masks" if name in MASK_WORDS else "pictures of any class"
        raise RequestError(
            f"{folder}: looks like a folder of {what}, not a class: read patients, classes and masks from the names with "
            f"`bts manifest {folder.parent} --pattern '{{patient}}_{{label}}_{{slice}}'`, or rename it"
        )


def _refuse_loose(folder: Path) -> None:
    loose = pictures_in(folder)
    if loose:
        raise RequestError(
            f"{folder}: {count_of(len(loose), 'picture')} outside of a class folder (first: {loose[0].name}): sort them in"
        )


def _refuse_nested(roots: list[Path]) -> None:
    resolved = [each.resolve() for each in roots]
    for i, one in enumerate(resolved):
        for other in resolved[:i]:
            if one.is_relative_to(other) or other.is_relative_to(one):
                raise RequestError(f"{roots[i]}: is inside another of the folders, or given twice: give each folder once")
