"""PNG, JPEG and TIFF pictures as slices, and the one place of the package that opens picture files.

16-bit and floating-point pictures keep their values. A colour file of a grey scan becomes grey; a coloured one is refused,
because a drawn contour or a colour map would be read as tissue.

Every picture of a user, mask or scan, is opened by `open_picture`: without a list of formats Pillow goes by a file's content,
and a PostScript file named `mask.png` would start Ghostscript. A further format is added to `FORMATS` and to the checks there.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from bts.data.readers.bounds import MAX_PAGES, MAX_PIXELS, NO_MEMORY, refuse_claim
from bts.data.readers.codestream import refuse_scans
from bts.data.readers.tags import JPEG, orientation, refuse_tags, strip_jpeg
from bts.data.slice import MAX_SIDE, Slice
from bts.errors import InputError

FORMATS = ("PNG", "JPEG", "TIFF")
NAMES = "PNG, JPEG or TIFF"
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
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings a picture of each orientation upright."""
WHITE_IS_ZERO = (262, 0)  # TIFF tag and value; Pillow minds it in 8 bits but not in 16


@contextmanager
def open_picture(path: str | Path, *, what: str = NAMES) -> Iterator[Image.Image]:
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
            source, told = _checked(Path(path))
            with Image.open(source, formats=FORMATS) as picture:
                picture.info.update(told)
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


def read_picture(path: str | Path) -> Slice:
    """Return the slice of a picture file, turned as its EXIF orientation says, without label, mask, patient or spacing.

    Raises:
        InputError: as `open_picture`, or coloured.
    """
    with open_picture(path) as picture:
        image, notes = _pixels(picture)
    return Slice(image=image.astype(np.float32), source="file", path=str(path), warnings=notes)


def to_grey(colour: np.ndarray) -> np.ndarray:
    """Return the one grey channel of an (H, W, 3) uint8 picture whose channels agree within `COLOUR_TOLERANCE`.

    Raises:
        InputError: the picture is coloured.
    """
    spread = colour.max(axis=2) - colour.min(axis=2)  # never below 0
    if spread.max() > COLOUR_TOLERANCE:
        share = 100 * float((spread > COLOUR_TOLERANCE).mean())
        shown = f"{share:.2g}" if share < 99.5 else "100"
        raise InputError(
            f"a coloured picture ({shown}% of its pixels): expected a grey scan without drawings, export it as grey"
        )
    # the luma of ITU-R 601, as Pillow's and MONAI's conversion to "L"; equal channels give exactly their value
    return np.asarray(Image.fromarray(colour).convert("L"))


def _checked(path: Path) -> tuple[Path | io.BytesIO, dict[str, Any]]:
    """Return what Pillow may open without copying more than the file holds, and what it then can't tell itself."""
    with path.open("rb") as file:
        if file.read(len(JPEG)) != JPEG:
            refuse_tags(file, size=os.fstat(file.fileno()).st_size)
            return path, {}
        file.seek(0)
        data, exif, pages = strip_jpeg(file.read())
    refuse_scans(data)
    return io.BytesIO(data), {"pages": pages} | ({"exif": exif} if exif else {})


def _check_header(picture: Image.Image, path: Path) -> None:
    if max(picture.size) > MAX_SIDE:
        size = f"{picture.height} rows and {picture.width} columns"
        raise InputError(f"a picture of {size}: at most {MAX_SIDE} a side are accepted, scale it down")
    pages = _pages(picture)
    if pages > 1:
        told = pages if pages < MAX_PAGES else f"{MAX_PAGES} or more"
        raise InputError(f"{told} pages in one file: expected one slice, save the page that is meant, or a volume as NIfTI")
    claimed = picture.width * picture.height * PIXEL_BYTES.get(picture.mode, 4)
    refuse_claim("the picture", claimed=claimed, stored=path.stat().st_size)
    if picture.format == "TIFF":
        _refuse_packing(picture)


def _pages(picture: Image.Image) -> int:
    """Return the number of pages; those of a TIFF, which lie scattered over the file, are counted up to `MAX_PAGES`."""
    if picture.format != "TIFF":
        return max(int(getattr(picture, "n_frames", 1)), int(picture.info.get("pages", 1)))
    count = 1
    try:
        while count < MAX_PAGES:
            picture.seek(count)
            count += 1
    except EOFError:
        picture.seek(0)
    return count


def _refuse_packing(picture: Image.Image) -> None:
    """Refuse a TIFF whose tiles or packing take memory that the picture's size does not show."""
    packing = picture.info.get("compression")
    if packing not in TIFF_COMPRESSIONS:
        raise InputError(f"a TIFF packed with {packing}: accepted are {', '.join(TIFF_COMPRESSIONS)}, export it as PNG")
    tags = getattr(picture, "tag_v2", {})
    sides = [int(tags.get(tag, 0)) for tag in TILE_SIDES]
    if max(sides) > MAX_SIDE or sides[0] * sides[1] > MAX_PIXELS:
        raise InputError(f"a TIFF with tiles of {sides[1]} x {sides[0]} pixels: at most {MAX_SIDE} a side, export it as PNG")


def upright_picture(picture: Image.Image) -> Image.Image:
    """Return a loaded picture turned as its EXIF says, or its XMP where it has none."""
    if picture.format == "TIFF":
        return ImageOps.exif_transpose(picture)  # its tags are checked; EXIF in other formats may copy its bytes for each tag
    exif, raw = picture.info.get("exif"), str(picture.info.get(RAW_EXIF, ""))
    if not exif and raw:
        with contextlib.suppress(ValueError):
            exif = bytes.fromhex("".join(raw.split("\n")[3:]))
    turned = orientation(exif or b"")
    if turned == 1:
        xmp = picture.info.get("XML:com.adobe.xmp") or picture.info.get("xmp") or b""
        found = XMP_TURN.search(xmp.encode() if isinstance(xmp, str) else xmp)
        turned = int(found[1]) if found else 1
    return picture.transpose(TURNS[turned]) if turned in TURNS else picture


def _pixels(picture: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return (H, W) values and what the user should know about them."""
    tag, value = WHITE_IS_ZERO
    inverted = picture.mode.startswith("I;16") and getattr(picture, "tag_v2", {}).get(tag) == value
    picture.load()
    upright = upright_picture(picture)
    if upright.mode in GREY_MODES:
        image = np.asarray(upright.convert("L") if upright.mode == "1" else upright)
        return (65535 - image.astype(np.int64) if inverted else image), ()
    if not upright.has_transparency_data:
        return to_grey(np.asarray(upright.convert("RGB"))), ()
    rgba = upright.convert("RGBA")
    notes = () if np.asarray(rgba.getchannel("A")).min() == 255 else (TRANSPARENT,)
    black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
    return to_grey(np.asarray(Image.alpha_composite(black, rgba))[..., :3]), notes
