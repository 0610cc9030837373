"""Contract of a data source: a list of records without pixels, and a slice for each record.

A new source is one small file: a class with these members, registered with `@sources.register("name")` and
imported in `bts/data/sources/catalogue.py`. The contract tests then run on it by themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from bts.data.slice import Slice
from bts.glossary import Part
from bts.registry import Registry


@dataclass(frozen=True)
class Record:
    """One slice that a source offers, without its pixels.

    Attributes:
        path: relative to the source's root, with forward slashes; unique within the source. A split names slices by it.
        label: class name, or None where it is not known.
        patient: patient ID as the source writes it, or None where the publisher gives none.
        part: the publisher's own part, where it has one.
        fold: the publisher's own fold (figshare: 1 to 5), where it has one.
        mask: path of the mask file relative to the root, for sources that keep masks apart.
        plane: `axial`, `coronal` or `sagittal`, where the publisher says it.
        source: name of the set that the slice comes from, where a table mixes several.
    """

    path: str
    label: str | None = None
    patient: str | None = None
    part: Part | None = None
    fold: int | None = None
    mask: str | None = None
    plane: str | None = None
    source: str | None = None


class Source(Protocol):
    """A labelled set on disk. Built with its root; raises `RequestError` in `__init__` where there is no data."""

    name: ClassVar[str]
    root: Path
    classes: tuple[str, ...]
    """Class names in the order of the model's outputs."""
    synthetic: bool
    """True where every slice is a phantom."""
    mask_labels: tuple[int, ...] = ()
    """Values of a mask that are tumour (`data.mask_labels`); empty for all but 0."""
    skip_unreadable: bool = False
    """Whether `records` logs and leaves out files without a usable label or patient, instead of refusing the set."""

    @property
    def title(self) -> str:
        """Name of the set in titles: phantoms have the layout of figshare, and must not be called so."""
        return "synthetic phantoms" if self.synthetic else self.name

    def __init__(self, root: Path) -> None: ...

    def records(self) -> list[Record]:
        """Return all records in a stable order (natural order of the paths), without reading pixels."""
        ...

    def read(self, record: Record) -> Slice:
        """Return the slice of one record; raises `InputError` with the path in front."""
        ...

    def mask_values(self, record: Record) -> np.ndarray | None:
        """Return the values (H, W) of a record's mask as stored, for `bts sources`; None where there is none to show."""
        return None


sources: Registry[type[Source]] = Registry("data source", base=Source)
