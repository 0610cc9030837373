"""Files of every kind, truncated, bit-flipped and filled up: each is read or refused in one line, and the next one is read."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hostile_files import PICTURE, five, five_fields, write_five, write_hdf
from PIL import Image

from bts.data.readers.isolated import ReadingProcess
from bts.errors import InputError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a crash would end the test")
KINDS = ("1.mat", "5.mat", "5z.mat", "a.png", "a.jpg", "a.tif", "z.tif", "a.nii", "a.nii.gz", "a.dcm", "j.dcm")
SEEDS = range(8)


@pytest.fixture(scope="module")
def process() -> Iterator[ReadingProcess]:
    """One process for all files, as in a server."""
    found = ReadingProcess()
    yield found
    found.close()


def write(path: Path) -> Path:
    """Write a whole file of a kind."""
    grey = (PICTURE // 16).astype(np.uint8)
    if path.name == "1.mat":
        with write_hdf(path, without="image") as file:
            file.create_dataset("cjdata/image", data=PICTURE.T, chunks=(16, 16), compression="gzip")
    elif path.suffix == ".mat":
        write_five(path, five(five_fields()), compress=path.stem == "5z")
    elif ".nii" in path.name:
        nibabel.save(nibabel.Nifti1Image(np.stack([PICTURE, PICTURE.T], axis=2), np.eye(4)), path)
    elif path.suffix == ".dcm":
        write_dicom(path, grey, packed=path.stem == "j")
    else:
        Image.fromarray(grey).save(path, **({"compression": "tiff_lzw"} if path.stem == "z" else {}))
    return path


def write_dicom(path: Path, grey: np.ndarray, *, packed: bool) -> None:
    """Write a DICOM file, uncompressed or as JPEG."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit, MRImageStorage

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = JPEGBaseline8Bit if packed else ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, "1.2.3"
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, "1.2.3"
    data.Rows, data.Columns = grey.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    stream = io.BytesIO()
    Image.fromarray(grey).save(stream, "JPEG")
    data.PixelData = encapsulate([stream.getvalue()]) if packed else grey.tobytes()
    data.save_as(path, enforce_file_format=True)


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """Return the bytes cut, flipped, zeroed, repeated or set to the largest number somewhere."""
    changed = bytearray(data)
    at = int(random.integers(0, len(data)))
    match int(random.integers(0, 5)):
        case 0:
            return bytes(changed[:at])
        case 1:
            for place in random.integers(0, len(data), 1 + len(data) // 500):
                changed[place] ^= 1 << int(random.integers(0, 8))
        case 2:
            changed[at : at + 64] = bytes(len(changed[at : at + 64]))
        case 3:
            changed[at:at] = changed[at // 2 : at // 2 + 256]
        case _:
            head = at % min(600, len(data))  # where the sizes stand
            changed[head : head + 4] = b"\xff\xff\xff\x7f"
    return bytes(changed)


def told(process: ReadingProcess, path: Path) -> str | None:
    """Return the line that refuses a file, or None where it is read."""
    try:
        process.read_scan(path, memory_mib=1024)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", KINDS)
def test_damage_is_one_line_and_the_next_file_is_read(name: str, process: ReadingProcess, tmp_path: Path) -> None:
    path = write(tmp_path / name)
    whole = path.read_bytes()
    expected = process.read_scan(path).slices[0].image
    for seed in SEEDS:
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        path.write_bytes(damaged(whole, random))
        line = told(process, path)
        assert line is None or (line.startswith(f"{path}: ") and line.isprintable())
    path.write_bytes(whole)
    np.testing.assert_array_equal(process.read_scan(path).slices[0].image, expected)
