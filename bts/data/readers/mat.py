"""What stands in one of figshare's `.mat` files? MATLAB 7.3 (HDF5, through h5py) and MATLAB 5 (through SciPy).

Both hold a struct `cjdata` with `image`, `label`, `PID`, `tumorMask` and `tumorBorder`. HDF5 keeps a MATLAB array with its
axes reversed, so a picture read from it is transposed here; SciPy gives it in MATLAB's own order.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from bts.data.slice import MAX_SIDE, Slice
from bts.errors import InputError
from bts.glossary import FIGSHARE_CLASSES, NO_TUMOUR

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


def read_mat(path: str | Path, *, source: str = "file") -> Slice:
    """Return the slice of a figshare file, with label, mask and patient ID.

    Raises:
        InputError: not a MATLAB file, truncated, a missing field, a wrong label, an empty ID, or an unusable picture.
    """
    with _Mat(path) as mat:
        head = mat.head()
        return Slice(
            image=_numbers(mat.field("image"), "image"),
            mask=_numbers(mat.field("tumorMask"), "tumorMask") != 0,
            source=source,
            path=str(path),
            label=head.label,
            patient=head.patient,
            synthetic=head.synthetic,
        )


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
    with _Mat(path) as mat:
        return _numbers(mat.variable(name), name)


class _Mat:
    """One open file of either version. Whatever the libraries raise on a broken file leaves as `InputError`."""

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def __enter__(self) -> _Mat:
        with open(self.path, "rb") as file:
            head = file.read(128)
        self._hdf: h5py.File | None = None
        self._five: dict[str, Any] = {}
        if h5py.is_hdf5(self.path):
            self._hdf = self._guard(lambda: h5py.File(self.path, "r", locking="best-effort"))
        elif len(head) == 128 and head[124:128] in (b"\x00\x01IM", b"\x01\x00MI"):
            self._five = self._guard(lambda: _load_five(self.path))
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
        except Exception as error:  # h5py and SciPy raise anything from OSError to zlib.error on a damaged file
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"truncated or damaged MATLAB file ({reason}): download or export it again") from error

    def head(self) -> MatHead:
        synthetic = self._hdf is not None and int(self._hdf.attrs.get(SYNTHETIC, 0)) == 1
        return MatHead(_label(self.field("label"), synthetic=synthetic), _patient(self.field("PID")), synthetic)

    def has(self, name: str) -> bool:
        return name in self._struct()

    def field(self, name: str) -> np.ndarray:
        struct = self._struct()
        if name not in struct:
            fields = "image, label, PID and tumorMask"
            raise InputError(f"field '{name}' is missing in cjdata: figshare's files hold {fields}; use PNG for a bare picture")
        return self._array(struct[name], name)

    def variable(self, name: str) -> np.ndarray:
        where = self._hdf if self._hdf is not None else self._five
        if name not in where:
            raise InputError(f"variable '{name}' is missing: this is another MATLAB file than expected; download it again")
        return self._array(where[name], name)

    def _struct(self) -> Any:
        if self._hdf is not None:
            struct = self._guard(lambda: self._hdf.get("cjdata"))  # type: ignore[union-attr]
            return struct if isinstance(struct, h5py.Group) else self._no_struct()
        struct = self._five.get("cjdata")
        if not isinstance(struct, np.ndarray) or struct.dtype.names is None or struct.size != 1:
            return self._no_struct()
        return {name: struct[name].item() for name in struct.dtype.names}

    def _no_struct(self) -> Any:
        raise InputError("struct 'cjdata' is missing: this is no figshare file; export the picture as PNG or NIfTI")

    def _array(self, item: Any, name: str) -> np.ndarray:
        if self._hdf is None:
            return np.asarray(item)
        if not isinstance(item, h5py.Dataset):
            raise InputError(f"'{name}' is no array in this file: expected numbers")
        if item.attrs.get("MATLAB_empty", 0):  # an empty array is stored as its size, which is no data
            return np.zeros((0, 0), np.float64)
        if max(item.shape, default=0) > MAX_SIDE**2 or item.size > MAX_SIDE**2:
            raise InputError(f"'{name}' claims {item.size} values: at most {MAX_SIDE}x{MAX_SIDE} are accepted")
        return self._guard(lambda: item[()]).T


def _load_five(path: str | Path) -> dict[str, Any]:
    from scipy.io import loadmat

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SciPy warns of a variable written twice, and takes the last
        return loadmat(str(path), struct_as_record=True, squeeze_me=False)


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
    if array.dtype.kind in "US":
        text = "".join(str(part) for part in array.ravel())
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
