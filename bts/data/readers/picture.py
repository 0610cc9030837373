"""Picture files as slices, and the one place of the package that opens picture files.

Every depth keeps its values, in grey as in colour. A colour file of a grey scan becomes grey; a coloured one is refused,
because a drawn contour or a colour map would be read as tissue.

Every picture of a user, mask or scan, is opened by `open_picture`: without a list of formats Pillow goes by a file's content,
and a PostScript file named `mask.png` would start Ghostscript. A further format is added to `FORMATS` and to the checks there.
`read_pixels` returns what a file stores, upright, for scans and masks alike.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from bts.data.readers.bounds import MAX_PAGES, MAX_PIXELS, NO_MEMORY, refuse_claim
from bts.data.readers.codestream import refuse_scans
from bts.data.readers.tags import JPEG, orientation, refuse_tags, strip_jpeg
from bts.data.readers.tiff import read_tiff, refuse_header, tiff_header
from bts.data.slice import MAX_SIDE, Slice
from bts.errors import InputError

FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")
NAMES = "picture"
GREY_MODES = ("1", "L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Bytes of a decoded pixel by Pillow's mode; 4 in all others."""
TIFF_COMPRESSIONS = ("raw", "tiff_ccitt", "group3", "group4", "tiff_lzw", "tiff_jpeg", "jpeg", "tiff_adobe_deflate",
                     "tiff_deflate", "tiff_raw_16", "packbits", "zstd")  # fmt: skip
"""Accepted packings of a TIFF. LZMA is left out: a file of 100 bytes may ask it for a dictionary of 4 GiB."""
TILE_SIDES = (322, 323)
"""TIFF tags of the width and height of a tile, for which libtiff allocates whatever the picture's own size."""
COLOUR_TOLERANCE = 24
"""Largest difference between two channels of one pixel, of 255, that still counts as grey: JPEG's rounding of colour stays
under 10, while the faintest line that people draw on a scan is far above."""
TRANSPARENT = "transparent parts of the picture were read as black"
RAW_EXIF = "Raw profile type exif"
"""Key under which ImageMagick writes EXIF into a PNG, in hexadecimal digits."""
XMP_TURN = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
ORIENTATION = 274
TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda array: array[:, ::-1],
    3: lambda array: array[::-1, ::-1],
    4: lambda array: array[::-1],
    5: lambda array: array.swapaxes(0, 1),
    6: lambda array: np.rot90(array, -1),
    7: lambda array: array[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90,
}
"""What brings an array of each orientation upright."""
WEBP_HEAD = 30
"""Bytes of a WebP that tell the size of its canvas."""
DEEP_MODES = {
    "RGB;16B": ("RGB", ("RGB;16B", "RGB;16L")),
    "RGBA;16B": ("RGBA", ("RGBA;16B", "RGBA;16L")),
    "LA;16B": ("RGBA", ("RGBA",)),
}
"""Pillow's names for the PNG layouts of 16 bits that it cuts to 8, and how it gives the high and the low bytes instead: grey
and alpha of 16 bits are as many bytes as RGBA of 8."""
LUMA = (19595, 38470, 7471)
"""Shares of red, green and blue in grey, of 65536: ITU-R 601 as Pillow rounds it."""
FIRST_FRAME = "an animation: only its first frame was read"
FIRST_PICTURE = "{count} pictures in one file: only the first was read"


@dataclass(frozen=True, eq=False)
class Pixels:
    """What a picture file stores, turned as its orientation says.

    Attributes:
        values: (H, W) of any real type, or (H, W, 3) of a colour file; with a palette (H, W) indices.
        alpha: (H, W), 0 where transparent; None in a file without transparency.
        opaque: the value of `alpha` that is opaque.
        premultiplied: whether the values are multiplied with alpha already.
        palette: (n, 4) uint8 red, green, blue and alpha of each index, or None.
        notes: one line each on what was left out.
    """

    values: np.ndarray
    alpha: np.ndarray | None = None
    opaque: float = 255
    premultiplied: bool = False
    palette: np.ndarray | None = None
    notes: tuple[str, ...] = ()


@contextmanager
def open_picture(path: str | Path, *, what: str = NAMES) -> Iterator[ImageFile.ImageFile]:
    """Yield an opened picture of one of `FORMATS` that no pixel was decoded of yet.

    Args:
        path: the file.
        what: it should be, for the message on a damaged one.

    Raises:
        FileNotFoundError: no such file.
        InputError: another format, damaged (also where this shows inside the `with`), too large, more than a picture of this
            size can be packed to, or several pages.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's warnings (bomb, odd tags): what matters of them is refused below in words
        try:
            source, info = _checked(Path(path))
            with _opened(source) as picture:
                picture.info.update(info)
                _check_header(picture, Path(path))
                yield picture
        except (InputError, FileNotFoundError):
            raise
        except MemoryError as error:
            raise InputError(NO_MEMORY) from error
        except Image.DecompressionBombError as error:
            raise InputError(f"a picture of too many pixels: at most {MAX_SIDE} a side are accepted, scale it down") from error
        except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error ... on damaged files
            reason = "no picture in it" if isinstance(error, Image.UnidentifiedImageError) else str(error)[:80]
            raise InputError(f"not a readable {what} ({reason}): export or download it again") from error


def read_pixels(path: str | Path, *, what: str = NAMES) -> Pixels:
    """Return what a picture file stores, in its own depth; raises as `open_picture`."""
    header = tiff_header(path)
    if header is not None and not header.left_to_pillow:
        try:
            found = read_tiff(path, header)
        except MemoryError as error:
            raise InputError(NO_MEMORY) from error
        except (zlib.error, ValueError, IndexError, OverflowError) as error:
            raise InputError(f"not a readable {what} ({str(error)[:80]}): export or download it again") from error
        opaque = 1.0 if header.dtype.kind == "f" else float(np.iinfo(header.dtype).max)
        pixels = Pixels(found.colours, alpha=found.alpha, opaque=opaque, premultiplied=found.premultiplied)
        return _turned(pixels, header.orientation)
    with open_picture(path, what=what) as picture:
        return _turned(_decoded(picture), _orientation(picture))


def read_picture(path: str | Path) -> Slice:
    """Return the slice of a picture file, turned as its EXIF orientation says, without label, mask, patient or spacing.

    Raises:
        InputError: as `open_picture`, or coloured.
    """
    pixels = read_pixels(path)
    image, notes = _grey(pixels)
    return Slice(image=image.astype(np.float32), source="file", path=str(path), warnings=(*pixels.notes, *notes))


def claimed_picture(path: str | Path) -> int:
    """Return rows times columns by the header; raises as `open_picture`."""
    header = tiff_header(path)
    if header is not None and not header.left_to_pillow:
        refuse_header(header, stored=os.path.getsize(path))
        return header.size[0] * header.size[1]
    with open_picture(path) as picture:
        return picture.width * picture.height


def to_grey(colour: np.ndarray) -> np.ndarray:
    """Return the one grey channel of an (H, W, 3) picture whose channels agree within `COLOUR_TOLERANCE`.

    The tolerance is a share of the whole range of unsigned numbers, and of the picture's own range for others.

    Raises:
        InputError: the picture is coloured.
    """
    spread = colour.max(axis=2) - colour.min(axis=2)  # never below 0
    if spread.any():
        top = np.iinfo(colour.dtype).max if colour.dtype.kind == "u" else float(colour.max()) - float(colour.min())
        tinted = spread > COLOUR_TOLERANCE * top / 255
        if tinted.any():
            share = 100 * float(tinted.mean())
            shown = f"{share:.2g}" if share < 99.5 else "100"
            raise InputError(
                f"a coloured picture ({shown}% of its pixels): expected a grey scan without drawings, export it as grey"
            )
    else:
        return colour[..., 0]
    if colour.dtype.kind != "u" or colour.dtype.itemsize > 2:
        return colour.astype(np.float64) @ (np.array(LUMA) / 65536)
    # as Pillow's and MONAI's conversion to "L"; equal channels give exactly their value
    luma = colour.astype(np.uint32) @ np.array(LUMA, np.uint32)
    return ((luma + np.uint32(0x8000)) >> np.uint32(16)).astype(colour.dtype)


def _grey(pixels: Pixels) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return (H, W) values and what the user should know about them."""
    values, alpha, opaque = pixels.values, pixels.alpha, pixels.opaque
    if pixels.palette is not None:
        colours = pixels.palette[values]
        values, alpha, opaque = colours[..., :3], colours[..., 3], 255
    notes: tuple[str, ...] = ()
    if alpha is not None and (alpha != opaque).any():
        notes = (TRANSPARENT,)
        if not pixels.premultiplied:
            share = np.clip(alpha.astype(np.float64) / opaque, 0, 1)
            seen = values * (share if values.ndim == 2 else share[..., None])
            values = seen if values.dtype.kind == "f" else np.rint(seen).astype(values.dtype)
    return (to_grey(values) if values.ndim == 3 else values), notes


def _opened(source: Path | io.BytesIO) -> ImageFile.ImageFile:
    return Image.open(source, formats=FORMATS)


def _checked(path: Path) -> tuple[Path | io.BytesIO, dict[str, Any]]:
    """Return what Pillow may open without copying more than the file holds, and what it then can't tell itself."""
    with path.open("rb") as file:
        head = file.read(WEBP_HEAD)
        if not head.startswith(JPEG):
            _refuse_webp(head)
            refuse_tags(file, size=os.fstat(file.fileno()).st_size)
            return path, {}
        file.seek(0)
        data, exif, pictures = strip_jpeg(file.read())
    refuse_scans(data)
    return io.BytesIO(data), {"pictures": pictures} | ({"exif": exif} if exif else {})


def _refuse_webp(head: bytes) -> None:
    """Refuse a WebP whose canvas is too large: Pillow allocates it twice on opening."""
    if head[:4] != b"RIFF" or head[8:12] != b"WEBP":
        return
    kind, body = head[12:16], head[20:].ljust(10, b"\0")
    width = height = 0
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(body[at : at + 3], "little") for at in (4, 7))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<L", body, 1)
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif kind == b"VP8 ":
        width, height = (size & 0x3FFF for size in struct.unpack_from("<HH", body, 6))
    _refuse_sides(width, height)


def _refuse_sides(width: int, height: int) -> None:
    if max(width, height) > MAX_SIDE:
        raise InputError(
            f"a picture of {height} rows and {width} columns: at most {MAX_SIDE} a side are accepted, scale it down"
        )


def _check_header(picture: ImageFile.ImageFile, path: Path) -> None:
    _refuse_sides(*picture.size)
    pages = _pages(picture)
    if pages > 1:
        count = pages if pages < MAX_PAGES else f"{MAX_PAGES} or more"
        raise InputError(f"{count} pages in one file: expected one slice, save the page that is meant, or a volume as NIfTI")
    claimed = picture.width * picture.height * (8 if _deep(picture) else PIXEL_BYTES.get(picture.mode, 4))
    refuse_claim("the picture", claimed=claimed, stored=path.stat().st_size)
    if picture.format == "TIFF":
        _refuse_packing(picture)


def _pages(picture: Image.Image) -> int:
    """Return the number of pages of a TIFF, which lie scattered over the file; they are counted up to `MAX_PAGES`."""
    if picture.format != "TIFF":
        return 1
    count = 1
    try:
        while count < MAX_PAGES:
            picture.seek(count)
            count += 1
    except EOFError:
        picture.seek(0)
    return count


def _notes(picture: Image.Image) -> tuple[str, ...]:
    """Return what was left out of a file of several pictures."""
    if picture.format in ("GIF", "WEBP", "PNG") and getattr(picture, "is_animated", False):
        return (FIRST_FRAME,)
    pictures = int(picture.info.get("pictures", 1))
    return (FIRST_PICTURE.format(count=pictures),) if pictures > 1 else ()


def _refuse_packing(picture: Image.Image) -> None:
    """Refuse a TIFF whose tiles or packing take memory that the picture's size does not show."""
    packing = picture.info.get("compression")
    if packing not in TIFF_COMPRESSIONS:
        raise InputError(f"a TIFF packed with {packing}: accepted are {', '.join(TIFF_COMPRESSIONS)}, export it as PNG")
    tags = getattr(picture, "tag_v2", {})
    sides = [int(tags.get(tag, 0)) for tag in TILE_SIDES]
    if max(sides) > MAX_SIDE or sides[0] * sides[1] > MAX_PIXELS:
        raise InputError(f"a TIFF with tiles of {sides[1]} x {sides[0]} pixels: at most {MAX_SIDE} a side, export it as PNG")


def _orientation(picture: Image.Image) -> int:
    """Return how a picture is to be turned by its EXIF, or its XMP where it has none; 1 to 8, 1 where it is upright."""
    if picture.format == "TIFF":  # its tags are checked; EXIF in other formats may copy its bytes for each tag
        found = getattr(picture, "tag_v2", {}).get(ORIENTATION, 1)
        return found if isinstance(found, int) else 1
    exif, raw = picture.info.get("exif"), str(picture.info.get(RAW_EXIF, ""))
    if not exif and raw:
        with contextlib.suppress(ValueError):
            exif = bytes.fromhex("".join(raw.split("\n")[3:]))
    turned = orientation(exif or b"")
    if turned == 1:
        xmp = picture.info.get("XML:com.adobe.xmp") or picture.info.get("xmp") or b""
        found = XMP_TURN.search(xmp.encode() if isinstance(xmp, str) else xmp)
        turned = int(found[1]) if found else 1
    return turned


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    turn = TURNS.get(orientation)
    if turn is None:
        return pixels
    return replace(pixels, values=turn(pixels.values), alpha=None if pixels.alpha is None else turn(pixels.alpha))


def _deep(picture: ImageFile.ImageFile) -> str:
    """Return Pillow's name for a PNG layout of 16 bits that it would cut to 8, or an empty string."""
    if picture.format != "PNG" or not picture.tile:
        return ""
    name = str(picture.tile[0].args)
    return name if name in DEEP_MODES else ""


def _decoded(picture: ImageFile.ImageFile) -> Pixels:
    """Return the pixels of an opened picture as they are stored."""
    notes, deep = _notes(picture), _deep(picture)
    if deep:
        return replace(_decoded_deep(picture, deep), notes=notes)
    picture.load()
    transparency = picture.info.get("transparency")
    if picture.mode in ("1", *GREY_MODES):
        return Pixels(np.asarray(picture.convert("L") if picture.mode == "1" else picture), notes=notes)
    if picture.mode == "P":
        return Pixels(np.asarray(picture), palette=_palette(picture), notes=notes)
    if picture.mode == "LA":
        array = np.asarray(picture)
        return Pixels(array[..., 0], alpha=array[..., 1], notes=notes)
    if picture.mode == "RGB" and transparency is None:
        return Pixels(np.asarray(picture), notes=notes)
    if picture.has_transparency_data:
        array = np.asarray(picture.convert("RGBA"))
        return Pixels(array[..., :3], alpha=array[..., 3], notes=notes)
    return Pixels(np.asarray(picture.convert("RGB")), notes=notes)


def _palette(picture: Image.Image) -> np.ndarray:
    """Return (256, 4) uint8: the colour and alpha of each index; indices behind the palette are black."""
    found = np.zeros((256, 4), np.uint8)
    found[:, 3] = 255
    assert picture.palette is not None
    colours = np.frombuffer(picture.palette.tobytes(), np.uint8)
    channels = len(picture.palette.mode)
    colours = colours[: len(colours) - len(colours) % channels].reshape(-1, channels)[:256]
    found[: len(colours), :channels] = colours
    transparency = picture.info.get("transparency")
    if isinstance(transparency, bytes):
        found[: len(transparency[:256]), 3] = np.frombuffer(transparency[:256], np.uint8)
    elif isinstance(transparency, int) and 0 <= transparency < 256:
        found[transparency, 3] = 0
    return found


def _decoded_deep(picture: ImageFile.ImageFile, layout: str) -> Pixels:
    """Return the 16 bits of a PNG of several channels; Pillow decodes its high and its low bytes one after the other."""
    mode, halves = DEEP_MODES[layout]
    found = []
    for number, half in enumerate(halves):
        one = picture if number == 0 else _opened(Path(os.fsdecode(picture.filename)))
        one._mode = mode  # as Pillow's own readers set it before the pixels are decoded
        one.tile = [part._replace(args=half) for part in one.tile]
        one.load()
        found.append(np.asarray(one))
        if number:
            one.close()
    if len(found) == 1:
        array = np.ascontiguousarray(found[0]).view(">u2").astype(np.uint16)  # (H, W, 2)
        return Pixels(array[..., 0], alpha=array[..., 1], opaque=65535)
    array = (found[0].astype(np.uint16) << 8) | found[1]
    if array.shape[2] == 4:
        return Pixels(array[..., :3], alpha=array[..., 3], opaque=65535)
    transparency = picture.info.get("transparency")
    if not isinstance(transparency, tuple):
        return Pixels(array)
    clear = (array == np.array(transparency, np.uint16)).all(axis=2)
    return Pixels(array, alpha=np.where(clear, 0, 65535).astype(np.uint16), opaque=65535)
