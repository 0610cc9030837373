"""Small files that claim or unpack to much: each is refused in one line, with little memory taken."""

from __future__ import annotations

import gzip
import io
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
from hostile_files import (
    MIB,
    PICTURE,
    SIDE,
    allocating_at_most,
    chunk,
    element,
    five,
    five_fields,
    matrix,
    png,
    write_five,
    write_hdf,
    zeros,
)
from PIL import Image

from bts.data.readers.bounds import MAX_DICOM_READS, MAX_JPEG_SCANS, MAX_PAGES
from bts.data.readers.catalogue import read_scan
from bts.data.sources.arrays_npz import ArraysNpz
from bts.errors import InputError, RequestError

LARGE = 8192
"""Longest side that is accepted."""


def refused(path: Path, message: str, *, mib: float = 20) -> None:
    """Check that a file is refused in one line, with no more memory than a small picture needs."""
    with allocating_at_most(mib), pytest.raises(InputError, match=message) as caught:
        read_scan(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


# --- HDF5 -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunks", [(256, 256), None])
def test_a_picture_that_is_claimed_and_never_written(chunks: tuple[int, int] | None, tmp_path: Path) -> None:
    path = tmp_path / "1.mat"
    with write_hdf(path, without="image") as file:
        file.create_dataset("cjdata/image", (LARGE, LARGE // 2), "f8", chunks=chunks)
    assert path.stat().st_size < 40_000
    refused(path, r"field 'image' claims 256 MiB and \d+ bytes are stored: the file is damaged or made to exhaust")


def test_a_picture_over_the_limit_of_bytes(tmp_path: Path) -> None:
    path = tmp_path / "1.mat"
    with write_hdf(path, without="image") as file:
        file.create_dataset("cjdata/image", (LARGE, LARGE), "f8", chunks=(256, 256))
    refused(path, "field 'image' claims 512 MiB: at most 256 MiB are accepted")


def test_more_chunks_than_a_list_of_them_may_have(tmp_path: Path) -> None:
    path = tmp_path / "1.mat"
    with write_hdf(path, without="image") as file:
        file.create_dataset("cjdata/image", (300, 300), "i2", chunks=(1, 1))
    refused(path, "'image' has 90000 chunks: at most 65536 are accepted")


@pytest.mark.parametrize("more", [{}, {"fletcher32": True}])
def test_a_chunk_that_unpacks_to_more_than_it_claims(more: dict, tmp_path: Path) -> None:
    path = tmp_path / "1.mat"
    with write_hdf(path, without="image") as file:
        data = file.create_dataset("cjdata/image", PICTURE.shape, "i2", chunks=PICTURE.shape, compression="gzip", **more)
        data.id.write_direct_chunk((0, 0), zeros(100 * MIB))
    refused(path, "a chunk of field 'image' unpacks to more than 16 MiB, the most that is accepted")


def test_a_chunk_far_larger_than_its_dataset(tmp_path: Path) -> None:
    path = tmp_path / "1.mat"
    with write_hdf(path, without="image") as file:
        file.create_dataset(
            "cjdata/image", PICTURE.shape, "i2", chunks=(LARGE, LARGE), maxshape=(None, None), compression="gzip"
        )
    refused(path, "a chunk of field 'image' claims 128 MiB and 0 bytes are stored")


def test_damage_in_a_large_chunk_is_told(tmp_path: Path) -> None:
    path = tmp_path / "1.mat"
    with write_hdf(path, without="image") as file:
        data = file.create_dataset("cjdata/image", PICTURE.shape, "i2", chunks=PICTURE.shape, compression="gzip")
        data.id.write_direct_chunk((0, 0), b"\xff" * 100_000)
    refused(path, "'image' is damaged: download or export the file again")


def test_a_large_chunk_of_a_real_picture_is_read(tmp_path: Path) -> None:
    rough = np.random.default_rng(0).integers(0, 4000, (512, 512)).astype(np.int16)
    path = tmp_path / "1.mat"
    with write_hdf(path, without="image") as file:
        del file["cjdata/tumorMask"]
        file["cjdata/tumorMask"] = np.zeros((512, 512), np.uint8)
        data = file.create_dataset("cjdata/image", data=rough.T, chunks=(512, 512), compression="gzip", fletcher32=True)
        assert data.id.get_storage_size() > 2**17
    np.testing.assert_array_equal(read_scan(path).slices[0].image, rough)


# --- MATLAB 5 -------------------------------------------------------------------------------------------------------------


def test_fields_made_by_hand_are_read(tmp_path: Path) -> None:
    for compress in (False, True):
        found = read_scan(write_five(tmp_path / "1.mat", five(five_fields()), compress=compress)).slices[0]
        np.testing.assert_array_equal(found.image, PICTURE)
        assert (found.label, found.patient) == ("meningioma", "MR1")


def test_a_variable_that_unpacks_without_end(tmp_path: Path) -> None:
    start = five(five_fields())
    packer = zlib.compressobj(1)
    packed = [packer.compress(struct.pack("<2I", 14, 2**30) + start[8:])]
    block = bytes(MIB)
    packed += [packer.compress(block) for _ in range(260)] + [packer.flush()]
    data = b"".join(packed)
    path = write_five(tmp_path / "1.mat")
    path.write_bytes(path.read_bytes() + struct.pack("<2I", 15, len(data)) + data)
    assert len(data) < 2 * MIB
    refused(path, "variable 'cjdata' unpacks to more than 256 MiB", mib=330)


def test_other_variables_are_not_unpacked(tmp_path: Path) -> None:
    other = matrix(9, (1, 40 * MIB), "other", element(2, bytes(40 * MIB)))
    path = write_five(tmp_path / "1.mat", other, five(five_fields()), compress=True)
    del other
    with allocating_at_most(20):
        np.testing.assert_array_equal(read_scan(path).slices[0].image, PICTURE)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (matrix(6, (LARGE, LARGE // 4), "", element(9, bytes(64))), r"'image' claims 16777216 values and holds 64 bytes"),
        (matrix(6, (LARGE, 2 * LARGE), "", element(9, bytes(64))), "'image' claims 134217728 values: at most 8192x8192"),
        (matrix(6, (2**31 - 1, 2**31 - 1), "", element(9, b"")), r"'image' claims \d+ values: at most 8192x8192"),
        (matrix(6, (-1, 64), "", element(9, b"")), "damaged MATLAB file .an array of shape"),
        (matrix(4, (1, 2**24), "", element(4, b"")), "'image' claims a text of 16777216 characters: at most 4096"),
        (matrix(1, (2**13, 2**12), "", b""), "'image' is a cell array: expected real numbers"),
        (matrix(5, (2**20, 2**20), "", b""), "'image' is a sparse array: expected real numbers"),
        (matrix(3, (1, 1), "", b""), "'image' is a object: expected real numbers"),
        (matrix(2, (2**12, 2**12), "", b""), "'image' is a struct: expected real numbers"),
        (struct.pack("<2I", 14, 2**31) + bytes(64), "truncated or damaged MATLAB file"),
        (matrix(4, (1, 3), "", struct.pack("<2I", 16, 2**31) + b"MR1"), "a part of an array ends behind it"),
        (matrix(6, (1, 1), "", element(9, bytes(8)) + struct.pack("<2I", 14, 2**31)), "'image' has bytes behind its values"),
        (matrix(4, (1, 1), "", element(16, b"a") + struct.pack("<2I", 14, 2**31)), "'image' has bytes behind its values"),
        (matrix(4, (1, 3), "", element(24, b"MR1")), "'image' is a text of type 24"),
        (element(14, element(6, bytes(16)) + bytes(64)), "flags of an array"),
    ],
    ids=[
        "few",
        "many",
        "overflow",
        "negative",
        "text",
        "cells",
        "sparse",
        "object",
        "structs",
        "cut",
        "text part",
        "behind",
        "behind text",
        "text type",
        "flags",
    ],
)
def test_a_field_that_claims_what_it_does_not_hold(content: bytes, message: str, tmp_path: Path) -> None:
    refused(write_five(tmp_path / "1.mat", five(five_fields(image=content)), compress=True), message)


def test_a_struct_of_many_places_is_no_figshare_file(tmp_path: Path) -> None:
    path = write_five(tmp_path / "1.mat", matrix(2, (2**13, 2**12), "cjdata", element(5, struct.pack("<i", 32))))
    refused(path, "struct 'cjdata' is missing")


# --- NIfTI ----------------------------------------------------------------------------------------------------------------


def nifti(shape: tuple[int, ...], dtype: type, *, offset: int = 352) -> bytes:
    header = nibabel.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header["magic"], header["vox_offset"] = b"n+1", offset
    header.set_sform(np.diag([-1.0, -1, 1, 1]), 1)
    return header.binaryblock


def test_a_zipped_volume_that_is_claimed_and_not_there(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(nifti((1024, 1024, 128), np.float64) + bytes(4) + bytes(1000)))
    refused(path, r"its header claims 1024 MiB and \d+ bytes are stored")


def test_extensions_are_not_unpacked(tmp_path: Path) -> None:
    voxels = np.arange(48, dtype=np.int16).reshape(6, 8, 1)
    size = 40 * MIB
    extension = b"\1\0\0\0" + struct.pack("<2i", size, 4) + bytes(size - 8)
    raw = nifti((6, 8, 1), np.int16, offset=352 + size) + extension + voxels.tobytes(order="F")
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(raw, 1))
    del raw, extension
    with allocating_at_most(10):
        np.testing.assert_array_equal(read_scan(path).slices[0].image, voxels[:, :, 0].T)


def test_an_extension_that_claims_more_than_there_is_does_not_matter(tmp_path: Path) -> None:
    voxels = np.arange(48, dtype=np.int16).reshape(6, 8, 1)
    extension = b"\1\0\0\0" + struct.pack("<2i", 2**31 - 16, 2) + bytes(24)
    path = tmp_path / "a.nii"
    path.write_bytes(nifti((6, 8, 1), np.int16, offset=384) + extension + voxels.tobytes(order="F"))
    with allocating_at_most(10):
        np.testing.assert_array_equal(read_scan(path).slices[0].image, voxels[:, :, 0].T)


def test_voxels_that_lie_far_behind_are_not_searched_for(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(nifti((6, 8, 1), np.int16, offset=2**30) + bytes(2000)))
    refused(path, "its voxels begin at byte 1073741824: at most 67108864 are accepted, save it without extensions")


def test_a_cifti_file_is_not_parsed(tmp_path: Path) -> None:
    header = nibabel.Nifti2Header()
    header.set_data_shape((1, 1, 1, 1, 3, 4))
    header["intent_code"], header["magic"], header["vox_offset"] = 3006, b"n+2", 544 + 32
    extension = b"\1\0\0\0" + struct.pack("<2i", 32, 32) + b"<!DOCTYPE bomb [".ljust(24)
    path = tmp_path / "a.nii"
    path.write_bytes(header.binaryblock + extension + bytes(48))
    refused(path, "an array of 1 x 1 x 1 x 1 x 3 x 4: expected a plane or one volume")


# --- DICOM ----------------------------------------------------------------------------------------------------------------


def dicom(path: Path, *, syntax: str, data: bytes = b"", rest: bytes | None = None, **more: object) -> Path:
    """A DICOM file of one slice, or one whose data set is bytes as they are."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.filebase import DicomBytesIO
    from pydicom.filewriter import write_dataset, write_file_meta_info
    from pydicom.uid import UID, MRImageStorage

    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = UID(syntax), MRImageStorage
    meta.MediaStorageSOPInstanceUID = meta.ImplementationClassUID = UID("1.2.3")
    item = Dataset()
    item.Rows = item.Columns = SIDE
    item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
    item.BitsAllocated = item.BitsStored = 8
    item.HighBit, item.PixelRepresentation = 7, 0
    for name, value in more.items():
        setattr(item, name, value)
    if data:
        item.PixelData = data
        item["PixelData"].VR = "OB"
        item["PixelData"].is_undefined_length = UID(syntax).is_encapsulated
    with path.open("wb") as file:
        file.write(bytes(128) + b"DICM")
        write_file_meta_info(file, meta)
        if rest is None:
            buffer = DicomBytesIO()
            buffer.is_implicit_VR, buffer.is_little_endian = False, True
            write_dataset(buffer, item)
            rest = buffer.getvalue()
        file.write(rest)
    return path


PLAIN, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
JPEG, JPEG_LS, JPEG_2000, RLE = (f"1.2.840.10008.1.2.{end}" for end in ("4.50", "4.80", "4.90", "5"))
GREY = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE), np.uint8)


def jpeg(array: np.ndarray = GREY, **more: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "JPEG", **more)
    return buffer.getvalue()


def frames(stream: bytes) -> bytes:
    from pydicom.encaps import encapsulate

    return encapsulate([stream])


def claiming(stream: bytes, rows: int, columns: int) -> bytes:
    """A JPEG whose frame header claims another size."""
    at = stream.index(b"\xff\xc0") + 5
    return stream[:at] + struct.pack(">2H", rows, columns) + stream[at + 4 :]


def test_dicom_made_by_hand_is_read(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", syntax=PLAIN, data=GREY.tobytes())
    np.testing.assert_array_equal(read_scan(path).slices[0].image, GREY)
    path = dicom(tmp_path / "b.dcm", syntax=JPEG, data=frames(jpeg()))
    np.testing.assert_array_equal(read_scan(path).slices[0].image, np.asarray(Image.open(io.BytesIO(jpeg()))))


def test_a_deflated_data_set_that_unpacks_without_end(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", syntax=DEFLATED, rest=zeros(300 * MIB, wbits=-15))
    assert path.stat().st_size < MIB
    refused(path, "the deflated DICOM data set unpacks to more than 256 MiB")


@pytest.mark.parametrize(
    ("syntax", "rest", "message"),
    [
        (PLAIN, struct.pack("<2H2sH", 0x10, 0x10, b"PN", 0) * 33_000, "a header of more than 32768 elements"),
        (DEFLATED, zlib.compress(struct.pack("<2H2sH", 0x10, 0x10, b"PN", 0) * 33_000)[2:-4], "a header of more than 32768"),
    ],
    ids=["elements", "deflated"],
)
def test_a_header_of_endless_elements(syntax: str, rest: bytes, message: str, tmp_path: Path) -> None:
    refused(dicom(tmp_path / "a.dcm", syntax=syntax, rest=rest), message, mib=60)


def test_a_command_set_of_endless_elements(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sixteenth of the pieces, which pydicom reads slowly while memory is traced, and a sixteenth of the memory."""
    reads = MAX_DICOM_READS // 16
    monkeypatch.setattr("bts.data.readers.dicom.MAX_DICOM_READS", reads)
    path = dicom(tmp_path / "a.dcm", syntax=PLAIN, rest=bytes(8 * reads))
    refused(path, "its header has elements without end", mib=60 / 16)


def long_element(group: int, number: int, kind: bytes, data: bytes) -> bytes:
    return struct.pack("<2H2s2xL", group, number, kind, len(data)) + data


def nested(data: bytes) -> bytes:
    """A sequence of one item."""
    item = struct.pack("<2HL", 0xFFFE, 0xE000, len(data)) + data
    start, end = struct.pack("<2H2s2xL", 8, 0x1140, b"SQ", 0xFFFFFFFF), struct.pack("<2HL", 0xFFFE, 0xE0DD, 0)
    return start + item + end


EMPTY_ELEMENTS = b"".join(struct.pack("<2H2sH", 9, 0x1000 + number, b"LO", 0) for number in range(256))
CHARACTER_SETS = long_element(8, 5, b"UN", b"\\" * 2**20)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (long_element(0x28, 0x30, b"UN", b"1\\" * 2**20), "its field PixelSpacing holds 2097152 bytes: at most 4096"),
        (long_element(0x28, 0x30, b"SQ", struct.pack("<2HL", 0xFFFE, 0xE000, 0) * 500), "PixelSpacing holds a sequence"),
        (CHARACTER_SETS, "its list of character sets has 1048576 bytes: at most 4096"),
        (nested(CHARACTER_SETS), "its list of character sets has 1048576 bytes: at most 4096"),
    ],
    ids=["text", "sequence", "character sets", "nested character sets"],
)
@pytest.mark.parametrize("syntax", [PLAIN, DEFLATED])
def test_a_field_of_many_parts(data: bytes, message: str, syntax: str, tmp_path: Path) -> None:
    whole = data
    if syntax == DEFLATED:
        packer = zlib.compressobj(wbits=-15)
        whole = packer.compress(whole) + packer.flush()
    refused(dicom(tmp_path / "b.dcm", syntax=syntax, rest=whole), message)


def test_endless_elements_in_a_sequence_of_a_deflated_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bts.data.readers.dicom.MAX_DICOM_READS", 2**12)  # the limit itself takes seconds
    packer = zlib.compressobj(wbits=-15)
    items = b"".join(struct.pack("<2HL", 0xFFFE, 0xE000, len(EMPTY_ELEMENTS)) + EMPTY_ELEMENTS for _ in range(50))
    data = struct.pack("<2H2s2xL", 8, 0x1140, b"SQ", 0xFFFFFFFF) + items + struct.pack("<2HL", 0xFFFE, 0xE0DD, 0)
    whole = packer.compress(data) + packer.flush()
    refused(dicom(tmp_path / "a.dcm", syntax=DEFLATED, rest=whole), "its header has elements without end")


def test_a_deflated_data_set_is_read(tmp_path: Path) -> None:
    whole = dicom(tmp_path / "a.dcm", syntax=PLAIN, data=GREY.tobytes()).read_bytes()
    start = whole.index(struct.pack("<2H", 0x28, 2))
    packer = zlib.compressobj(wbits=-15)
    path = dicom(tmp_path / "b.dcm", syntax=DEFLATED, rest=packer.compress(whole[start:]) + packer.flush())
    np.testing.assert_array_equal(read_scan(path).slices[0].image, GREY)


def test_an_element_that_claims_four_gigabytes(tmp_path: Path) -> None:
    rest = struct.pack("<2H2sHI", 0x10, 0x10, b"UT", 0, 0xFFFFFFF0) + b"Doe^Jane"
    path = dicom(tmp_path / "a.dcm", syntax=PLAIN, rest=rest)
    refused(path, "a DICOM file without a picture|DICOM that can't be decoded here")


@pytest.mark.parametrize("samples", [1, 3])
def test_a_picture_of_few_bytes_that_claims_many(samples: int, tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", syntax=RLE, data=frames(bytes(64)), Rows=6000, Columns=6000, SamplesPerPixel=samples)
    refused(path, r"the picture claims \d+ MiB and \d+ bytes are stored")


def test_a_picture_of_many_samples(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", syntax=PLAIN, data=bytes(64), Rows=8000, Columns=8000, SamplesPerPixel=60000)
    refused(path, r"the picture claims \d+ MiB: at most 256 MiB are accepted")


@pytest.mark.parametrize(
    ("syntax", "stream", "told"),
    [
        (JPEG, claiming(jpeg(), 12_000, 12_000), "12000 rows, 12000 columns and 1 channels"),
        (JPEG, claiming(jpeg(), SIDE, SIDE + 1), "64 rows, 65 columns and 1 channels"),
        (
            JPEG_LS,
            b"\xff\xd8\xff\xf7" + struct.pack(">HBHHB", 11, 8, 30_000, 30_000, 1) + bytes(64),
            "30000 rows, 30000 columns",
        ),
        (
            JPEG_2000,
            b"\xff\x4f\xff\x51" + struct.pack(">2H8IH", 41, 0, 40_000, 30_000, 0, 0, 64, 64, 0, 0, 1) + bytes(64),
            "30000 rows, 40000 columns",
        ),
        (
            JPEG_2000,
            b"\xff\x4f\xff\x51" + struct.pack(">2H8IH", 41, 0, SIDE, SIDE, 0, 0, 64, 64, 0, 0, 16_000) + bytes(64),
            "64 rows, 64 columns and 16000 channels",
        ),
    ],
    ids=["JPEG", "JPEG, one column", "JPEG-LS", "JPEG 2000", "JPEG 2000, channels"],
)
def test_a_compressed_picture_of_another_size_than_its_header(syntax: str, stream: bytes, told: str, tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", syntax=syntax, data=frames(stream))
    refused(path, rf"its compressed picture claims {told}.*, its header 64 rows and 64 columns")


def test_a_compressed_picture_of_endless_scans(tmp_path: Path) -> None:
    path = dicom(tmp_path / "a.dcm", syntax=JPEG, data=frames(with_scans(MAX_JPEG_SCANS + 1)))
    refused(path, rf"a JPEG of {MAX_JPEG_SCANS + 1} scans: at most {MAX_JPEG_SCANS} are accepted")


# --- PNG, JPEG, TIFF ------------------------------------------------------------------------------------------------------


def with_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan stands there as often as is needed."""
    stream = jpeg(progressive=True)
    last = stream.rindex(b"\xff\xda")
    scan = stream[last:-2]
    return stream[:-2] + scan * (count - stream.count(b"\xff\xda")) + stream[-2:]


def test_a_png_that_claims_more_than_deflate_can_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(LARGE, LARGE, colour=2, pixels=zeros(MIB)))
    refused(path, r"the picture claims 256 MiB and \d+ bytes are stored")


@pytest.mark.parametrize(
    "more",
    [
        chunk(b"zTXt", b"Comment\0\0" + zeros(100 * MIB)),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zeros(100 * MIB)),
        chunk(b"iCCP", b"profile\0\0" + zeros(100 * MIB)),
        chunk(b"zTXt", b"Comment\0\0" + zeros(1000 * 1000)) * 100,
    ],
    ids=["zTXt", "iTXt", "iCCP", "many zTXt"],
)
def test_a_png_with_a_chunk_that_unpacks_to_much(more: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(4, 4, pixels=b"\0\1\2\3\4" * 4, more=more))
    refused(path, r"not a readable picture \(.*(large|MAX_TEXT_MEMORY).*\)", mib=80)


def test_a_jpeg_of_endless_scans(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(with_scans(MAX_JPEG_SCANS))
    assert read_scan(path).slices[0].image.shape == (SIDE, SIDE)
    path.write_bytes(with_scans(MAX_JPEG_SCANS + 1))
    refused(path, rf"a JPEG of {MAX_JPEG_SCANS + 1} scans: at most {MAX_JPEG_SCANS} are accepted, export it as PNG")


def test_a_jpeg_that_claims_more_than_it_can_hold(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(claiming(jpeg(), 8000, 8000))
    refused(path, r"the picture claims 61 MiB and \d+ bytes are stored")


def tiff(path: Path, tags: dict[int, tuple[int, int, int]], *, pages: int = 1) -> Path:
    """A TIFF of 8-bit grey pixels from its tags: number -> type, count, value."""
    tags = {
        256: (4, 1, SIDE), 257: (4, 1, SIDE), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 277: (3, 1, 1), 339: (3, 1, 1)
    } | tags  # fmt: skip
    place, out = 8, b""
    for page in range(pages):
        size = 2 + 12 * len(tags) + 4
        entries = b"".join(
            struct.pack("<2HI", tag, kind, count) + (struct.pack("<H2x", value) if kind == 3 else struct.pack("<I", value))
            for tag, (kind, count, value) in sorted(tags.items())
        )
        place += size
        out += struct.pack("<H", len(tags)) + entries + struct.pack("<I", place if page < pages - 1 else 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + out + GREY.tobytes())
    return path


def test_a_tiff_with_enormous_tiles(tmp_path: Path) -> None:
    tags = {259: (3, 1, 8), 322: (4, 1, 60_000), 323: (4, 1, 60_000), 324: (4, 1, 8), 325: (4, 1, 100)}
    refused(tiff(tmp_path / "a.tif", tags), "a TIFF with tiles of 60000 x 60000 pixels: at most 8192 a side")


def test_a_tiff_packed_so_that_the_decoder_asks_for_gigabytes(tmp_path: Path) -> None:
    tags = {259: (3, 1, 34925), 273: (4, 1, 8), 278: (4, 1, SIDE), 279: (4, 1, 100)}
    refused(tiff(tmp_path / "a.tif", tags), "a TIFF packed with lzma: accepted are raw, ")


def test_a_tiff_of_endless_pages_is_counted_to_a_limit(tmp_path: Path) -> None:
    tags = {273: (4, 1, 8), 278: (4, 1, SIDE), 279: (4, 1, SIDE * SIDE)}
    refused(tiff(tmp_path / "a.tif", tags, pages=3), "3 pages in one file: expected one slice")
    refused(tiff(tmp_path / "a.tif", tags, pages=1000), f"{MAX_PAGES} or more pages in one file: expected one slice")


@pytest.mark.parametrize("packing", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd"])
def test_a_tiff_of_the_usual_packings_is_read(packing: str, tmp_path: Path) -> None:
    Image.fromarray(GREY).save(tmp_path / "a.tif", compression=packing)
    np.testing.assert_array_equal(read_scan(tmp_path / "a.tif").slices[0].image, GREY)


# --- .npz -----------------------------------------------------------------------------------------------------------------


def npy_header(shape: tuple[int, ...], *, dtype: str = "|u1", claimed: int | None = None) -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(text) if claimed is None else claimed) + text


@pytest.mark.parametrize(
    ("images", "packing", "message"),
    [
        (lambda: npy_header((2, SIDE, SIDE)) + bytes(100), zipfile.ZIP_DEFLATED, "'images' claims 8192 bytes and holds fewer"),
        (lambda: npy_header((2**20, 2**20, 2**20)), zipfile.ZIP_DEFLATED, r"'images' claims \d+ bytes and holds fewer"),
        (lambda: npy_header((1,), claimed=2**30) + bytes(100 * MIB), zipfile.ZIP_DEFLATED, "no .npz file"),
        (
            lambda: npy_header((1, SIDE, SIDE)) + bytes(SIDE * SIDE),
            zipfile.ZIP_BZIP2,
            "packed in a way that NumPy does not write",
        ),
        (
            lambda: npy_header((1, SIDE, SIDE)) + bytes(SIDE * SIDE),
            zipfile.ZIP_LZMA,
            "packed in a way that NumPy does not write",
        ),
    ],
)
def test_arrays_that_claim_what_is_not_there(images: Callable[[], bytes], packing: int, message: str, tmp_path: Path) -> None:
    path = tmp_path / "train.npz"
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("images.npy", images())
    with allocating_at_most(20), pytest.raises(RequestError, match=rf"train\.npz: .*{message}") as caught:
        ArraysNpz(path)
    assert "\n" not in str(caught.value)


def test_arrays_over_the_limit_of_a_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "train.npz", images=np.zeros((500, SIDE, SIDE), np.uint8), labels=["glioma"] * 500)
    monkeypatch.setattr("bts.data.sources.arrays_npz.MAX_SET_BYTES", MIB)
    with pytest.raises(RequestError, match=r"train\.npz: the file claims 2 MiB: at most 1 MiB are accepted"):
        ArraysNpz(tmp_path / "train.npz")


# --- all of them ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "a.mat", "a.nii", "a.dcm"])
def test_too_little_memory_is_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / name
    if name == "a.png":
        Image.fromarray(GREY).save(path)
    elif name == "a.mat":
        write_hdf(path).close()
    elif name == "a.nii":
        nibabel.save(nibabel.Nifti1Image(GREY[:, :, None], np.eye(4)), path)
    else:
        dicom(path, syntax=PLAIN, data=GREY.tobytes())
    where = {"a.png": "picture._decoded", "a.mat": "mat.values", "a.nii": "nifti._geometry", "a.dcm": "dicom._pixels"}[name]

    def exhaust(*_args: object, **_more: object) -> None:
        raise MemoryError

    read_scan(path)
    monkeypatch.setattr(f"bts.data.readers.{where}", exhaust)
    with pytest.raises(InputError, match=r"a\..*: reading it takes more memory than there is: scale it down") as caught:
        read_scan(path)
    assert "\n" not in str(caught.value)
    assert sys.getsizeof(str(caught.value)) < 1000


def test_the_five_kilobytes_that_took_770_mib(tmp_path: Path) -> None:
    path = tmp_path / "1.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("cjdata")
        group["label"], group["PID"] = np.array([[1.0]]), np.array([[77]], np.uint16)
        group.create_dataset("image", (LARGE, LARGE), "f8", chunks=(LARGE, 1), fillvalue=1.0)
        group.create_dataset("tumorMask", (LARGE, LARGE), "u1", chunks=(LARGE, 1))
    assert path.stat().st_size < 10_000
    refused(path, "field 'image' claims 512 MiB: at most 256 MiB are accepted")


def test_a_patient_id_of_millions_of_characters(tmp_path: Path) -> None:
    with write_hdf(tmp_path / "a.mat", without="PID") as file:
        file.create_dataset("cjdata/PID", data=np.full((1000, 1000), 65, np.uint16), chunks=(1000, 1000), compression="gzip")
    refused(tmp_path / "a.mat", "PID holds 1000000 values: at most 4096 are accepted")
