"""Damaged, hostile and misnamed files of every readable kind give a scan or one line, in bounded time and memory.

Every file is read in a process of its own, so that a crash, a hang or too much memory is seen as what it is. `BTS_FUZZ=20000`
runs as many examples with other seeds than the fixed one (one minute for about 3,000).
"""

from __future__ import annotations

import functools
import gzip
import io
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from hostile_files import PICTURE, five, five_fields, write_five, write_hdf
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from bts.data.readers.catalogue import SUFFIXES
from bts.data.readers.isolated import ReadingProcess
from bts.errors import InputError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system can't fork, so nothing is isolated")
EXAMPLES = int(os.environ.get("BTS_FUZZ", "300"))
MEMORY_MIB, SECONDS = 700, 20
FAILED = ("its reader failed", "its reader crashed", "gave no usable answer", "stopped after")
"""What the process answers where its reader did not: an exception that is none of ours, a crash, or a limit."""
GREY = (PICTURE // 16).astype(np.uint8)
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def picture(kind: str, mode: str = "L", **more: Any) -> bytes:
    packed = io.BytesIO()
    Image.fromarray(GREY).convert(mode).save(packed, kind, **more)
    return packed.getvalue()


def tiff(array: np.ndarray, **more: Any) -> bytes:
    packed = io.BytesIO()
    tifffile.imwrite(packed, array, metadata=None, **more)
    return packed.getvalue()


def nifti(*, packed: bool) -> bytes:
    image = nibabel.Nifti1Image(np.repeat(PICTURE[:, :, None], 3, axis=2), np.diag([-1.0, -1, 5, 1]))
    return gzip.compress(image.to_bytes()) if packed else image.to_bytes()


def dicoms(folder: Path) -> Iterator[bytes]:
    """An uncompressed file, a deflated one, one of each decoder, and one without a preamble."""
    from pydicom import dcmread
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import (
        DeflatedExplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        JPEG2000Lossless,
        JPEGLSLossless,
        MRImageStorage,
        RLELossless,
    )

    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, "1.2.3"
    data.Rows, data.Columns = PICTURE.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.PixelSpacing = [0.5, 0.5]
    data.PixelData = PICTURE.tobytes()
    plain = folder / "plain.dcm"
    data.save_as(plain, enforce_file_format=True)
    yield plain.read_bytes()
    yield plain.read_bytes()[132:]
    for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        other = dcmread(plain)
        other.compress(syntax)
        other.save_as(folder / "other.dcm")
        yield (folder / "other.dcm").read_bytes()
    data.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    data.save_as(folder / "other.dcm", enforce_file_format=True)
    yield (folder / "other.dcm").read_bytes()


@functools.cache
def seeds() -> list[tuple[str, bytes]]:
    """Whole files with the suffix of their kind."""
    import tempfile

    found = [(".png", picture("PNG")), (".png", picture("PNG", "P")), (".jpg", picture("JPEG")), (".bmp", picture("BMP"))]
    found += [(".jpg", picture("JPEG", progressive=True)), (".gif", picture("GIF")), (".webp", picture("WEBP", "RGB"))]
    found += [(".webp", picture("WEBP", lossless=True)), (".tif", picture("TIFF", compression="tiff_lzw"))]
    found += [(".tif", tiff(PICTURE.astype(np.float64))), (".tif", tiff(np.dstack([PICTURE] * 3), photometric="rgb"))]
    found += [(".tif", tiff(PICTURE.astype(np.int32), compression="zlib", predictor=True, tile=(32, 32)))]
    found += [(".nii", nifti(packed=False)), (".nii.gz", nifti(packed=True))]
    with tempfile.TemporaryDirectory() as folder:
        write_hdf(Path(folder) / "1.mat").close()
        found.append((".mat", (Path(folder) / "1.mat").read_bytes()))
        for compress in (False, True):
            path = write_five(Path(folder) / "2.mat", five(five_fields()), compress=compress)
            found.append((".mat", path.read_bytes()))
        if _has("pydicom"):
            found += [(".dcm", data) for data in dicoms(Path(folder))]
    return found


def _has(module: str) -> bool:
    try:
        __import__(module)
    except ImportError:
        return False
    return True


def damaged(data: bytes, changes: list[tuple[str, float, int]]) -> bytes:
    """Bytes after some changes, each at a share of the length; the first half of them hit the header more often."""
    found = bytearray(data)
    for kind, share, value in changes:
        if not found:
            break
        place = int(share * (len(found) - 1))
        if kind == "cut":
            del found[place:]
        elif kind == "flip":
            found[place] ^= 1 << (value % 8)
        elif kind == "header":
            place = int(share * min(600, len(found) - 1))
            number = EXTREMES[value % len(EXTREMES)]
            form = ("<B", ">H", "<H", ">I", "<I")[value % 5]
            packed = struct.pack(form, number & (256 ** struct.calcsize(form) - 1))
            found[place : place + len(packed)] = packed
        elif kind == "repeat":
            found[place:place] = found[place : place + value]
        else:
            found[place : place + value] = b""
    return bytes(found)


CHANGES = st.lists(
    st.tuples(st.sampled_from(["cut", "flip", "header", "header", "repeat", "remove"]), st.floats(0, 1), st.integers(0, 400)),
    max_size=6,
)


@pytest.fixture(scope="module")
def process() -> Iterator[ReadingProcess]:
    found = ReadingProcess()
    yield found
    found.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@settings(
    max_examples=EXAMPLES,
    derandomize="BTS_FUZZ" not in os.environ,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(seed=st.integers(0, 99), changes=CHANGES, renamed=st.none() | st.sampled_from([*SUFFIXES, ""]))
@example(seed=0, changes=[], renamed=".nii.gz")
@example(seed=88, changes=[("repeat", 0.5, 1)], renamed=None)  # RLE that is one byte too long
@example(seed=8, changes=[("cut", 0.001, 0)], renamed=None)  # five bytes of a TIFF
def test_any_file_gives_a_scan_or_one_line(
    process: ReadingProcess, folder: Path, seed: int, changes: list[tuple[str, float, int]], renamed: str | None
) -> None:
    kind, data = seeds()[seed % len(seeds())]
    path = folder / f"a{kind if renamed is None else renamed}"
    path.write_bytes(damaged(data, changes))
    try:
        scan = process.read_scan(path, memory_mib=MEMORY_MIB, seconds=SECONDS)
    except InputError as error:
        told = str(error)
        assert "\n" not in told
        assert path.name in told
        assert not any(failed in told for failed in FAILED), told
    else:
        assert all(np.isfinite(item.image).all() for item in scan.slices)


@pytest.mark.parametrize("number", range(18))
def test_whole_files_are_read(number: int, process: ReadingProcess, folder: Path) -> None:
    kind, data = seeds()[number % len(seeds())]
    path = folder / f"whole{kind}"
    path.write_bytes(data)
    assert process.read_scan(path, memory_mib=MEMORY_MIB).slices
