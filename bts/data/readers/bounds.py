"""Limits on what one file may claim and unpack to, the same for every format.

A reader compares a header's claim with `refuse_claim` before it allocates, and unpacks through `inflate`. A new format
takes its limits from here.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from bts.data.slice import MAX_SIDE
from bts.errors import InputError

MIB = 2**20
MAX_PIXELS = MAX_SIDE**2
"""Most pixels of one slice, and most values of one field of a `.mat` file."""
MAX_PICTURE_BYTES = 2**28
"""Largest decoded slice or field in bytes: `MAX_PIXELS` in 4 bytes each."""
MAX_VOXELS = 2**28
"""Most voxels of a volume (1 GiB as float32); an MRI of 512 x 512 x 400 has 10^8."""
MAX_VOLUME_BYTES = 2**31
"""Largest volume in bytes as it is stored, `MAX_VOXELS` in 8 bytes each."""
MAX_SET_BYTES = 2**35
"""Most bytes of all arrays of one `.npz` file together."""
MAX_INFLATION = 1100
"""Most bytes that one stored byte may claim to hold: deflate reaches 1032, and no scan comes near it."""
FREE_BYTES = 2**24
"""Claim in bytes that is accepted whatever the file's size: small pictures of one grey compress without limit."""
MAX_CHUNKS = 2**16
"""Most chunks of one HDF5 dataset."""
MAX_TEXT = 2**12
"""Most characters of one text field."""
MAX_NIFTI_OFFSET = 2**26
"""Largest offset of the voxels in a NIfTI file, header and extensions before it; they are skipped, not read."""
MAX_DICOM_ELEMENTS = 2**15
"""Most elements of a DICOM header, those in sequences not counted; a slice has hundreds."""
MAX_DICOM_READS = 2**18
"""Most pieces in which a DICOM header is read, a few for each element, those in sequences too."""
MAX_DICOM_FRAMES = 2**14
"""Most frames of one DICOM file; a series over time has thousands."""
MAX_DICOM_GROUPS = 2**25
"""Most bytes of one sequence of functional groups: 2 KiB for each of `MAX_DICOM_FRAMES`."""
MAX_JPEG_SCANS = 200
"""Most passes of one progressive JPEG: each costs the time of a whole picture, whatever its size in the file."""
MAX_PAGES = 100
"""Pages of one TIFF that are counted for the message that refuses them."""
MAX_TAGS = 2**14
"""Most tags of one TIFF, those of its pages counted; a picture has dozens."""
MAX_TAG_VALUES = 2**18
"""Most numbers of one tag of a TIFF: the places of as many tiles of 16 x 16 pixels fill the largest picture."""
MAX_NPY_HEADER = 2**16
"""Largest header in bytes of one array in a `.npz` file."""
MAX_ZIP_MEMBERS = 2**14
"""Most files and folders in one archive of scans."""
MAX_ZIP_BYTES = 2**33
"""Most bytes that the scans of all archives of one job unpack to."""
INFLATED_PIECE = 2**16
"""Bytes of a deflate stream that are unpacked at once."""
READ_MEMORY_MIB = 2048
"""Memory that reading one upload may take."""
READ_SECONDS = 60
"""Time that reading one upload may take."""
READ_LANES = 2
"""Uploads that are read at once."""
NO_MEMORY = "reading it takes more memory than there is: scale it down, or save one slice of it"


def refuse_claim(what: str, *, claimed: int, stored: int, most: int = MAX_PICTURE_BYTES) -> None:
    """Refuse bytes that can't be meant, before any of them is allocated.

    Args:
        what: the subject of the message, such as `field 'image'`.
        claimed: bytes after unpacking, by the header.
        stored: bytes in the file that hold them.
        most: largest claim.

    Raises:
        InputError: over `most`, or more than `MAX_INFLATION` times `stored`.
    """
    if claimed > most:
        raise InputError(f"{what} claims {_in_words(claimed)}: at most {_in_words(most)} are accepted, scale the picture down")
    if claimed > max(FREE_BYTES, MAX_INFLATION * stored):
        raise InputError(
            f"{what} claims {_in_words(claimed)} and {_in_words(stored)} are stored: the file is damaged or made to exhaust "
            "the memory, export it again"
        )


def inflate(data: bytes, *, what: str, most: int, wbits: int = zlib.MAX_WBITS) -> bytearray:
    """Return what a deflate stream holds, and stop unpacking at `most` bytes.

    Raises:
        InputError: it holds more than `most`.
        zlib.error: damaged.
    """
    found = bytearray()
    for part in _inflated(data, wbits):
        found += part
        _refuse_size(len(found), what=what, most=most)
    return found


def refuse_inflation(data: bytes, *, what: str, most: int, wbits: int = zlib.MAX_WBITS) -> None:
    """Refuse a deflate stream that holds more than `most` bytes, keeping none of them; raises as `inflate`."""
    size = 0
    for part in _inflated(data, wbits):
        size += len(part)
        _refuse_size(size, what=what, most=most)


def _inflated(data: bytes, wbits: int) -> Iterator[bytes]:
    """Yield what a deflate stream holds, up to `MIB` at once."""
    stream = zlib.decompressobj(wbits)
    for start in range(0, len(data), INFLATED_PIECE):
        rest = data[start : start + INFLATED_PIECE]
        while rest and not stream.eof:
            yield stream.decompress(rest, MIB)
            rest = stream.unconsumed_tail
        if stream.eof:
            return


def _refuse_size(size: int, *, what: str, most: int) -> None:
    if size > most:
        raise InputError(f"{what} unpacks to more than {_in_words(most)}, the most that is accepted: export it again")


def _in_words(size: int) -> str:
    """Return a number of bytes in a unit that reads well.

    >>> _in_words(2**28), _in_words(5000)
    ('256 MiB', '5000 bytes')
    """
    return f"{size} bytes" if size < MIB else f"{size / MIB:.0f} MiB"
