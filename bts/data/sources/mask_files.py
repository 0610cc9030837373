"""Mask files: pictures, NIfTI and `.mat` files reduced to one value per pixel, which `to_mask` turns into a binary mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bts.data.masks import FEW, LABELS_SETTING, NOISE, to_mask
from bts.data.readers.catalogue import suffix
from bts.data.readers.picture import Pixels, read_pixels
from bts.errors import InputError

OPAQUE = 255


def read_mask(path: Path, *, labels: Sequence[int] = ()) -> np.ndarray:
    """Return the mask in a file as (H, W) bool; an empty mask is a mask.

    Args:
        path: a picture, a NIfTI file of one plane, or a figshare `.mat` file.
        labels: values that are tumour; empty for all but 0.

    Raises:
        InputError: missing, damaged or ambiguous, with the path in front.
    """
    try:
        values, is_lossy = stored_values(path, labels=labels)
        return to_mask(values, labels=labels, is_lossy=is_lossy)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such mask file: correct its name or leave it out") from error
    except InputError as error:
        raise error.at(path) from error
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error}): check the permissions") from error


def stored_values(path: Path, *, labels: Sequence[int] = ()) -> tuple[np.ndarray, bool]:
    """Return the values (H, W) of a mask file, 0 for background, and whether its format is lossy; raises as `read_mask`."""
    kind = suffix(path)
    if kind in (".nii", ".nii.gz"):
        from bts.data.readers.nifti import read_nifti_plane  # here, as nibabel and h5py are slow to import

        return read_nifti_plane(path), False
    if kind == ".mat":
        from bts.data.readers.mat import read_mat_mask

        return read_mat_mask(path), False
    pixels = read_pixels(path, what="mask picture")
    if pixels.notes:
        raise InputError(f"{pixels.notes[0]}: expected one picture in a mask file")
    return picture_values(pixels, labels=labels), _is_lossy(path)


def picture_values(pixels: Pixels, *, labels: Sequence[int] = ()) -> np.ndarray:
    """Return one value per pixel (H, W) of a mask picture: 0 for black, transparent, or index 0 with `labels`.

    Raises:
        InputError: background and tumour can't be told by colour and transparency.
    """
    values, alpha = pixels.values, pixels.alpha
    if pixels.palette is not None:
        if labels:
            return values
        if (pixels.palette[np.unique(values), 3] == OPAQUE).all():
            return _palette_values(values, pixels.palette)
        colours = pixels.palette[values]
        values, alpha = colours[..., :3], colours[..., 3]
    grey = values if values.ndim == 2 else _colour_values(values, labels)
    return grey if alpha is None else _with_alpha(grey, alpha)


def _is_lossy(path: Path) -> bool:
    """Return whether a picture's format keeps no exact values: JPEG, or WebP that is not simply lossless."""
    with path.open("rb") as file:
        head = file.read(16)
    return head.startswith(b"\xff\xd8\xff") or (head[:4] == b"RIFF" and head[8:16] in (b"WEBPVP8 ", b"WEBPVP8X"))


def _colour_values(rgb: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Return the brightest channel (H, W) of an (H, W, 3) picture, or 0 and 1 where its colours are labels."""
    values = rgb.max(axis=2)
    if np.array_equal(values, rgb.min(axis=2)):
        return values
    if labels:
        raise InputError("a coloured mask beside data.mask_labels: expected label numbers, in grey or as a palette")
    colours = np.unique(rgb.reshape(-1, 3), axis=0) if rgb.dtype.itemsize > 1 else _colours(rgb)
    return _by_hue(values, colours)


def _colours(rgb: np.ndarray) -> np.ndarray:
    """Return the colours (n, 3) of an 8-bit picture."""
    codes = np.unique((rgb.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(axis=2))
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=1)


def _by_hue(values: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return the values, or 0 and 1 where several hues on black tell labels apart.

    Args:
        values: (H, W) brightest channel.
        colours: (n, 3) of the picture.
    """
    top = colours[colours.max(axis=1).argmax()].astype(float)
    along = np.outer(colours.max(axis=1), top) / max(top.max(), 1)
    is_one_hue = bool(np.abs(along - colours).max() <= NOISE * max(top.max() / 255, 1))  # shades of one colour may be edges
    return values if is_one_hue or len(colours) > FEW else (values > 0).astype(np.uint8)


def _palette_values(index: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Return the values of a palette picture by colour, whichever index is black."""
    palette = palette[:, :3]
    used = np.unique(index)
    black = [number for number in used if not palette[number].any()]
    if len(black) > 1:
        raise InputError(
            f"{len(black)} palette entries of the mask are black ({', '.join(map(str, black))}), so labels and background "
            f"can't be distinguished: {LABELS_SETTING}"
        )
    return _by_hue(palette.max(axis=1)[index], palette[used])


def _with_alpha(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return the values of a mask with transparency: what tells the tumour is the colour, the transparency, or both alike."""
    if alpha.min() == alpha.max():
        return colour
    if colour.min() == colour.max():
        return alpha
    shown = np.where(alpha > 0, colour, 0)  # transparent is background
    try:
        same = np.array_equal(to_mask(shown), to_mask(alpha))
    except InputError:
        same = False
    if not same:
        raise InputError("colour and transparency of the mask outline different areas: keep one of them, export it as grey")
    return shown
