"""Mask of a volume as NIfTI, in the voxels of the input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bts.atomic import replacing
from bts.data.readers.scan import Scan, VolumeGeometry
from bts.inference.prediction import Prediction
from bts.inference.writers.base import ResultWriter, result_writers


@result_writers.register("nifti")
class NiftiMask(ResultWriter):
    """`mask.nii.gz` of a volume: shape, affine and voxel order of the input, uint8; empty in blank slices."""

    files = ("mask.nii.gz",)

    def __init__(self, scan: Scan, folder: Path) -> None:
        super().__init__(scan, folder)
        self.geometry, self.mask = scan.volume, np.zeros(0, np.uint8)
        self.any = False
        if self.geometry is not None:
            self.mask = np.zeros(self.geometry.shape, np.uint8)
            self.planes = self.geometry.cut(self.mask)  # a view: what is written into it lands in the input's voxel order

    def add(self, prediction: Prediction) -> None:
        """Put the mask of a slice in its place."""
        if self.geometry is not None and prediction.mask is not None:
            self.planes[int(prediction.slice.index or 0)] = prediction.mask
            self.any = True

    def finish(self) -> None:
        """Write the file, where a model gave masks."""
        if self.geometry is not None and self.any:
            with replacing(self.folder / "mask.nii.gz") as part:
                nifti_mask(self.mask, self.geometry).to_filename(part)


def nifti_mask(mask: np.ndarray, geometry: VolumeGeometry) -> Any:
    """Return a mask in the input's voxel order as a NIfTI image at the input's position.

    The header is new: nothing of the input's header (description, patient name) is copied but its geometry.
    """
    import nibabel

    image = nibabel.Nifti1Image(mask, geometry.affine)
    qform, sform = geometry.codes
    code = sform or qform
    image.set_sform(geometry.affine if code else None, code)
    image.set_qform(geometry.affine, code)
    if not np.allclose(image.get_qform(), geometry.affine, atol=1e-3):
        image.set_qform(None, 0)  # a sheared affine has no quaternion
    if geometry.unit != "unknown":
        image.header.set_xyzt_units(geometry.unit)
    return image
