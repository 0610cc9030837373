"""Mask files: pictures, NIfTI and `.mat` files reduced to one value per pixel, which `to_mask` turns into a binary mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bts.data.masks import FEW, LABELS_SETTING, NOISE, to_mask
from bts.data.readers.catalogue import suffix
from bts.data.readers.picture import open_picture, upright_picture
from bts.errors import InputError

LOSSY = ("JPEG", "MPO")


def read_mask(path: Path, *, labels: Sequence[int] = ()) -> np.ndarray:
    """Return the mask in a file as (H, W) bool; an empty mask is a mask.

    Args:
        path: a picture, a NIfTI file of one plane, a `.npy` array, or a figshare `.mat` file.
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
    with open_picture(path, what="mask picture") as picture:
        return picture_values(picture, labels=labels), picture.format in LOSSY


def picture_values(picture: Image.Image, *, labels: Sequence[int] = ()) -> np.ndarray:
    """Return one value per pixel (H, W) of an opened mask picture: 0 for black, transparent, or index 0 with `labels`.

    The picture is turned as its own EXIF orientation says, as scans are.

    Raises:
        InputError: background and tumour can't be told by colour and transparency.
    """
    mode = picture.mode
    picture.load()
    found = upright_picture(picture)
    if mode == "P" and labels:
        return np.asarray(found)
    if found.has_transparency_data:
        rgba = np.asarray(found.convert("RGBA"))
        return _with_alpha(_colour_values(rgba[..., :3], labels), rgba[..., 3])
    if mode == "P":
        return _palette_values(found)
    if mode in ("1", "L", "I", "F") or mode.startswith("I;16"):
        return np.asarray(found)
    return _colour_values(np.asarray(found.convert("RGB")), labels)


def _colour_values(rgb: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Return the brightest channel (H, W) of an (H, W, 3) picture, or 0 and 1 where its colours are labels."""
    values = rgb.max(axis=2)
    if np.array_equal(values, rgb.min(axis=2)):
        return values
    if labels:
        raise InputError("a coloured mask beside data.mask_labels: expected label numbers, in grey or as a palette")
    codes = (rgb.astype(np.uint32) << np.array([16, 8, 0], np.uint32)).sum(axis=2)
    colours = np.unique(codes)
    return _by_hue(values, np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1))


def _by_hue(values: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Return the values, or 0 and 1 where several hues on black tell labels apart.

    Args:
        values: (H, W) brightest channel.
        colours: (n, 3) of the picture.
    """
    top = colours[colours.max(axis=1).argmax()].astype(float)
    along = np.outer(colours.max(axis=1), top) / max(top.max(), 1)
    is_one_hue = bool(np.abs(along - colours).max() <= NOISE)  # shades of one colour may be edges
    return values if is_one_hue or len(colours) > FEW else np.where(values > 0, 1, 0).astype(np.uint8)


def _palette_values(picture: Image.Image) -> np.ndarray:
    """Return the values of a palette picture by colour, whichever index is black."""
    index = np.asarray(picture)
    stored = np.array(picture.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    palette = np.zeros((256, 3), np.uint8)
    palette[: len(stored)] = stored[:256]
    used = np.unique(index)
    black = [number for number in used if not palette[number].any()]
    if len(black) > 1:
        raise InputError(
            f"{len(black)} palette entries of the mask are black ({', '.join(map(str, black))}), so labels and background "
            f"can't be told apart: {LABELS_SETTING}"
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
