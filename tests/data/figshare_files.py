"""Write figshare's files in tests, by hand and apart from the phantom's writer."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from scipy.io import savemat

PICTURE = np.array([[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 4095]], np.int16)
"""3 rows, 4 columns: no two axes can be mixed up unnoticed."""
MASK = np.array([[0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 0, 0]], bool)
BORDER = [(3, 1), (3, 2), (2, 2)]
"""x (column), y (row), counted from 1 as MATLAB does."""


def fields(*, image=PICTURE, mask=MASK, label=1.0, patient="MR040240B") -> dict[str, np.ndarray]:
    """The struct `cjdata` in MATLAB's own axes."""
    return {
        "image": np.asarray(image),
        "tumorMask": np.asarray(mask),
        "label": np.array([[label]], np.float64),
        "PID": np.array([[ord(letter) for letter in patient]], np.uint16),
        "tumorBorder": np.array(BORDER, np.float64).reshape(-1, 1),
    }


def write_mat7(path: Path, *, synthetic: bool = False, without: tuple[str, ...] = (), **changes) -> Path:
    """MATLAB 7.3: HDF5 with reversed axes behind 512 bytes of header."""
    with h5py.File(path, "w", userblock_size=512) as file:
        if synthetic:
            file.attrs["bts_synthetic"] = 1
        for name, array in fields(**changes).items():
            if name not in without:
                stored = array.T.astype(np.uint8) if array.dtype == bool else array.T
                file.create_dataset(f"cjdata/{name}", data=stored, compression="gzip", chunks=True) if stored.size else None
                if not stored.size:  # as MATLAB keeps an empty array: its size instead of data
                    data = file.create_dataset(f"cjdata/{name}", data=np.zeros(2, np.uint64))
                    data.attrs["MATLAB_empty"] = np.uint8(1)
    with open(path, "r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, HDF5 schema 1.00 .".ljust(124) + b"\x00\x02IM")
    return path


def write_mat5(path: Path, *, without: tuple[str, ...] = (), **changes) -> Path:
    """MATLAB 5, where text is text."""
    struct = {name: array for name, array in fields(**changes).items() if name not in without}
    if "PID" in struct:
        struct["PID"] = "".join(chr(code) for code in struct["PID"].ravel())
    savemat(path, {"cjdata": struct}, do_compression=True)
    return path


def write_cvind7(path: Path, folds: list[int], *, column: bool = True) -> Path:
    """The author's folds as N x 1 (or 1 x N) in MATLAB 7.3."""
    array = np.array(folds, np.float64)[:, None]
    with h5py.File(path, "w", userblock_size=512) as file:
        file["cvind"] = array.T if column else array
    return path


def write_cvind5(path: Path, folds: list[int], *, column: bool = True) -> Path:
    """The author's folds as N x 1 (or 1 x N) in MATLAB 5."""
    array = np.array(folds, np.float64)[:, None]
    savemat(path, {"cvind": array if column else array.T})
    return path
