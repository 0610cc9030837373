"""What does reading a file give? The slices in it, and for a volume what is needed to write a mask back beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bts.data.slice import Slice


@dataclass(frozen=True, eq=False)
class VolumeGeometry:
    """How the slices of a volume lie in the array of the input file.

    The array as stored is first brought to LPS (index 0 grows to the patient's left, 1 to posterior, 2 to superior) by
    swapping and flipping whole axes, never by resampling; slice k along `axis` is then the transposed plane, so that rows
    run down the picture.

    Attributes:
        affine: (4, 4) of the input file, voxel index to millimetres, as stored.
        shape: (3,) of the input array, as stored.
        axis: the axis of the LPS array along which the volume was cut: 0 sagittal, 1 coronal, 2 axial.
        orientation: (3, 2) nibabel orientation transform from the stored array to LPS: target axis and direction (1 or -1).
    """

    affine: np.ndarray
    shape: tuple[int, int, int]
    axis: int
    orientation: np.ndarray

    @property
    def lps_shape(self) -> tuple[int, int, int]:
        """Shape of the array once brought to LPS."""
        shape = [0, 0, 0]
        for stored, (target, _) in enumerate(self.orientation):
            shape[int(target)] = self.shape[stored]
        return shape[0], shape[1], shape[2]

    @property
    def n_slices(self) -> int:
        """Number of slices along `axis`, blank ones too."""
        return self.lps_shape[self.axis]

    @property
    def slice_shape(self) -> tuple[int, int]:
        """Rows and columns of every slice."""
        first, second = (size for axis, size in enumerate(self.lps_shape) if axis != self.axis)
        return second, first

    def restore(self, masks: dict[int, np.ndarray]) -> np.ndarray:
        """Put masks of slices, by index, into one array in the input's own voxel order; slices not named stay 0.

        Args:
            masks: index along `axis` to (H, W) bool or number.

        Returns:
            array of `shape`, uint8.

        Raises:
            ValueError: where a mask has not the shape of the slices, or an index lies outside.
        """
        lps = np.zeros(self.lps_shape, np.uint8)
        planes = np.moveaxis(lps, self.axis, 0)
        for index, mask in masks.items():
            if np.shape(mask) != self.slice_shape or not 0 <= index < self.n_slices:
                raise ValueError(
                    f"mask {index} of shape {np.shape(mask)}: expected {self.slice_shape}, index below {self.n_slices}"
                )
            planes[index] = np.asarray(mask).T
        stored = np.transpose(lps, [int(target) for target, _ in self.orientation])
        flips = tuple(slice(None, None, int(direction)) for _, direction in self.orientation)
        return np.ascontiguousarray(stored[flips])


@dataclass(frozen=True, eq=False)
class Scan:
    """What one file holds.

    Attributes:
        path: the file as it was named.
        slices: one for a picture; for a volume all that are not blank, each with its `index`.
        volume: geometry of a volume, None for a lone picture.
        blank: indices of the constant slices of a volume, in which there is nothing to see.
    """

    path: str
    slices: list[Slice]
    volume: VolumeGeometry | None = None
    blank: tuple[int, ...] = field(default=())
