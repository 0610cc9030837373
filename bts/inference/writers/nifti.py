"""Mask of a volume as NIfTI, in the voxels of the input."""

from __future__ import annotations

from typing import Any

import numpy as np

from bts.atomic import replacing
from bts.data.readers.scan import VolumeGeometry
from bts.inference.prediction import Prediction
from bts.inference.writers.base import ResultWriter, result_writers


@result_writers.register("nifti")
class NiftiMask(ResultWriter):
    """`mask.nii.gz`: the lesions of a volume in shape, affine and voxel order of the input, uint8, 1 inside."""

    files = ("mask.nii.gz",)

    def add(self, prediction: Prediction) -> None:
        """Take nothing: the mask is that of the volume's findings."""

    def finish(self) -> None:
        """Write the file, where a model gave masks."""
        geometry, findings = self.scan.volume, self.findings
        if geometry is None or findings is None:
            return
        mask = np.zeros(geometry.shape, np.uint8)
        np.greater(findings.lesion_labels, 0, out=geometry.cut(mask), casting="unsafe")  # a view in the input's voxel order
        with replacing(self.folder / "mask.nii.gz") as part:
            nifti_mask(mask, geometry).to_filename(part)


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
