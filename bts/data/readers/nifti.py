"""NIfTI files as slices: one for a picture, one for each plane of a volume that is not blank.

The header is read apart from nibabel's loader, which would first unpack and parse every extension, whatever its size.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.openers import ImageOpener
from nibabel.orientations import io_orientation

from bts.data.readers.bounds import MAX_NIFTI_OFFSET, MAX_VOLUME_BYTES, MAX_VOXELS, NO_MEMORY, refuse_claim
from bts.data.readers.planes import cut_slices, fill_missing, lay_out
from bts.data.readers.scan import MM, Scan, VolumeGeometry
from bts.data.slice import MAX_SIDE
from bts.errors import InputError

HEADERS = (nibabel.Nifti1Header, nibabel.Nifti2Header)
HEADER_BYTES = 540
"""Of NIfTI-2; the header of NIfTI-1 has 348."""
DISAGREE = 0.01
"""Share by which the voxel sizes of affine and `pixdim` may differ without a note: writers round both."""
GZIP = b"\x1f\x8b"
SERIES = "a series of"


def read_nifti(path: str | Path, *, axis: int | None = None) -> Scan:
    """Return the slices of a NIfTI file (`.nii`, `.nii.gz`), 2-D or 3-D; of a 4-D series the first volume, with a note.

    NaN is background: it becomes the smallest value of the volume, with a note.

    The header is checked before any voxel is read. Axes follow the affine (see `VolumeGeometry`); where the header states
    no orientation (both codes 0) the array is taken as stored, its first axis along the columns of a slice.

    Args:
        path: the file.
        axis: patient axis along which a volume is cut: 0 sagittal, 1 coronal, 2 axial slices. None takes the axis
            through a slab of few planes, else the one along which slices are farthest apart, else axial slices. A file of one
            plane has no choice.

    Raises:
        InputError: damaged, too large, more than four dimensions, colour, or no slice that is not blank.
    """
    planes, geometry, spacing, notes = _load(path, axis=axis)
    missing = sum(int(np.isnan(plane).sum()) for plane in planes)
    if 0 < missing < planes.size:
        fill_missing(planes)
        share = 100 * missing / planes.size
        notes = (*notes, f"{share:.2g}% of the voxels are NaN and were read as background, the smallest value")
    return cut_slices(planes, geometry, path=str(path), spacing_mm=spacing, notes=notes)


def read_nifti_plane(path: str | Path) -> np.ndarray:
    """Return the values (rows, columns) of a file of one plane, blank or not; raises as `read_nifti`, and for a volume."""
    planes, geometry, _, notes = _load(path, axis=None)
    if geometry.n_slices > 1:
        raise InputError(f"a volume of {geometry.n_slices} slices: expected one plane, save the slice that is meant")
    if any(note.startswith(SERIES) for note in notes):
        raise InputError("several planes along the fourth axis: expected one plane, save the slice that is meant")
    return planes[0]


Loaded = tuple[np.ndarray, VolumeGeometry, "tuple[float, float] | None", tuple[str, ...]]


def _load(path: str | Path, *, axis: int | None) -> Loaded:
    """Return the slices (n_slices, H, W), how they were cut, their spacing, and what the user should know.

    Beside them there is one stored plane at a time in memory.
    """
    try:
        with _opened(path) as image:
            shape, known = _shape(image), _is_oriented(image)
            _refuse_bytes(image, shape, path)
            geometry, spacing, notes = _geometry(image, shape, axis=axis, known=known)
            volumes = image.shape[3] if len(image.shape) > 3 else 1
            if volumes > 1:
                notes = (*notes, f"{SERIES} {volumes} volumes: only the first was read")
            planes = np.empty((geometry.n_slices, *geometry.slice_shape), np.float32)
            stored = geometry.as_stored(planes)
            for index in range(shape[2]):
                place = (slice(None), slice(None), index, *(0,) * len(image.shape))[: len(image.shape)]
                with np.errstate(over="ignore", invalid="ignore"):
                    stored[:, :, index] = np.asarray(image.dataobj[place], dtype=np.float32)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(NO_MEMORY) from error
    except Exception as error:  # nibabel lets through what gzip, zlib, mmap and numpy raise on damaged files
        reason = " ".join(str(error).split())[:120].replace(str(path), "")
        raise InputError(f"truncated or damaged NIfTI file ({reason}): export or download it again") from error
    return planes, geometry, spacing, notes


def claimed_voxels(path: str | Path) -> int:
    """Return how many voxels the header claims for the first volume; raises what nibabel raises where there is none."""
    with _opened(path) as image:
        return int(np.prod(image.shape[:3], dtype=object))


@dataclass(frozen=True)
class _Image:
    """A file whose voxels are not read yet.

    Attributes:
        header: of NIfTI-1 or NIfTI-2.
        dataobj: reads the voxels, scaled as the header says.
        affine: (4, 4) voxel index to position.
    """

    header: Any
    dataobj: ArrayProxy
    affine: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes that the header claims."""
        return tuple(int(size) for size in self.dataobj.shape)


@contextmanager
def _opened(path: str | Path) -> Iterator[_Image]:
    """Yield an image as `nibabel.load` returns it, but for its extensions, which stay unread.

    Whether it is packed follows from its first bytes: files lose or gain `.gz` on their way.
    """
    with open(path, "rb") as begin:
        packed = begin.read(2) == GZIP
    with gzip.open(path, "rb") if packed else open(path, "rb") as file:  # opened once: each plane would unpack it anew
        yield _image(file)


def _image(source: Any) -> _Image:
    """Return the image in a file that is named or opened."""
    with ImageOpener(source) as file:
        block = file.read(HEADER_BYTES)
    kind = next((each for each in HEADERS if each.may_contain_header(block)), None)
    if kind is None:
        raise InputError("truncated or damaged NIfTI file (no NIfTI header): export or download it again")
    header = kind(block[: kind.sizeof_hdr])
    return _Image(header, ArrayProxy(source, header.copy()), header.get_best_affine())


def _refuse_bytes(image: _Image, shape: tuple[int, int, int], path: str | Path) -> None:
    """Refuse a claim that the file can't keep, and voxels that lie far behind the header."""
    offset = int(image.dataobj.offset)
    if not 0 <= offset <= MAX_NIFTI_OFFSET:
        most = f"at most {MAX_NIFTI_OFFSET} are accepted"
        raise InputError(f"its voxels begin at byte {offset}: {most}, save it without extensions")
    size = int(np.prod(shape, dtype=object)) * image.header.get_data_dtype().itemsize
    refuse_claim("its header", claimed=size, stored=Path(path).stat().st_size, most=MAX_VOLUME_BYTES)


def _shape(image: _Image) -> tuple[int, int, int]:
    """Return three sizes, a plane with a third one of 1; from the header alone."""
    dtype = image.header.get_data_dtype()
    if dtype.kind not in "buif":
        raise InputError(f"voxels of type {dtype}: expected one real number each, export the scan as grey")
    sizes = list(image.shape)
    claims = " x ".join(map(str, sizes))
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) == 4 and sizes[3] > 1:  # a series over time, echoes or directions: its first volume is read
        sizes.pop()
    if min(sizes, default=0) < 1 or max(sizes) > MAX_SIDE or int(np.prod(sizes, dtype=object)) > MAX_VOXELS:
        raise InputError(f"its header claims {claims} voxels: accepted are 1 to {MAX_SIDE} a side and {MAX_VOXELS} in all")
    if not 2 <= len(sizes) <= 3:
        raise InputError(f"an array of {claims}: expected a plane or one volume, save a single volume of the series")
    rows, columns, *planes = sizes
    return rows, columns, planes[0] if planes else 1


def _is_oriented(image: _Image) -> bool:
    """Tell whether the header states an orientation that can be followed."""
    if int(image.header["sform_code"]) == 0 and int(image.header["qform_code"]) == 0:
        return False
    if not np.isfinite(image.affine).all() or np.isnan(io_orientation(image.affine)).any():
        raise InputError("its affine is singular or not finite, so left and right can't be told: write a valid sform or qform")
    return True


def _geometry(
    image: _Image, shape: tuple[int, int, int], *, axis: int | None, known: bool
) -> tuple[VolumeGeometry, tuple[float, float] | None, tuple[str, ...]]:
    """Return how to cut, the spacing (row, column) of a slice where it is known, and a note where the header is at odds.

    Voxel sizes are those of the affine, as the volume in millimetres is too. Without one they are those of `pixdim`.
    """
    unit = image.header.get_xyzt_units()[0]
    stated_zooms = [float(zoom) for zoom in image.header.get_zooms()[:3]]
    stated_zooms += [1.0] * (3 - len(stated_zooms))
    found = np.sqrt((image.affine[:3, :3].astype(np.float64) ** 2).sum(axis=0)).tolist() if known else stated_zooms
    notes: tuple[str, ...] = ()
    if known and not np.allclose(found, stated_zooms, rtol=DISAGREE, atol=0):
        notes = (f"voxels of {_in_words(found)} by the affine and {_in_words(stated_zooms)} by pixdim: the affine was used",)
    zooms = [zoom * MM.get(unit, 1.0) for zoom in found]
    stated = (known or unit != "unknown") and np.isfinite(zooms).all() and min(zooms) > 0
    codes = int(image.header["qform_code"]), int(image.header["sform_code"])
    geometry, spacing = lay_out(image.affine, shape, sizes_mm=zooms, axis=axis, oriented=known, codes=codes, unit=unit)
    return geometry, spacing if stated else None, notes


def _in_words(sizes: list[float]) -> str:
    """Return sizes for a message.

    >>> _in_words([0.5, 1.0, 6.0])
    '0.5 x 1 x 6'
    """
    return " x ".join(f"{size:.4g}" for size in sizes)
