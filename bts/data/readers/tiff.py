"""TIFF pictures whose numbers Pillow would cut to 8 bits or not open: signed, floating-point, and deep with several channels.

Strips and tiles are unpacked here, within the limits of `bts.data.readers.bounds`; every other TIFF is left to Pillow.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from bts.data.readers.bounds import MAX_PIXELS, MAX_TAG_VALUES, inflate, refuse_claim
from bts.data.readers.tags import BIG_ENDIAN_BIGTIFF, SIZES, TIFF, Tag, read_at, read_directory, refuse_tags
from bts.data.slice import MAX_SIDE
from bts.errors import InputError

UNSIGNED, SIGNED, FLOAT = 1, 2, 3
"""Values of the tag SampleFormat."""
KINDS = {UNSIGNED: "u", SIGNED: "i", FLOAT: "f"}
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
"""Values of the tag PhotometricInterpretation that are decoded here."""
PREMULTIPLIED, ALPHA = 1, 2
"""Values of the tag ExtraSamples: alpha whose colours are, or are not, multiplied with it."""
NO_PACKING, LZW, PACKBITS = 1, 5, 32773
DEFLATE = (8, 32946)
PACKINGS = (NO_PACKING, LZW, PACKBITS, *DEFLATE)
PLAIN, DIFFERENCES, FLOAT_DIFFERENCES = 1, 2, 3
"""Values of the tag Predictor."""
MAX_LZW_BYTES = 2**25
"""Most bytes that are unpacked from LZW, which is done in Python: about ten seconds."""
END, CLEAR = 257, 256
"""Codes of LZW."""


@dataclass(frozen=True)
class TiffHeader:
    """The tags of the first page that its pixels depend on.

    Attributes:
        order: `<` or `>`.
        size: (rows, columns).
        bits: of each value, one for each channel.
        kind: of the values, as the tag SampleFormat counts.
        photometric: what the values mean, as PhotometricInterpretation counts.
        packing: as Compression counts.
        predictor: as Predictor counts.
        planes: whether the channels lie one behind the other.
        extra: meaning of each channel behind the colours.
        tiled: whether the picture is stored in tiles, in strips otherwise.
        tile: (rows, columns) of a strip or tile.
        offsets: of the strips or tiles.
        counts: bytes of each.
        reversed: whether the bits of a byte are stored the other way round.
        orientation: 1 to 8, as Exif counts.
    """

    order: str
    size: tuple[int, int]
    bits: tuple[int, ...]
    kind: int
    photometric: int
    packing: int
    predictor: int
    planes: bool
    extra: tuple[int, ...]
    tiled: bool
    tile: tuple[int, int]
    offsets: tuple[int, ...]
    counts: tuple[int, ...]
    reversed: bool
    orientation: int

    @property
    def left_to_pillow(self) -> bool:
        """Whether Pillow keeps the values: up to 8 bits without a sign, or one channel of 16 where 0 is black.

        Other packings than those unpacked here are left to it where it knows the type.
        """
        alone = len(self.bits) == 1 and self.photometric == BLACK_IS_ZERO
        if self.kind == UNSIGNED and (max(self.bits) <= 8 or (alone and self.bits[0] <= 16)):
            return True
        return alone and self.order == "<" and self.bits[0] in (16, 32) and self.packing not in PACKINGS

    @property
    def dtype(self) -> np.dtype:
        """Type of the values; raises `InputError` where NumPy has none."""
        widths = (16, 32, 64) if self.kind == FLOAT else (8, 16, 32, 64)
        if self.kind not in KINDS or len(set(self.bits)) != 1 or self.bits[0] not in widths:
            depths = " + ".join(map(str, self.bits[:5]))
            raise InputError(
                f"a TIFF with {depths} bits a pixel in sample format {self.kind}: accepted are whole numbers of 8 to 64 bits "
                "and floating-point numbers of 16 to 64, export it as PNG or NIfTI"
            )
        return np.dtype(f"{self.order}{KINDS[self.kind]}{self.bits[0] // 8}")


@dataclass(frozen=True)
class TiffPixels:
    """What the first page holds.

    Attributes:
        colours: (H, W), or (H, W, 3) of a colour picture, as stored but for a page where 0 is white, which is mirrored.
        alpha: (H, W) in the same type, or None.
        premultiplied: whether the colours are multiplied with alpha.
    """

    colours: np.ndarray
    alpha: np.ndarray | None
    premultiplied: bool


def tiff_header(path: str | Path) -> TiffHeader | None:
    """Return the header of a TIFF; None for any other file, and for one too damaged to recognise.

    Raises:
        InputError: its tags claim too much.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        head = read_at(file, 0, 16, size).ljust(16, b"\0")
        if head[:4] not in TIFF or head[:4] == BIG_ENDIAN_BIGTIFF:
            return None
        refuse_tags(file, size=size)
        order, big = ("<" if head[:2] == b"II" else ">"), head[2] == 43
        (page,) = struct.unpack_from(f"{order}Q", head, 8) if big else struct.unpack_from(f"{order}L", head, 4)
        found, _ = read_directory(file, page, order=order, big=big, size=size)
        values = {tag.number: _values(file, tag, order=order, big=big, size=size) for tag in found if tag.number in TAGS}
    try:
        return _header(values, order)
    except (KeyError, IndexError, ValueError):
        return None


TAGS = (256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 322, 323, 324, 325, 338, 339)


def _values(file: BinaryIO, tag: Tag, *, order: str, big: bool, size: int) -> tuple[int, ...]:
    """Return the whole numbers of a tag, none for another type."""
    form = {1: "B", 3: "H", 4: "L", 13: "L", 16: "Q", 18: "Q"}.get(tag.kind)
    if form is None or tag.values > MAX_TAG_VALUES:
        return ()
    count = tag.values * SIZES[tag.kind]
    data = tag.field
    if count > len(data):
        data = read_at(file, int.from_bytes(data, "little" if order == "<" else "big"), count, size)
    if len(data) < count:
        return ()
    return struct.unpack(f"{order}{tag.values}{form}", data[:count])


def _header(values: dict[int, tuple[int, ...]], order: str) -> TiffHeader:
    def one(number: int, default: int | None = None) -> int:
        found = values.get(number) or (() if default is None else (default,))
        return found[0]

    columns, rows, samples = one(256), one(257), one(277, 1)
    if not 1 <= samples <= 16:
        raise ValueError("no plausible number of channels")
    bits, kinds = values.get(258) or (1,), values.get(339) or (UNSIGNED,)
    tiled = 322 in values
    return TiffHeader(
        order=order,
        size=(rows, columns),
        bits=bits * samples if len(bits) == 1 else bits[:samples],
        kind=kinds[0] if len(set(kinds)) == 1 else 0,
        photometric=one(262, BLACK_IS_ZERO),
        packing=one(259, NO_PACKING),
        predictor=one(317, PLAIN),
        planes=one(284, 1) == 2 and samples > 1,
        extra=values.get(338, ()),
        tiled=tiled,
        tile=(one(323), one(322)) if tiled else (min(one(278, rows), rows), columns),
        offsets=values[324] if tiled else values[273],
        counts=values[325] if tiled else values.get(279, ()),
        reversed=one(266, 1) == 2,
        orientation=one(274, 1),
    )


def refuse_header(header: TiffHeader, *, stored: int) -> None:
    """Refuse what can't be unpacked here or claims too much; `stored` is the size of the file in bytes."""
    rows, columns = header.size
    if max(rows, columns) > MAX_SIDE:
        raise InputError(
            f"a picture of {rows} rows and {columns} columns: at most {MAX_SIDE} a side are accepted, scale it down"
        )
    dtype, channels = header.dtype, len(header.bits)
    colours = 3 if header.photometric == RGB else 1
    extra = channels - colours
    if header.photometric not in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB) or extra < 0 or (extra and not _extra_is_told(header)):
        raise InputError(
            f"a TIFF of {channels} channels with photometric interpretation {header.photometric}: expected grey or RGB, with "
            "or without alpha, export it as grey"
        )
    height, width = header.tile
    if min(rows, columns, height, width) < 1 or max(height, width) > MAX_SIDE or height * width > MAX_PIXELS:
        raise InputError(
            f"a TIFF with strips or tiles of {width} x {height} pixels: at most {MAX_SIDE} a side, export it as PNG"
        )
    claimed = max(rows * columns, height * width) * channels * dtype.itemsize
    refuse_claim("the picture", claimed=claimed, stored=stored)
    if header.packing not in PACKINGS or header.reversed:
        packing = "its bits reversed" if header.reversed else f"compression {header.packing}"
        raise InputError(
            f"a TIFF of {channels} x {header.bits[0]} bits with {packing}: such are accepted uncompressed or with deflate, LZW "
            "or PackBits, export it as PNG"
        )
    if header.packing == LZW and claimed > MAX_LZW_BYTES:
        raise InputError(f"a TIFF of {claimed} bytes packed with LZW: at most {MAX_LZW_BYTES} are accepted, use deflate or PNG")
    if header.predictor not in (PLAIN, DIFFERENCES, FLOAT_DIFFERENCES):
        raise InputError(f"a TIFF with predictor {header.predictor}: expected 1, 2 or 3, export it as PNG")


def _extra_is_told(header: TiffHeader) -> bool:
    """Tell whether the channels behind the colours are known: by their tag, or a fourth one of RGB, which is alpha."""
    return bool(header.extra) or (header.photometric == RGB and len(header.bits) == 4)


def read_tiff(path: str | Path, header: TiffHeader) -> TiffPixels:
    """Return the pixels of a page whose header `refuse_header` accepts.

    Raises:
        InputError: damaged: strips that are missing, cut off or hold more than they may.
    """
    refuse_header(header, stored=os.path.getsize(path))
    with open(path, "rb") as file:
        array = _unpacked(file, header)
    colours = array[..., :3] if header.photometric == RGB else array[..., 0]
    first = 3 if header.photometric == RGB else 1
    alpha, premultiplied = None, False
    if array.shape[2] > first:
        meaning = header.extra[0] if header.extra else ALPHA
        if meaning in (PREMULTIPLIED, ALPHA):
            alpha, premultiplied = array[..., first], meaning == PREMULTIPLIED
    if header.photometric == WHITE_IS_ZERO:
        colours = mirrored(colours)
    return TiffPixels(colours=colours, alpha=alpha, premultiplied=premultiplied)


def mirrored(values: np.ndarray) -> np.ndarray:
    """Return bright for dark: within the whole range of 8 and 16 bits without a sign, else within the picture's own range."""
    if values.dtype.kind == "u" and values.dtype.itemsize <= 2:
        return np.iinfo(values.dtype).max - values
    if not np.isfinite(values).all():
        return values  # refused as a slice
    low, high = values.min(), values.max()
    if values.dtype.kind in "iu":
        return high - values + low  # wraps and unwraps again
    return np.float64(low) + np.float64(high) - values.astype(np.float64)


def _unpacked(file: BinaryIO, header: TiffHeader) -> np.ndarray:
    """Return (H, W, channels) of all strips or tiles, in native byte order."""
    (rows, columns), (height, width) = header.size, header.tile
    stored, channels = header.dtype, len(header.bits)
    found = np.zeros((rows, columns, channels), stored.newbyteorder("="))
    layers = [[channel] for channel in range(channels)] if header.planes else [list(range(channels))]
    down, across = -(-rows // height), -(-columns // width)
    pieces = len(layers) * down * across
    size = os.fstat(file.fileno()).st_size
    counts = header.counts if header.counts else (size,) * pieces
    if len(header.offsets) < pieces or len(counts) < pieces:
        raise InputError(
            f"a TIFF with {min(len(header.offsets), len(counts))} of {pieces} strips: it is damaged, export it again"
        )
    for number in range(pieces):
        layer, place = divmod(number, down * across)
        top, left = place // across * height, place % across * width
        # strips end with the picture, tiles reach beyond it
        tall = height if header.tiled else min(height, rows - top)
        shape = (tall, width, len(layers[layer]))
        packed = read_at(file, header.offsets[number], counts[number], size)
        piece = _piece(packed, shape, header, stored)[: rows - top, : columns - left]
        found[top : top + height, left : left + width, layers[layer]] = piece
    return found


def _piece(packed: bytes, shape: tuple[int, int, int], header: TiffHeader, stored: np.dtype) -> np.ndarray:
    """Return one strip or tile (rows, columns, channels)."""
    wanted = int(np.prod(shape)) * stored.itemsize
    if header.packing in DEFLATE:
        data = bytes(inflate(packed, what="a strip of the picture", most=max(2 * wanted, wanted + 2**12)))
    elif header.packing == LZW:
        data = _lzw(packed, wanted)
    elif header.packing == PACKBITS:
        data = _packbits(packed, wanted)
    else:
        data = packed
    if len(data) < wanted:
        raise InputError(f"a TIFF strip of {len(data)} bytes where {wanted} belong: the file is truncated, export it again")
    data = data[:wanted]
    if header.predictor == FLOAT_DIFFERENCES:
        return _from_float_differences(data, shape, stored)
    piece = np.frombuffer(data, stored).astype(stored.newbyteorder("=")).reshape(shape)
    if header.predictor != DIFFERENCES:
        return piece
    if stored.kind == "f":  # differences of the bits
        whole = piece.view(f"u{stored.itemsize}")
        return np.cumsum(whole, axis=1, dtype=whole.dtype).view(piece.dtype)
    return np.cumsum(piece, axis=1, dtype=piece.dtype)


def _from_float_differences(data: bytes, shape: tuple[int, int, int], stored: np.dtype) -> np.ndarray:
    """Undo predictor 3 (Adobe Photoshop TIFF technical note 3): differences of bytes, highest bytes of a row first."""
    rows, columns, channels = shape
    steps = np.frombuffer(data, np.uint8).reshape(rows, columns * stored.itemsize, channels)
    planes = np.cumsum(steps, axis=1, dtype=np.uint8).reshape(rows, stored.itemsize, columns * channels)
    ordered = np.ascontiguousarray(planes.swapaxes(1, 2))  # (rows, columns * channels, bytes), highest first
    return ordered.view(stored.newbyteorder(">")).astype(stored.newbyteorder("=")).reshape(shape)


def _packbits(packed: bytes, wanted: int) -> bytes:
    found, at = bytearray(), 0
    while at < len(packed) and len(found) < wanted:
        count = packed[at]
        at += 1
        if count < 128:
            found += packed[at : at + count + 1]
            at += count + 1
        elif count > 128:
            found += packed[at : at + 1] * (257 - count)
            at += 1
    return bytes(found)


def _lzw(packed: bytes, wanted: int) -> bytes:
    """Return what TIFF's LZW holds (TIFF 6.0, section 13), up to the `wanted` bytes."""
    if packed[:1] == b"\0" and len(packed) > 1 and packed[1] & 1:
        raise InputError("a TIFF packed with LZW in its form before 1988: export it again, uncompressed or as PNG")
    start = [bytes((value,)) for value in range(256)] + [b"", b""]
    table, width, previous = list(start), 9, b""
    found = bytearray()
    bits = kept = 0
    for byte in packed:
        kept = (kept << 8) | byte
        bits += 8
        if bits < width:
            continue
        bits -= width
        code, kept = kept >> bits, kept & ((1 << bits) - 1)
        if code == END or len(found) >= wanted:
            break
        if code == CLEAR:
            table, width, previous = list(start), 9, b""
            continue
        if code < len(table):
            entry = table[code]
        elif code == len(table) and previous:
            entry = previous + previous[:1]
        else:
            break
        found += entry
        if previous and len(table) < 4096:
            table.append(previous + entry[:1])
        previous = entry
        width = min(max(9, (len(table) + 1).bit_length()), 12)
    return bytes(found[:wanted])
