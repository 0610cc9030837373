"""What reading a file gives: the slices in it, and for a volume what is needed to write a mask back beside it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bts.data.slice import Slice

PLANES = ("sagittal", "coronal", "axial")
"""Name of the slices along axis 0, 1 and 2 of a volume that knows its orientation."""
MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001, "unknown": 1.0}
"""NIfTI's units of length, in millimetres."""


@dataclass(frozen=True, eq=False)
class VolumeGeometry:
    """How the slices of a volume lie in the array of the input file.

    The stored array is brought to patient axes by swapping and flipping whole axes, never by resampling: axis 0 runs to the
    patient's left, axis 1 to posterior, axis 2 to superior (to inferior where the slices are sagittal or coronal, so that
    the top of the head is at the top of the picture). A slice is then the transposed plane at one index along `axis`.

    Attributes:
        affine: (4, 4) of the input file, voxel index to position, as stored.
        shape: (3,) of the input array, as stored, without trailing axes of size 1.
        axis: patient axis along which the volume was cut: 0 sagittal, 1 coronal, 2 axial slices.
        orientation: (3, 2) for each stored axis the patient axis it becomes, and 1 or -1 where it is flipped.
        codes: qform and sform code of the input's header, so that a mask claims no more of its orientation than the input.
        unit: of lengths, as the header names it.
    """

    affine: np.ndarray
    shape: tuple[int, int, int]
    axis: int
    orientation: np.ndarray
    codes: tuple[int, int] = (0, 1)
    unit: str = "mm"

    @property
    def n_slices(self) -> int:
        """Number of slices along `axis`, blank ones too."""
        return self._patient_shape[self.axis]

    @property
    def slice_shape(self) -> tuple[int, int]:
        """Rows and columns of every slice."""
        columns, rows = (size for axis, size in enumerate(self._patient_shape) if axis != self.axis)
        return rows, columns

    @property
    def oriented(self) -> bool:
        """Whether the axes of the patient are known."""
        return any(self.codes)

    @property
    def slice_affine_mm(self) -> np.ndarray:
        """(4, 4) from slice, row and column of what `cut` returns to RAS in mm; only distances hold where not `oriented`."""
        columns, rows = (axis for axis in range(3) if axis != self.axis)
        stored = np.zeros((4, 4))  # from slice, row and column to the stored index
        stored[3, 3] = 1
        for place, (axis, direction) in enumerate(self.orientation):
            stored[place, (self.axis, rows, columns).index(axis)] = direction
            stored[place, 3] = 0 if direction == 1 else self.shape[place] - 1
        scale = MM.get(self.unit, 1.0)
        return np.asarray(np.diag([scale, scale, scale, 1.0]) @ self.affine @ stored)

    def cut(self, array: np.ndarray) -> np.ndarray:
        """Return all slices (n_slices, H, W) of an array of `shape`, as a view."""
        patient = np.transpose(array[self._flips], np.argsort(self.orientation[:, 0]))
        return np.moveaxis(patient, self.axis, 0).swapaxes(1, 2)

    def as_stored(self, slices: np.ndarray) -> np.ndarray:
        """Return all slices (n_slices, H, W) as an array of `shape`, as a view: the inverse of `cut`."""
        patient = np.moveaxis(slices.swapaxes(1, 2), 0, self.axis)
        return np.transpose(patient, self.orientation[:, 0])[self._flips]

    def restore(self, masks: dict[int, np.ndarray]) -> np.ndarray:
        """Put masks of slices into one array in the input's own voxel order; slices that are not named stay 0.

        Args:
            masks: index along `axis` to (H, W) bool or number.

        Returns:
            array of `shape`, uint8.

        Raises:
            ValueError: where a mask has not the shape of the slices, or an index lies outside.
        """
        stored = np.zeros(self.shape, np.uint8)
        slices = self.cut(stored)  # a view: what is written into it lands in the stored order
        for index, mask in masks.items():
            if np.shape(mask) != self.slice_shape or not 0 <= index < self.n_slices:
                wanted = f"shape {self.slice_shape} and an index below {self.n_slices}"
                raise ValueError(f"mask {index} of shape {np.shape(mask)}: expected {wanted}")
            slices[index] = mask
        return stored

    @property
    def _flips(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, int(direction)) for _, direction in self.orientation)

    @property
    def _patient_shape(self) -> tuple[int, ...]:
        return tuple(self.shape[stored] for stored in np.argsort(self.orientation[:, 0]))


@dataclass(frozen=True)
class Series:
    """Identity of a DICOM series and of the objects that hold its slices; no field of the patient.

    Attributes:
        study_uid: StudyInstanceUID.
        series_uid: SeriesInstanceUID.
        frame_of_reference_uid: FrameOfReferenceUID, or an empty string.
        modality: such as MR.
        description: SeriesDescription, or an empty string.
        files: of each slice along the third stored axis, in order; one file repeated where it holds several frames.
        instance_uids: SOPInstanceUID of each slice.
        frame_numbers: of each slice in its file, from 1; empty where each file holds one frame.
        faults: what is wrong with the series but does not hinder reading it, one line each.
    """

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    modality: str
    description: str
    files: tuple[str, ...]
    instance_uids: tuple[str, ...]
    frame_numbers: tuple[int, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Scan:
    """What one file or one DICOM series holds.

    Attributes:
        path: the file as it was named.
        slices: one for a picture; for a volume all that are not blank, each with its `index`.
        volume: geometry of a volume, None for a lone picture.
        blank: indices of the constant slices of a volume, in which there is nothing to see.
        series: identity of a DICOM series, None for other scans. The stored array of its `volume` is (columns, rows,
            slices), and its affine is RAS, as those of a NIfTI file.
    """

    path: str
    slices: list[Slice]
    volume: VolumeGeometry | None = None
    blank: tuple[int, ...] = field(default=())
    series: Series | None = None
