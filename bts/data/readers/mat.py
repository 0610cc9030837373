"""Figshare's `.mat` files: MATLAB 7.3 (HDF5, `bts.data.readers.hdf`) and MATLAB 5 (`bts.data.readers.mat_five`).

Both hold a struct `cjdata` with `image`, `label`, `PID`, `tumorMask` and `tumorBorder`. HDF5 keeps a MATLAB array with its
axes reversed, so a picture read from it is transposed here; SciPy gives it in MATLAB's own order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bts.data.masks import to_mask
from bts.data.readers.bounds import MAX_TEXT, NO_MEMORY
from bts.data.readers.hdf import claimed_values, flag, is_hdf, member, open_hdf, values
from bts.data.readers.mat_five import load_five
from bts.data.slice import Slice
from bts.errors import InputError
from bts.glossary import FIGSHARE_CLASSES, NO_TUMOUR

STRUCT = "cjdata"
PIXELS = ("image", "tumorMask")
"""The large fields of the struct."""
SYNTHETIC = "bts_synthetic"
"""Attribute of the HDF5 root that marks a phantom."""

Field = Callable[[str], np.ndarray]
"""Reads one field of `cjdata` by name, in MATLAB's order (rows, columns)."""


@dataclass(frozen=True)
class MatHead:
    """What a file says of its slice, without pixels: class name, whole patient ID, and whether it is a phantom."""

    label: str
    patient: str
    synthetic: bool


def read_mat(path: str | Path, *, source: str = "file", mask_labels: Sequence[int] = ()) -> Slice:
    """Return the slice of a figshare file, with label, mask and patient ID.

    Args:
        path: the file.
        source: name of the source.
        mask_labels: values of `tumorMask` that are tumour; empty for all but 0.

    Raises:
        InputError: not a MATLAB file, truncated, a missing field, a wrong label, an empty ID, or an unusable picture or mask.
    """
    with _Mat(path) as mat:
        head = mat.head()
        return Slice(
            image=_numbers(mat.field("image"), "image"),
            mask=to_mask(_numbers(mat.field("tumorMask"), "tumorMask"), labels=mask_labels),
            source=source,
            path=str(path),
            label=head.label,
            patient=head.patient,
            synthetic=head.synthetic,
        )


def read_mat_mask(path: str | Path) -> np.ndarray:
    """Return the values of `tumorMask` as stored (rows, columns)."""
    with _Mat(path) as mat:
        return _numbers(mat.field("tumorMask"), "tumorMask")


def read_mat_head(path: str | Path) -> MatHead:
    """Return label and patient ID without decoding the picture (about a millisecond with MATLAB 7.3)."""
    with _Mat(path) as mat:
        return mat.head()


def read_mat_border(path: str | Path) -> np.ndarray | None:
    """Return the outline that the expert drew, (n, 2) float64 in pixels, row then column; None where the file has none.

    The file keeps pairs (x, y) = (column, row) that count from 1, as `poly2mask` takes them; here both count from 0.
    """
    with _Mat(path) as mat:
        if not mat.has("tumorBorder"):
            return None
        points = _numbers(mat.field("tumorBorder"), "tumorBorder").astype(np.float64).ravel()
    if points.size % 2:
        raise InputError(f"tumorBorder holds {points.size} numbers: expected pairs of coordinates")
    return points.reshape(-1, 2)[:, ::-1] - 1


def read_mat_variable(path: str | Path, name: str) -> np.ndarray:
    """Return a top-level numeric variable such as `cvind` of `cvind.mat`, in MATLAB's order, of either MATLAB version."""
    with _Mat(path, variable=name) as mat:
        return _numbers(mat.variable(name), name)


def claimed_pixels(path: str | Path) -> int:
    """Return how many values the largest field claims, from the header alone; 0 where none is stated."""
    with _Mat(path) as mat:
        return mat.claimed_pixels()


class _Mat:
    """One open file of either version. Whatever the libraries raise on a broken file leaves as `InputError`."""

    def __init__(self, path: str | Path, *, variable: str = STRUCT) -> None:
        self.path, self.wanted = path, variable

    def __enter__(self) -> _Mat:
        with open(self.path, "rb") as file:
            head = file.read(128)
        self._hdf: h5py.File | None = None
        self._five: dict[str, Any] = {}
        if is_hdf(self.path):
            self._hdf = self._guard(lambda: open_hdf(self.path))
        elif len(head) == 128 and head[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):
            self._five = self._guard(lambda: load_five(self.path, self.wanted))
        elif head[124:128] == b"\x00\x02IM":
            raise InputError("truncated MATLAB 7.3 file (its HDF5 part is missing): download or export it again")
        else:
            raise InputError("neither MATLAB 7.3 (HDF5) nor MATLAB 5: download it again or export a PNG")
        return self

    def __exit__(self, *exception: object) -> None:
        if self._hdf is not None:
            self._hdf.close()

    def _guard(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except InputError:
            raise
        except MemoryError as error:
            raise InputError(NO_MEMORY) from error
        except Exception as error:  # h5py and SciPy raise anything from OSError to zlib.error on a damaged file
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"truncated or damaged MATLAB file ({reason}): download or export it again") from error

    def head(self) -> MatHead:
        hdf = self._hdf
        synthetic = hdf is not None and self._guard(lambda: flag(hdf, SYNTHETIC))
        return MatHead(_label(self.field("label"), synthetic=synthetic), _patient(self.field("PID")), synthetic)

    def has(self, name: str) -> bool:
        return self._in_struct(name) is not None

    def field(self, name: str) -> np.ndarray:
        item = self._in_struct(name)
        if item is None:
            fields = "image, label, PID and tumorMask"
            raise InputError(f"field '{name}' is missing in cjdata: figshare's files hold {fields}; use PNG for a bare picture")
        return self._array(item, name)

    def variable(self, name: str) -> np.ndarray:
        item = self._member(self._hdf, name) if self._hdf is not None else self._five.get(name)
        if item is None:
            raise InputError(f"variable '{name}' is missing: this is another MATLAB file than expected; download it again")
        return self._array(item, name)

    def claimed_pixels(self) -> int:
        if self._hdf is None:
            return max((np.size(self._in_struct(name)) for name in PIXELS if self.has(name)), default=0)
        return int(self._guard(lambda: max(claimed_values(self._in_struct(name)) for name in PIXELS)))

    def _in_struct(self, name: str) -> Any:
        """Return a field of the struct, an HDF5 dataset or an array, or None where there is none."""
        if self._hdf is not None:
            struct = self._member(self._hdf, STRUCT)
            return self._member(struct if isinstance(struct, h5py.Group) else self._no_struct(), name)
        struct = self._five.get(STRUCT)
        if not isinstance(struct, np.ndarray) or struct.dtype.names is None or struct.size != 1:
            return self._no_struct()
        return struct[name].item() if name in struct.dtype.names else None

    def _member(self, group: h5py.Group, name: str) -> Any:
        return self._guard(lambda: member(group, name))

    def _no_struct(self) -> Any:
        raise InputError("struct 'cjdata' is missing: this is not a figshare file; export the picture as PNG or NIfTI")

    def _array(self, item: Any, name: str) -> np.ndarray:
        if self._hdf is None:
            return np.asarray(item)
        if isinstance(item, h5py.Dataset) and self._guard(lambda: flag(item, "MATLAB_empty")):
            return np.zeros((0, 0), np.float64)  # an empty array is stored as its size, which is no data
        return self._guard(lambda: values(item, name)).T


def _numbers(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind not in "buif":
        raise InputError(f"'{name}' holds {array.dtype} values: expected real numbers")
    return array


def _label(array: np.ndarray, *, synthetic: bool) -> str:
    value = float(array.item()) if array.size == 1 and array.dtype.kind in "buif" else float("nan")
    names = dict(enumerate(FIGSHARE_CLASSES, start=1)) | ({0: NO_TUMOUR} if synthetic else {})
    if value not in names:
        known = ", ".join(f"{number} {name}" for number, name in sorted(names.items()))
        received = f"{value:g}" if array.size == 1 and value == value else f"an array of shape {array.shape}"
        raise InputError(f"label is {received}: expected one of {known}")
    return names[int(value)]


def _patient(array: np.ndarray) -> str:
    """Return the ID: all its characters, which the files keep as codes, letters included."""
    if array.size > MAX_TEXT:
        raise InputError(f"PID holds {array.size} values: at most {MAX_TEXT} are accepted, download it again")
    if array.dtype.kind in "US":
        parts = [part.decode("utf-8", "replace") if isinstance(part, bytes) else str(part) for part in array.ravel()]
        text = "".join(parts)
    elif array.dtype.kind in "ui":
        text = "".join(chr(code) for code in array.T.ravel() if 0 < code < 0x110000)
    elif array.size == 0:
        text = ""
    else:
        raise InputError(f"PID holds {array.dtype} values: expected character codes")
    text = text.strip()
    if not text:
        raise InputError("PID is empty: without a patient the slice can't be split safely; remove the file or fill the ID in")
    if not text.isprintable():
        raise InputError("PID holds unprintable characters: the file is damaged; download it again")
    return text
