"""Files that harm: every readable kind, whole, truncated, with flipped bits, and inflated.

Inflated files promise or unpack to much more than their own size. Nothing here is random but by the generator that is given.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

SIDE = 64
HUGE = 60_000
"""Side of the pictures that are only promised."""
UNPACKED = 2**28
"""Bytes that the packed files unpack to."""
WAYS = ("whole", "truncated", "flipped", "inflated")


class Files:
    """Makes files.

    Attributes:
        whole: by kind, as `.png`: a scan that is answered.
        inflated: by kind: files that promise too much.
    """

    def __init__(self, work: Path) -> None:
        work.mkdir(parents=True, exist_ok=True)
        self.whole = {
            ".png": _picture("PNG"),
            ".jpg": _picture("JPEG"),
            ".tif": _picture("TIFF"),
            ".nii": _nifti(),
            ".nii.gz": gzip.compress(_nifti(), 1),
            ".dcm": _dicom(work),
            ".mat": _mat(work, shape=(SIDE, SIDE)),
        }
        self.inflated = {
            ".png": [_png_bomb()],
            ".jpg": [_promise(self.whole[".jpg"], b"\xff\xc0\x00\x0b\x08", struct.pack(">2H", HUGE, HUGE))],
            ".tif": [self.whole[".tif"].replace(struct.pack("<I", SIDE), struct.pack("<I", HUGE))],
            ".nii": [_claim(_nifti(), (8000, 8000, 8000))],
            ".nii.gz": [_packed(_nifti()), _packed(_claim(_nifti(), (512, 512, 512)))],
            ".dcm": [_dicom(work, rows=2**16 - 1, frames=10_000)],
            ".mat": [_mat(work, shape=(HUGE // 2, HUGE // 2)), _mat5_bomb()],
        }

    def draw(self, rng: np.random.Generator) -> tuple[str, str, bytes]:
        """Return way, kind and bytes of a file."""
        kind, way = str(rng.choice(list(self.whole))), str(rng.choice(WAYS, p=(0.1, 0.3, 0.4, 0.2)))
        data = self.whole[kind]
        if way == "inflated":
            return way, kind, self.inflated[kind][int(rng.integers(len(self.inflated[kind])))]
        if way == "truncated":
            return way, kind, data[: int(rng.integers(1, len(data)))]
        if way == "flipped":
            changed = bytearray(data)
            reach = len(data) if rng.random() < 0.5 else min(len(data), 512)  # half of them in the header
            for place in rng.integers(0, reach, size=int(rng.integers(1, 32))):
                changed[place] ^= 1 << int(rng.integers(8))
            return way, kind, bytes(changed)
        return way, kind, data


def _array() -> np.ndarray:
    row, column = np.mgrid[:SIDE, :SIDE]
    return (40 + row + 120 * ((row - 20) ** 2 + (column - 30) ** 2 < 90)).astype(np.uint8)


def _picture(format: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(_array()).save(buffer, format)
    return buffer.getvalue()


def _png_bomb() -> bytes:
    side = int(UNPACKED**0.5)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">2I5B", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", _zeros(side * (side + 1))) + chunk(b"IEND", b"")


def _zeros(size: int, *, first: bytes = b"", wbits: int = zlib.MAX_WBITS) -> bytes:
    """Return some bytes and many zeros behind them, packed; never unpacked as a whole."""
    packer = zlib.compressobj(1, zlib.DEFLATED, wbits)
    parts = [packer.compress(first)]
    parts += [packer.compress(bytes(min(2**20, size - start))) for start in range(0, size, 2**20)]
    return b"".join([*parts, packer.flush()])


def _promise(data: bytes, mark: bytes, sizes: bytes) -> bytes:
    """Return a file with other sizes behind a mark."""
    place = data.index(mark) + len(mark)
    return data[:place] + sizes + data[place + len(sizes) :]


def _nifti() -> bytes:
    import nibabel

    volume = np.repeat(_array()[..., None], 3, axis=2).astype(np.int16)
    return bytes(nibabel.Nifti1Image(volume, np.diag([1.0, 1.0, 5.0, 1.0])).to_bytes())


def _claim(nifti: bytes, shape: tuple[int, int, int]) -> bytes:
    return nifti[:40] + struct.pack("<8h", 3, *shape, 1, 1, 1, 1) + nifti[56:]


def _packed(nifti: bytes) -> bytes:
    """Return a packed volume behind which zeros follow without end in sight."""
    return _zeros(UNPACKED, first=nifti, wbits=zlib.MAX_WBITS | 16)


def _dicom(work: Path, *, rows: int = SIDE, frames: int = 1) -> bytes:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    path, meta = work / "slice.dcm", FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    data: Any = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = MRImageStorage, "1.2.3", "MR"
    data.Rows, data.Columns, data.SamplesPerPixel, data.PhotometricInterpretation = rows, rows, 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    if frames > 1:
        data.NumberOfFrames = frames
    data.PixelData = _array().tobytes()
    data.save_as(path, enforce_file_format=True)
    return path.read_bytes()


def _mat(work: Path, *, shape: tuple[int, int]) -> bytes:
    """Return a slice in figshare's layout; a larger one than `SIDE` is promised and not written."""
    import h5py

    path = work / "slice.mat"
    with h5py.File(path, "w") as file:
        group = file.create_group("cjdata")
        written = shape == (SIDE, SIDE)
        image = group.create_dataset("image", shape=shape, dtype="i2", chunks=(SIDE, SIDE), compression="gzip")
        mask = group.create_dataset("tumorMask", shape=shape, dtype="u1", chunks=(SIDE, SIDE), compression="gzip")
        if written:
            image[...], mask[...] = _array(), _array() > 150
        group["label"], group["PID"] = np.array([[2.0]]), np.array([[49], [50]], np.uint16)
        group["tumorBorder"] = np.array([[1.0, 2.0, 3.0, 4.0]])
    return path.read_bytes()


def _mat5_bomb() -> bytes:
    """Return a MATLAB 5 file whose one variable unpacks to zeros."""
    packed = _zeros(UNPACKED, first=struct.pack("<2I", 14, UNPACKED))
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<2H", 0x0100, 0x4D49) + struct.pack("<2I", 15, len(packed)) + packed
