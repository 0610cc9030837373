"""How does a PNG, JPEG or TIFF become a slice?

16-bit and floating-point pictures keep their values. A colour file of a grey scan becomes grey; a coloured one is refused,
because a drawn contour or a colour map would be read as tissue.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from bts.data.slice import MAX_SIDE, Slice
from bts.errors import InputError

FORMATS = ("PNG", "JPEG", "TIFF")
GREY_MODES = ("1", "L", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
COLOUR_TOLERANCE = 24
"""Largest difference between two channels of one pixel, of 255, that still counts as grey: JPEG's rounding of colour stays
under 10, while the faintest line that people draw on a scan is far above."""
TRANSPARENT = "transparent parts of the picture were read as black"
WHITE_IS_ZERO = (262, 0)  # TIFF tag and value; Pillow minds it in 8 bits but not in 16


def read_picture(path: str | Path) -> Slice:
    """Return the slice of a picture file, turned as its EXIF orientation says, without label, mask, patient or spacing.

    Raises:
        InputError: damaged, too large (told from the header, before any pixel is decoded), several pages, or coloured.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's warnings (bomb, odd tags): what matters of them is refused below in words
        try:
            with Image.open(path, formats=FORMATS) as picture:
                _check_header(picture)
                image, notes = _pixels(picture)
        except InputError:
            raise
        except Image.DecompressionBombError as error:
            raise InputError(f"a picture of too many pixels: at most {MAX_SIDE} a side are accepted, scale it down") from error
        except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error ... on damaged files
            reason = "no picture in it" if isinstance(error, Image.UnidentifiedImageError) else str(error)[:80]
            raise InputError(f"not a readable PNG, JPEG or TIFF ({reason}): export or download it again") from error
    return Slice(image=image.astype(np.float32), source="file", path=str(path), warnings=notes)


def to_grey(colour: np.ndarray) -> np.ndarray:
    """Return the one grey channel of an (H, W, 3) uint8 picture whose channels agree within `COLOUR_TOLERANCE`.

    Raises:
        InputError: the picture is coloured.
    """
    spread = colour.max(axis=2).astype(int) - colour.min(axis=2)
    if spread.max() > COLOUR_TOLERANCE:
        share = 100 * float((spread > COLOUR_TOLERANCE).mean())
        shown = f"{share:.2g}" if share < 99.5 else "100"
        raise InputError(
            f"a coloured picture ({shown}% of its pixels): expected a grey scan without drawings, export it as grey"
        )
    # the luma of ITU-R 601, as Pillow's and MONAI's conversion to "L"; equal channels give exactly their value
    return np.asarray(Image.fromarray(colour).convert("L"))


def _check_header(picture: Image.Image) -> None:
    if max(picture.size) > MAX_SIDE:
        size = f"{picture.height} rows and {picture.width} columns"
        raise InputError(f"a picture of {size}: at most {MAX_SIDE} a side are accepted, scale it down")
    pages = getattr(picture, "n_frames", 1)
    if pages > 1:
        raise InputError(f"{pages} pages in one file: expected one slice, save the page that is meant, or a volume as NIfTI")


def _pixels(picture: Image.Image) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return (H, W) values and what the user should know about them."""
    tag, value = WHITE_IS_ZERO
    inverted = picture.mode.startswith("I;16") and getattr(picture, "tag_v2", {}).get(tag) == value
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    if upright.mode in GREY_MODES:
        image = np.asarray(upright.convert("L") if upright.mode == "1" else upright)
        return (65535 - image.astype(np.int64) if inverted else image), ()
    if not upright.has_transparency_data:
        return to_grey(np.asarray(upright.convert("RGB"))), ()
    rgba = upright.convert("RGBA")
    notes = () if np.asarray(rgba.getchannel("A")).min() == 255 else (TRANSPARENT,)
    black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
    return to_grey(np.asarray(Image.alpha_composite(black, rgba))[..., :3]), notes
