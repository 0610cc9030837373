"""The `Slice`: one image with its metadata, which every reader returns and everything else takes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bts.data.enhance import Box
from bts.errors import InputError

MAX_SIDE = 8192
"""Longest accepted side in pixels; a larger picture is not an MRI slice and would only exhaust the memory."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One image with its metadata.

    Attributes:
        image: (H, W) float32 as read (no scaling), row then column, first row at the top.
        source: name of the source it came from, `"file"` for a single file.
        path: its path, for messages and tables.
        label: class name, or None if unknown.
        mask: (H, W) bool, True inside the tumour, or None if there is no mask.
        patient: patient ID as the source writes it, or None.
        spacing_mm: (row, column) distance between pixel centres in millimetres, or None.
        index: position in its volume along the chosen axis, or None for a single picture.
        content: part inside of the constant margin that all slices of its volume share, None for a single picture.
        synthetic: True for a phantom; every output made from it is marked as such.
        warnings: one line each, shown to the user with the result.
    """

    image: np.ndarray
    source: str
    path: str
    label: str | None = None
    mask: np.ndarray | None = None
    patient: str | None = None
    spacing_mm: tuple[float, float] | None = None
    index: int | None = None
    content: Box | None = None
    synthetic: bool = False
    warnings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        image = np.asarray(self.image)
        with np.errstate(over="ignore"):  # what float32 can't hold is refused below
            image = image.astype(np.float32, copy=False)
        if image.ndim != 2 or min(image.shape) < 2:
            raise InputError(f"expected one grey slice (rows, columns), received an array of shape {image.shape}")
        if max(image.shape) > MAX_SIDE:
            raise InputError(f"a side of {max(image.shape)} pixels: at most {MAX_SIDE} are accepted, scale the picture down")
        if not np.isfinite(image).all():
            raise InputError("the picture holds NaN or infinite values: replace them before use")
        if image.min() == image.max():
            raise InputError(f"the picture is constant (every pixel is {image.flat[0]:g}): there is nothing to see in it")
        object.__setattr__(self, "image", np.ascontiguousarray(image, dtype=np.float32))
        if self.mask is not None:
            mask = np.asarray(self.mask)
            if mask.shape != image.shape:
                raise InputError(f"mask of shape {mask.shape} on a picture of shape {image.shape}: both must be equal")
            object.__setattr__(self, "mask", np.ascontiguousarray(mask, dtype=bool))
