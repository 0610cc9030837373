"""Synthetic set in figshare's layout, to try everything without the real data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from bts.data.phantom_scan import draw_slices
from bts.data.readers.mat import SYNTHETIC
from bts.errors import RequestError
from bts.glossary import FIGSHARE_CLASSES, NO_TUMOUR
from bts.progress import counted

N_FOLDS = 5
SIDES = (64, 1024)
"""Fewest and most rows and columns of a slice."""


@dataclass(frozen=True)
class PhantomPatient:
    """Scans of one patient under one ID.

    Attributes:
        patient: ID, numeric or lettered, from 900001 and MR900002 on, with another thousand for each seed: no figshare patient
            has such a number.
        label: class name.
        number: number of the patient; IDs that differ by a suffix (`MR900003`, `MR900003B`) share it, and with it the head.
        side: rows and columns of the slices.
        n_slices: number of slices under this ID.
        fold: 1 to 5, equal for all scans of a patient.
    """

    patient: str
    label: str
    number: int
    side: int
    n_slices: int
    fold: int


def write_phantom(
    out: Path, *, patients: int, slices_per_patient: tuple[int, int], healthy: int = 0, seed: int = 0, side: int = 512
) -> int:
    """Write a synthetic set in figshare's layout (`N.mat`, MATLAB 7.3, and `cvind.mat`); equal seeds give equal files.

    Args:
        out: folder, created if missing; it must not hold `.mat` files.
        patients: number of patients with a tumour, in turn meningioma, glioma, pituitary.
        slices_per_patient: fewest and most slices of a patient.
        healthy: number of further patients without a tumour (label 0, which only phantoms have).
        seed: random seed.
        side: rows and columns of a slice; some patients have half as many, as in figshare.

    Returns:
        Number of slices written.

    Raises:
        RequestError: invalid numbers, a folder with other slices, or a folder that can't be written.
    """
    fewest, most = slices_per_patient
    if patients < 0 or healthy < 0 or patients + healthy < 1 or not 1 <= fewest <= most:
        received = f"{patients} patients, {healthy} healthy, {fewest} to {most} slices each"
        raise RequestError(f"expected at least one patient and 1 <= fewest <= most slices, received {received}")
    if seed < 0:
        raise RequestError(f"seed {seed}: expected a whole number from 0 on")
    if not SIDES[0] <= side <= SIDES[1]:
        raise RequestError(f"side {side}: expected {SIDES[0]} to {SIDES[1]} rows and columns")
    if any(Path(out).glob("*.mat")):
        raise RequestError(f"{out}: there are .mat files already: name an empty folder, so that no two sets are mixed")
    try:
        Path(out).mkdir(parents=True, exist_ok=True)
        plan = plan_patients(patients, slices_per_patient, healthy=healthy, seed=seed, side=side)
        return _write(Path(out), plan, seed=seed)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())  # HDF5's own messages run over several lines
        raise RequestError(f"{out}: can't be written ({reason}): choose a writable folder with free space") from error


def plan_patients(
    patients: int, slices_per_patient: tuple[int, int], *, healthy: int = 0, seed: int = 0, side: int = 512
) -> list[PhantomPatient]:
    """Return the patients of the set; every fourth glioma is a second scan of the previous one, under a second ID.

    IDs of two seeds differ, so that one set can test what the other trained, up to 999 patients and 100 seeds.
    """
    first = 900_000 + 1_000 * (seed % 100)
    random = np.random.default_rng([seed, 0])
    labels = [FIGSHARE_CLASSES[number % 3] for number in range(patients)] + [NO_TUMOUR] * healthy
    plan: list[PhantomPatient] = []
    seen = dict.fromkeys(labels, 0)
    for position, label in enumerate(labels):
        turn, seen[label] = seen[label], seen[label] + 1
        second_scan = label == "glioma" and turn % 4 == 3
        number = plan[-3].number if second_scan else position + 1
        lettered = label == "glioma" and turn % 4 != 1
        plan.append(
            PhantomPatient(
                patient=(f"MR{first + number}" + ("B" if second_scan else "")) if lettered else str(first + number),
                label=label,
                number=number,
                side=side // 2 if position % 7 == 4 else side,
                n_slices=int(random.integers(slices_per_patient[0], slices_per_patient[1] + 1)),
                fold=plan[-3].fold if second_scan else turn % N_FOLDS + 1,
            )
        )
    return plan


def _write(out: Path, plan: list[PhantomPatient], *, seed: int) -> int:
    folds: list[int] = []
    drawn = ((patient, *item) for patient in plan for item in _slices(patient, seed=seed))
    for patient, image, mask in counted(drawn, "drawing phantoms", total=sum(patient.n_slices for patient in plan)):
        folds.append(patient.fold)
        with _matlab(out / f"{len(folds)}.mat") as file:
            _put_slice(file.create_group("cjdata"), patient, image, mask)
    with _matlab(out / "cvind.mat") as file:
        _put(file, "cvind", np.array([folds], np.float64), "double")  # axes are reversed in the file: MATLAB sees N x 1
    return len(folds)


def _slices(patient: PhantomPatient, *, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    scan = 1 if patient.patient.endswith("B") else 0
    return draw_slices(
        label=patient.label, n_slices=patient.n_slices, side=patient.side, seed=(seed, patient.number), scan=scan
    )


@contextmanager
def _matlab(path: Path) -> Iterator[h5py.File]:
    """Open a new MATLAB 7.3 file: HDF5 after a block of 512 bytes that starts with MATLAB's header."""
    partial = path.with_suffix(".partial")
    with h5py.File(partial, "w", userblock_size=512) as file:
        file.attrs[SYNTHETIC] = 1
        yield file
    header = b"MATLAB 7.3 MAT-file, Platform: PCWIN64, synthetic phantom of bts, HDF5 schema 1.00 .".ljust(116) + bytes(8)
    with open(partial, "r+b") as raw:
        raw.write(header + b"\x00\x02IM")
    partial.replace(path)


def _put_slice(group: h5py.Group, patient: PhantomPatient, image: np.ndarray, mask: np.ndarray) -> None:
    group.attrs["MATLAB_class"] = np.bytes_("struct")
    number = FIGSHARE_CLASSES.index(patient.label) + 1 if patient.label in FIGSHARE_CLASSES else 0
    _put(group, "label", np.array([[number]], np.float64), "double")
    _put(group, "PID", np.array([[ord(letter)] for letter in patient.patient], np.uint16), "char")
    _put(group, "image", image.T.astype(np.int16), "int16")
    _put(group, "tumorBorder", _border(mask), "double")
    _put(group, "tumorMask", mask.T.astype(np.uint8), "logical")


def _put(group: h5py.Group, name: str, array: np.ndarray, matlab_class: str) -> None:
    # chunks are compressed lightly: the noise in the picture does not compress anyway
    packed = {"compression": "gzip", "compression_opts": 1, "chunks": True} if array.size > 4096 else {}
    data = group.create_dataset(name, data=array, **packed)
    data.attrs["MATLAB_class"] = np.bytes_(matlab_class)
    if matlab_class in ("char", "logical"):
        data.attrs["MATLAB_int_decode"] = np.int32(array.dtype.itemsize)


def _border(mask: np.ndarray) -> np.ndarray:
    """Return the longest outline as figshare stores it: x, y in turn, counted from 1; no points without a tumour."""
    from skimage.measure import find_contours

    outlines = find_contours(np.pad(mask, 1).astype(np.float64), 0.5)
    points = max(outlines, key=len, default=np.zeros((0, 2)))
    return points[::4, ::-1].reshape(1, -1)  # the padding of one pixel makes the coordinates start at 1
