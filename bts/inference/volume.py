"""How do the predictions of a volume's slices land on disk? One mask in the input's own voxels, and one table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bts.atomic import replacing
from bts.data.readers.scan import Scan, VolumeGeometry
from bts.errors import InputError
from bts.inference.drawing import overlay
from bts.inference.prediction import Prediction
from bts.inference.write import empty_folder, write_picture, write_result, writing

MM = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
"""NIfTI's units of length, in millimetres."""
BLANK = "blank slice: every pixel is the same, there is nothing to see"


def write_volume(scan: Scan, predictions: Iterable[Prediction], folder: str | Path) -> Path:
    """Write `mask.nii.gz`, `slices/<index>.png` and one `result.json` with all slices of a volume.

    The mask has the input's shape, affine and voxel order, type uint8; a blank slice has an empty mask. Predictions are
    taken one by one and not kept.

    Args:
        scan: the volume as it was read.
        predictions: of its slices, in order.
        folder: created where it is missing.

    Returns:
        the folder.

    Raises:
        RequestError: the folder can't be written to, or the disk is full.
        InputError: the scan is no volume, or a slice has no prediction.
    """
    folder, geometry = Path(folder), scan.volume
    if geometry is None:
        raise InputError(f"{scan.path}: a picture, no volume: write it as a single prediction")
    with writing(folder):
        empty_folder(folder)
        mask, rows, first = _each_slice(geometry, predictions, folder)
        missing = {item.index for item in scan.slices} - set(rows)
        if first is None or missing:
            raise InputError(f"{scan.path}: {len(missing)} of {len(scan.slices)} slices have no prediction: give one for each")
        if first.mask is not None:
            with replacing(folder / "mask.nii.gz") as part:
                nifti_mask(mask, geometry).to_filename(part)
        rows |= {index: _blank(index, first) for index in scan.blank}
        write_result(_result(scan, geometry, first, mask, [rows[index] for index in sorted(rows)]), folder)
    return folder


def nifti_mask(mask: np.ndarray, geometry: VolumeGeometry) -> Any:
    """Return a mask in the input's voxel order as a NIfTI image that lies where the input lies.

    The header is new: nothing of the input's (a description, a patient's name) is taken over but its geometry.
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


def _each_slice(
    geometry: VolumeGeometry, predictions: Iterable[Prediction], folder: Path
) -> tuple[np.ndarray, dict[int, dict[str, Any]], Prediction | None]:
    """Draw every slice; return the mask in the input's voxel order, the findings by index, and the first prediction."""
    mask = np.zeros(geometry.shape, np.uint8)
    planes = geometry.cut(mask)  # a view: what is written into it lands in the input's order
    rows: dict[int, dict[str, Any]] = {}
    first = None
    digits = len(str(geometry.n_slices - 1))
    (folder / "slices").mkdir(exist_ok=True)
    for prediction in predictions:
        first = first or prediction
        index = int(prediction.slice.index or 0)
        rows[index] = {"index": index, "blank": False, **prediction.findings()}
        if prediction.mask is not None:
            planes[index] = prediction.mask
        write_picture(np.asarray(overlay(prediction)), folder / "slices" / f"{index:0{digits}d}.png")
    return mask, rows, first


def _blank(index: int, like: Prediction) -> dict[str, Any]:
    """Return the findings of a slice in which there is nothing to see: an empty mask, where there are masks, and no class."""
    findings = dict.fromkeys(like.findings())
    area = None if like.mask is None else 0
    known = {"mask_area_px": area, "mask_area_mm2": None if like.slice.spacing_mm is None or area is None else 0.0}
    return {"index": index, "blank": True, **findings, **known, "refer": False, "warnings": [BLANK]}


def _result(
    scan: Scan, geometry: VolumeGeometry, like: Prediction, mask: np.ndarray, rows: list[dict[str, Any]]
) -> dict[str, Any]:
    """Return the whole of a volume's `result.json`."""
    voxels = None if like.mask is None else int(mask.sum(dtype=np.int64))
    known = voxels is not None and like.slice.spacing_mm is not None
    one = abs(float(np.linalg.det(geometry.affine[:3, :3]))) * MM.get(geometry.unit, 1.0) ** 3
    shared = [text for text in like.warnings if all(text in row["warnings"] for row in rows if not row["blank"])]
    return {
        "source": scan.path,
        "shape": list(geometry.shape),
        "axis": geometry.axis,
        "mask_voxels": voxels,
        "mask_volume_mm3": round(voxels * one, 3) if known and voxels is not None else None,
        "slices": rows,
        "warnings": shared,
        **like.origin(),
    }
