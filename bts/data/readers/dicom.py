"""DICOM files as slices. Only pixels and their spacing are taken; no patient field is ever kept."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from bts.data.readers.bounds import (
    MAX_DICOM_ELEMENTS,
    MAX_DICOM_READS,
    MAX_PICTURE_BYTES,
    MAX_TEXT,
    NO_MEMORY,
    refuse_claim,
    refuse_inflation,
)
from bts.data.readers.codestream import claimed_size, refuse_scans
from bts.data.readers.picture import to_grey
from bts.data.slice import MAX_SIDE, Slice
from bts.errors import InputError

MAGIC = b"DICM"
HEAD_BYTES = 132
"""Preamble and letters at the begin of a file, which tell its kind."""
JPEG = b"\xff\xd8"
DEFLATED = "the deflated DICOM data set"
EMPTY = b"\x03\x00"
"""A deflate stream of nothing."""
EXPLICIT = bytes(128) + MAGIC + b"\x02\0\x10\0UI\x14\x00" + b"1.2.840.10008.1.2.1\0"
"""Head of a file whose data set is as it is within a deflated one."""
ELEMENT_BYTES = 8
"""Bytes in which pydicom reads the tag of an element."""
CHARACTER_SET = (b"\x08\x00\x05\x00", b"\x00\x08\x00\x05")
"""Tag whose value pydicom takes apart while it reads, in sequences too."""
READ = ("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PlanarConfiguration", "PhotometricInterpretation",
        "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept",
        "PixelSpacing", "PixelPaddingValue", "PixelPaddingRangeLimit")  # fmt: skip
"""Fields of the data set that are converted, each part of their text to an object."""
GREY = ("MONOCHROME1", "MONOCHROME2")
MIRRORED, PALETTE = "MONOCHROME1", "PALETTE COLOR"
RLE = "1.2.840.10008.1.2.5"
DECODERS = ("pyjpegls", "pillow", "pydicom", "pylibjpeg", "gdcm")
"""pydicom's plugins in the order in which they are tried; gdcm, which alone decodes lossless JPEG, is last for all others."""
RLE_DECODERS = ("pydicom",)
"""For RLE; pylibjpeg-rle ends in a panic of Rust on damaged files, which is no `Exception`."""
MAX_FIRST_ELEMENT, MAX_FIRST_BYTES = 0x18, 100
"""Of a file without preamble: the first element is at most SOPInstanceUID, and an UID has 64 bytes."""
REPRESENTATIONS = (b"UL", b"UI", b"OB", b"CS", b"DA", b"TM", b"SH", b"LO")
"""In explicit files, of the elements that can be first."""
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
"""Tags of the values of a picture: floats, doubles, whole numbers."""
MAX_COMPONENTS = 4
"""Most channels of a compressed picture: decoders allocate for all of them."""


class SeveralFrames(InputError):
    """A file of several frames where one slice is wanted."""


def is_dicom(path: str | PathLike[str]) -> bool:
    """Tell DICOM by its content, whatever the name: the four letters behind the preamble, or bare elements without either."""
    with open(path, "rb") as file:
        return is_dicom_head(file.read(HEAD_BYTES))


def is_dicom_head(head: bytes) -> bool:
    """Tell DICOM by its first `HEAD_BYTES`."""
    return head[128:] == MAGIC or is_bare(head)


def is_bare(head: bytes) -> bool:
    """Tell whether the first bytes of a file are those of DICOM elements without a preamble.

    They begin with the group of the file's meta information or of identification (0002, 0008), and an element is followed by
    its representation in two letters, or by a length (implicit) that a first element can have.
    """
    if len(head) < 12:
        return False
    for order in "<>":
        group, element = struct.unpack_from(f"{order}HH", head)
        if group not in (2, 8) or element > MAX_FIRST_ELEMENT:
            continue
        if head[4:6] in REPRESENTATIONS:
            return True
        (length,) = struct.unpack_from(f"{order}L", head, 4)
        following = head[8 + length : 10 + length]
        if order == "<" and length <= MAX_FIRST_BYTES and following in (head[:2], b"\x08\0"):
            return True
    return False


def claimed_dicom_pixels(path: str | Path) -> int:
    """Return rows times columns times frames by the header; raises anything on a damaged file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = read_data(path, pixels=False)
        return int(data.get("Rows") or 0) * int(data.get("Columns") or 0) * int(data.get("NumberOfFrames") or 1)


def read_dicom(path: str | Path) -> Slice:
    """Return the slice of a DICOM file: stored values times RescaleSlope plus RescaleIntercept, bright where tissue is bright.

    MONOCHROME1, where low values are bright, is mirrored within its own range. Padding (PixelPaddingValue) becomes the darkest
    value of the picture. RGB, YBR and palette pictures are read where they are grey. `spacing_mm` is PixelSpacing.

    Raises:
        SeveralFrames: it holds more than one.
        InputError: pydicom is missing, no DICOM, no picture in it, colour, a compression that can't be decoded here, or more
            bytes than the picture can have.
    """
    with readable_errors():
        data = read_data(path)
        _check_header(data)
        image, spacing_mm = _pixels(data), spacing_of(data.get("PixelSpacing"))
    return Slice(image=image, source="file", path=str(path), spacing_mm=spacing_mm)


@contextmanager
def readable_errors() -> Iterator[None]:
    """Turn what pydicom and its decoders raise into an `InputError` of one line, and silence their warnings.

    pydicom warns of every odd field of a header; those that are used are checked here.
    """
    try:
        import pydicom
    except ImportError as error:
        raise InputError("reading DICOM needs pydicom: pip install 'bts[dicom]'") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except InputError:
            raise
        except MemoryError as error:
            raise InputError(NO_MEMORY) from error
        except pydicom.errors.InvalidDicomError as error:
            raise InputError("no DICOM file (the letters DICM are missing): export it again") from error
        except Exception as error:  # damaged elements and missing decoders surface as almost anything
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"DICOM that can't be decoded here ({reason}): export it uncompressed, or as PNG") from error


def read_data(path: str | Path, *, pixels: bool = True) -> Any:
    """Return the data set of a file, as `dcmread` does, with limits; without `pixels` it ends before their element."""
    with _opened(path, pixels=pixels) as (data, _):
        return data


def read_frame_data(path: str | Path, wanted: Collection[int]) -> Iterator[tuple[int, Any, Any]]:
    """Yield number (from 1), header and data set of the `wanted` frames of a file, as they are stored.

    The data set has the pixels of that frame only, so a file of any length takes the memory of one frame.

    Raises:
        InputError: no pixels, or fewer than the header claims.
    """
    with _opened(path, pixels=False) as (data, file):
        implicit, little = data.original_encoding
        head = file.read(8 if implicit else 12)
        if len(head) < 8 or head[:4] != struct.pack("<HH" if little else ">HH", 0x7FE0, 0x0010):
            raise InputError("a DICOM file without a picture: name a file of the image series")
        representation = "OW" if implicit else head[4:6].decode("ascii", "replace")
        count = int(data.get("NumberOfFrames") or 1)
        for number, stored in enumerate(_stored_frames(file, data, count), start=1):
            if number in wanted:
                yield number, data, _with_pixels(data, stored, representation)


def _stored_frames(file: BoundedFile, data: Any, count: int) -> Iterator[bytes]:
    """Yield the stored bytes of each frame of a file that stands at its pixels."""
    if is_packed(data):
        from pydicom.encaps import generate_frames

        yield from generate_frames(file, number_of_frames=count)
        return
    values = int(data.Rows) * int(data.Columns) * int(data.get("SamplesPerPixel") or 1)
    allocated = int(data.get("BitsAllocated") or 8)
    if allocated % 8:
        raise InputError(f"values of {allocated} bits: expected whole bytes, export the scan as grey")
    size = values * allocated // 8
    for number in range(1, count + 1):
        stored = file.read(size)
        if len(stored) < size:
            raise InputError(f"it ends within frame {number} of {count}: the file is truncated, export it again")
        yield stored


def _with_pixels(data: Any, stored: bytes, representation: str) -> Any:
    """Return a data set of one frame with what `read_values` needs of a header."""
    from pydicom.dataset import Dataset
    from pydicom.encaps import encapsulate

    one = Dataset()
    for name in READ:
        if name in data and name != "NumberOfFrames":
            one[name] = data[name]
    one.file_meta = data.file_meta
    one.set_original_encoding(*data.original_encoding)
    packed = is_packed(data)
    one.add_new("PixelData", "OB" if packed else representation, encapsulate([stored]) if packed else stored)
    return one


@contextmanager
def _opened(path: str | Path, *, pixels: bool) -> Iterator[tuple[Any, BoundedFile]]:
    """Yield the data set of a file and the file, which stands behind what was read of it."""
    from pydicom.filereader import read_partial

    with open(path, "rb") as begin:
        bare = is_bare(begin.read(HEAD_BYTES))
    with BoundedFile(io.FileIO(path), size=os.path.getsize(path)) as file:
        data = read_partial(file, _check_elements(pixels=pixels), force=bare)
        if file.deflated is None:
            if "TransferSyntaxUID" not in data.file_meta:
                data.file_meta.TransferSyntaxUID = _plain_syntax(data)
            yield data, file
            return
        deflated = file.deflated
    refuse_inflation(deflated, what=DEFLATED, most=MAX_PICTURE_BYTES, wbits=-zlib.MAX_WBITS)
    whole = EXPLICIT + zlib.decompress(deflated, -zlib.MAX_WBITS)
    raw: Any = _Named(whole)
    raw.name = os.fspath(path)
    with BoundedFile(raw, size=len(whole)) as file:
        yield read_partial(file, _check_elements(pixels=pixels)), file


def _plain_syntax(data: Any) -> Any:
    """Return the transfer syntax of a data set that states none: uncompressed, in the layout in which pydicom found it."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    implicit, little = data.original_encoding
    if implicit:
        return ImplicitVRLittleEndian
    return ExplicitVRLittleEndian if little else ExplicitVRBigEndian


class _Named(io.BytesIO):
    """Bytes that have a name, as pydicom asks a file for it."""

    name: str | Path


class BoundedFile(io.BufferedReader):
    """A file that never gives more than it has, in no more pieces than a header has.

    A length of 4 GiB in a header is cut to what is left of the file before memory is taken for it. pydicom reads the whole
    rest, without a length, only to inflate it and to parse it where no limit applies: it gets an empty rest instead.

    Attributes:
        deflated: the rest that pydicom would have inflated, None where it did not ask.
    """

    def __init__(self, raw: io.RawIOBase, *, size: int) -> None:
        super().__init__(raw)
        self._end, self._reads, self._element = size, 0, b""
        self.deflated: bytes | None = None

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes; refuses endless elements, and a list of character sets without end."""
        self._reads += 1
        if self._reads > MAX_DICOM_READS:
            raise InputError("its header has elements without end: the file is damaged, export it again")
        if size is not None and size >= 0:
            if size > MAX_TEXT and self._element in CHARACTER_SET:
                raise InputError(f"its list of character sets has {size} bytes: at most {MAX_TEXT} are accepted")
            found = super().read(min(size, max(self._end - self.tell(), 0)))
            if size == ELEMENT_BYTES:
                self._element = found[:4]
            return found
        self.deflated = super().read()
        return EMPTY


def _check_elements(*, pixels: bool) -> Callable[[Any, str | None, int], bool]:
    """Return what pydicom asks at each element whether to stop: at the pixels, unless they are wanted.

    It refuses more elements than a header has, and long texts of `READ`.
    """
    from pydicom.tag import Tag

    read = {int(Tag(name)): name for name in READ}
    count = 0

    def stop(tag: Any, vr: str | None, length: int) -> bool:
        nonlocal count
        if tag in PIXELS and not pixels:
            return True
        if tag in read and (length > MAX_TEXT or vr == "SQ"):
            content = "a sequence" if vr == "SQ" else f"{length} bytes"
            raise InputError(f"its field {read[tag]} holds {content}: at most {MAX_TEXT} bytes are accepted, export it again")
        count += 1
        if count > MAX_DICOM_ELEMENTS:
            raise InputError(f"a header of more than {MAX_DICOM_ELEMENTS} elements: the file is damaged, export it again")
        return False

    return stop


def _check_header(data: Any) -> None:
    rows, columns = int(data.get("Rows") or 0), int(data.get("Columns") or 0)
    if "PixelData" not in data or min(rows, columns) < 1:
        raise InputError("a DICOM file without a picture: name a file of the image series")
    if max(rows, columns) > MAX_SIDE:
        raise InputError(
            f"a picture of {rows} rows and {columns} columns: at most {MAX_SIDE} a side are accepted, scale it down"
        )
    frames = int(data.get("NumberOfFrames") or 1)
    if frames > 1:
        raise SeveralFrames(f"{frames} frames in one file where one slice is wanted: save the slice that is meant")


def _refuse_bytes(data: Any) -> None:
    """Refuse a picture that its stored bytes can't hold, and a compressed one that claims another size than the header."""
    rows, columns = int(data.Rows), int(data.Columns)
    values = rows * columns * int(data.get("SamplesPerPixel") or 1)
    stored = data.PixelData
    refuse_claim("the picture", claimed=values * max(int(data.get("BitsAllocated") or 8), 8) // 8, stored=len(stored))
    if not is_packed(data):
        return
    from pydicom.encaps import get_frame

    frame = get_frame(stored, 0, number_of_frames=1)
    found = claimed_size(frame)
    if found is not None and (found[:2] != (rows, columns) or found[2] > MAX_COMPONENTS):
        raise InputError(
            f"its compressed picture claims {found[0]} rows, {found[1]} columns and {found[2]} channels, its header "
            f"{rows} rows and {columns} columns: the file is damaged, export it uncompressed"
        )
    if frame.startswith(JPEG):
        refuse_scans(frame)


def read_values(data: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rescaled values (H, W) float64 of a data set with one grey frame, and where it is padded, or None.

    Raises:
        InputError: bytes that the picture can't have, or a compression that can't be decoded here.
    """
    _refuse_bytes(data)
    stored = _stored(data)
    return _rescaled(stored, data), _padding(stored, data)


def _pixels(data: Any) -> np.ndarray:
    kind = str(data.get("PhotometricInterpretation", "MONOCHROME2"))
    if kind in GREY:
        image, padding = read_values(data)
    elif kind == PALETTE or kind == "RGB" or kind.startswith("YBR_"):
        _refuse_bytes(data)
        stored = _stored(data)
        if kind == PALETTE:
            stored = _coloured(stored, data)
        elif stored.ndim != 3 or stored.dtype.kind != "u":
            raise InputError(f"photometric interpretation {kind} without three channels: export the scan as grey")
        image, padding = _rescaled(to_grey(stored), data), None
    else:
        raise InputError(f"photometric interpretation {kind}: expected MONOCHROME1 or MONOCHROME2, export the scan as grey")
    if padding is None or padding.all() or not padding.any():
        return image.max() + image.min() - image if kind == MIRRORED else image
    tissue = image[~padding]
    if kind == MIRRORED:
        image = tissue.max() + tissue.min() - image
    return np.where(padding, tissue.min(), image)


def _rescaled(stored: np.ndarray, data: Any) -> np.ndarray:
    slope, intercept = (float(data.get(name, default)) for name, default in (("RescaleSlope", 1), ("RescaleIntercept", 0)))
    return stored.astype(np.float64) * slope + intercept


def _stored(data: Any) -> np.ndarray:
    """Return the stored values, decoded, and the part of each that BitsStored and HighBit name; YBR becomes RGB."""
    allocated = int(data.get("BitsAllocated") or 8)
    bits = int(data.get("BitsStored") or allocated)
    high = int(data.get("HighBit", bits - 1))
    if high == bits - 1:
        return _decoded(data)
    signed = bool(data.get("PixelRepresentation"))
    if not bits <= high + 1 <= allocated or (is_packed(data) and str(data.file_meta.TransferSyntaxUID) != RLE):
        raise InputError(
            f"values in bits {high - bits + 1} to {high} of {allocated}, which can't be told here: export it uncompressed"
        )
    data.BitsStored, data.HighBit, data.PixelRepresentation = allocated, allocated - 1, 0
    values = _decoded(data).astype(np.int64) >> (high + 1 - bits)
    values &= (1 << bits) - 1
    return np.where(values >> (bits - 1), values - (1 << bits), values) if signed else values


def is_packed(data: Any) -> bool:
    """Tell whether the pixels of a data set are compressed."""
    syntax = data.file_meta.get("TransferSyntaxUID")
    return syntax is not None and bool(syntax.is_encapsulated)


def _decoded(data: Any) -> np.ndarray:
    """Return what the first of the installed decoders that can read a compressed picture makes of it."""
    if not is_packed(data):
        return data.pixel_array
    from pydicom.pixels import get_decoder

    syntax = data.file_meta.TransferSyntaxUID
    try:
        installed = get_decoder(syntax).available_plugins
    except NotImplementedError:  # no picture syntax, or one that pydicom does not know
        installed = ()
    available = [name for name in (RLE_DECODERS if str(syntax) == RLE else DECODERS) if name in installed]
    if not available:
        raise InputError(f"compressed as {syntax.name}, for which no decoder is installed: pip install 'bts[dicom]'")
    last = Exception()
    for plugin in available:
        try:
            data.pixel_array_options(decoding_plugin=plugin)
            return data.pixel_array
        except Exception as error:  # each decoder leaves out some kinds, and says so in its own way
            last = error
    raise last


def _coloured(indices: np.ndarray, data: Any) -> np.ndarray:
    """Return the colours (H, W, 3) that a palette gives to stored values."""
    from pydicom.pixels import apply_color_lut

    if "SegmentedRedPaletteColorLookupTableData" in data:
        raise InputError("a palette in segments, which may unpack without end: export the scan as grey")
    return apply_color_lut(indices, data)[..., :3]


def _padding(stored: np.ndarray, data: Any) -> np.ndarray | None:
    """Return where a picture was padded to its rectangle (PixelPaddingValue, and the range up to its limit), or None."""
    ends = [_stored_number(data.get(name), data) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    first = ends[0]
    if first is None:
        return None
    last = first if ends[1] is None else ends[1]
    return (stored >= min(first, last)) & (stored <= max(first, last))


def _stored_number(value: Any, data: Any) -> int | None:
    """Return a number whose sign its type may leave open, as the stored values have one; None where there is none."""
    if value is None or value == "":
        return None
    if isinstance(value, bytes):
        value = int.from_bytes(value[:2], "little")
    bits = int(data.get("BitsAllocated") or 16)
    found = int(value) % (1 << bits)
    return found - (1 << bits) if data.get("PixelRepresentation") and found >> (bits - 1) else found


def spacing_of(value: Any) -> tuple[float, float] | None:
    """Return a PixelSpacing, which is (between rows, between columns), or None where it is absent or senseless."""
    spacing = [float(part) for part in value or ()]
    usable = len(spacing) == 2 and all(np.isfinite(part) and part > 0 for part in spacing)
    return (spacing[0], spacing[1]) if usable else None
