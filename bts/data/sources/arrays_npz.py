"""Slices in arrays: `train.npz`, `val.npz`, `test.npz` (or one file), each with `images` and `labels`.

A pickled object in such a file would run its own code when read, so arrays of objects are refused (`allow_pickle=False`).
The headers of all arrays are compared with the bytes that are stored before any array is unpacked.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from bts.data.masks import to_mask
from bts.data.readers.bounds import MAX_NPY_HEADER, MAX_SET_BYTES, refuse_claim
from bts.data.readers.picture import to_grey
from bts.data.slice import Slice
from bts.data.sources.base import Record, Source, sources
from bts.data.sources.labels import class_name, ordered_classes, part_name
from bts.data.sources.picture_files import natural_key
from bts.errors import InputError, RequestError
from bts.glossary import Part

NEEDED = ("images", "labels")
OPTIONAL = ("masks", "patients", "classes")
PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What NumPy writes. The other packings of zip files can inflate without a limit."""


@dataclass
class _File:
    """One opened file: the small arrays at once, pixels when they are asked for."""

    path: Path
    part: Part | None
    labels: list[str]
    patients: list[str] | None
    has_masks: bool
    images: np.ndarray | None = None
    masks: np.ndarray | None = None


@sources.register("npz")
class ArraysNpz(Source):
    """Arrays in .npz files: images (N, H, W), labels, and if wanted masks, patients, classes."""

    name: ClassVar[str] = "npz"
    synthetic = False

    def __init__(self, root: Path) -> None:
        given = Path(root)
        self.root = given.parent if given.is_file() else given
        files = [given] if given.is_file() else sorted(given.glob("*.npz"), key=lambda each: natural_key(each.name))
        if not files:
            raise RequestError(f"{given}: no .npz file there: expected train.npz and test.npz, or the path of one file")
        self._files = {file.name: _open(file) for file in files}
        self._records: dict[str, tuple[Record, int]] = {}
        for file_name, file in self._files.items():
            for i, label in enumerate(file.labels):
                path = f"{file_name}#{i}"
                patient = file.patients[i] if file.patients else None
                self._records[path] = (Record(path=path, label=label, patient=patient, part=file.part), i)
        self.classes: tuple[str, ...] = ordered_classes(label for file in self._files.values() for label in file.labels)

    def records(self) -> list[Record]:
        """Return label, part and patient of every array, `train.npz#0` being the first of `train.npz`."""
        return [record for record, _ in self._records.values()]

    def read(self, record: Record) -> Slice:
        """Return one slice; RGB is accepted where the channels agree."""
        path = self.root / record.path
        file, i = self._place(record)
        if file.images is None:
            file.images = _load(file.path, "images")
        if file.masks is None and file.has_masks:
            file.masks = _load(file.path, "masks")
        try:
            return Slice(
                image=_grey(file.images[i]),
                source=self.name,
                path=str(path),
                label=record.label,
                patient=record.patient,
                mask=None if file.masks is None else to_mask(file.masks[i], labels=self.mask_labels),
            )
        except InputError as error:
            raise error.at(path) from error

    def mask_values(self, record: Record) -> np.ndarray | None:
        """Return the stored values of one mask."""
        file, i = self._place(record)
        if file.masks is None and file.has_masks:
            file.masks = _load(file.path, "masks")
        return None if file.masks is None else file.masks[i]

    def _place(self, record: Record) -> tuple[_File, int]:
        if record.path not in self._records:
            raise InputError(f"{self.root / record.path}: no such array: the files here are {', '.join(self._files)}")
        return self._files[record.path.rpartition("#")[0]], self._records[record.path][1]


def _open(file: Path) -> _File:
    """Return a file's small arrays, after all that can be checked without decoding pixels has been."""
    try:
        shapes = _shapes(file)
        missing = [name for name in NEEDED if name not in shapes]
        if missing:
            there = ", ".join(sorted(shapes)) or "nothing"
            raise RequestError(f"no array '{missing[0]}' in it (there is {there}): expected {', '.join(NEEDED)}")
        _refuse_shapes(shapes)
        return _File(
            path=file,
            part=part_name(file.stem),
            labels=_label_names(file, shapes),
            patients=_texts(_load(file, "patients")) if "patients" in shapes else None,
            has_masks="masks" in shapes,
        )
    except RequestError as error:
        raise error.at(file) from error


def _shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array from the headers alone; refuses objects and bombs before anything is unpacked."""
    try:
        with zipfile.ZipFile(file) as archive:
            headers = {name.removesuffix(".npy"): _header(archive, name) for name in archive.namelist()}
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError, zlib.error) as error:
        raise RequestError(f"no .npz file ({str(error)[:80]}): write it with numpy.savez_compressed") from error
    claimed = sum(size for _, size in headers.values())
    try:
        refuse_claim("the file", claimed=claimed, stored=file.stat().st_size, most=MAX_SET_BYTES)
    except InputError as error:
        raise RequestError(str(error)) from None
    return {name: shape for name, (shape, _) in headers.items()}


def _header(archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], int]:
    """Return shape and bytes that an array claims."""
    member = archive.getinfo(name)
    if member.compress_type not in PACKINGS:
        raise RequestError(f"'{name}' is packed in a way that NumPy does not write: write it with numpy.savez_compressed")
    with archive.open(name) as packed:
        stream = io.BytesIO(packed.read(MAX_NPY_HEADER))  # a header may claim 4 GiB, which NumPy would read
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(stream)
    shape, _, kind = read_header.get(version, np.lib.format.read_array_header_2_0)(stream)
    if kind.hasobject:
        raise RequestError(
            f"'{name.removesuffix('.npy')}' holds pickled objects, which run code when they are read: store plain arrays"
        )
    size = math.prod(shape) * kind.itemsize
    if min(shape, default=0) < 0 or size > member.file_size:
        raise RequestError(f"'{name.removesuffix('.npy')}' claims {size} bytes and holds fewer: write the file again")
    return tuple(shape), size


def _refuse_shapes(shapes: dict[str, tuple[int, ...]]) -> None:
    counts = {name: shapes[name][0] if shapes[name] else 0 for name in (*NEEDED, "masks", "patients") if name in shapes}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise RequestError(f"arrays of unequal length ({found}): each picture needs one entry in each")
    if counts["images"] == 0:
        raise RequestError("no slices in it: write at least one picture")
    image = shapes["images"]
    if len(image) not in (3, 4) or (len(image) == 4 and image[3] not in (1, 3)):
        raise RequestError(f"images of shape {image}: expected (N, rows, columns), or (N, rows, columns, 3)")
    if "masks" in shapes and shapes["masks"] != image[:3]:
        raise RequestError(f"masks of shape {shapes['masks']} on images of shape {image}: expected {image[:3]}")


def _load(file: Path, name: str) -> np.ndarray:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, zlib.error) as error:
        raise InputError(f"{file}: '{name}' can't be read ({str(error)[:80]}): write the file again") from error


def _texts(values: np.ndarray) -> list[str]:
    return [str(value).strip() for value in values.ravel().tolist()]


def _label_names(file: Path, shapes: dict[str, tuple[int, ...]]) -> list[str]:
    """Return the class of each picture; whole numbers need `classes`, the names in the order of the numbers."""
    labels = _load(file, "labels")
    if labels.dtype.kind in "US":
        return [class_name(text) for text in _texts(labels.astype(str))]
    if labels.dtype.kind not in "iub" or len(shapes["labels"]) != 1:
        raise RequestError(
            f"labels of kind {labels.dtype} and shape {labels.shape}: expected one class name or number a picture"
        )
    if "classes" not in shapes:
        raise RequestError("labels are numbers and no array 'classes' names them: add it, names in the order of the numbers")
    names = [class_name(text) for text in _texts(_load(file, "classes").astype(str))]
    if labels.min() < 0 or labels.max() >= len(names):
        raise RequestError(
            f"labels from {labels.min()} to {labels.max()} with {len(names)} classes: expected 0 to {len(names) - 1}"
        )
    return [names[label] for label in labels.astype(int)]


def _grey(image: np.ndarray) -> np.ndarray:
    """Return (H, W) of a picture that may have a last axis of 1 or 3 channels."""
    if image.ndim == 2:
        return image
    if image.shape[2] == 1:
        return image[:, :, 0]
    if image.dtype == np.uint8:
        return to_grey(image)
    spread = float(np.max(image.max(axis=2) - image.min(axis=2), initial=0))
    if spread > 0.05 * max(float(np.abs(image).max()), 1e-9):
        raise InputError("a coloured picture: expected a grey scan, one channel or three equal ones")
    return image.mean(axis=2)
