"""Numbers of a result as `result.json`; its schema is docs/result.schema.json."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bts.atomic import write_text
from bts.data.object_store import is_address
from bts.data.readers.scan import MM, Scan, VolumeGeometry
from bts.errors import RequestError
from bts.inference.prediction import SCHEMA_VERSION, Prediction
from bts.inference.volume import Lesion
from bts.inference.writers.base import RESULT, ResultWriter, result_writers

BLANK = "blank slice: all pixels are equal, there is nothing to segment or classify"


@result_writers.register("json")
class JsonResult(ResultWriter):
    """`result.json`: the findings of a picture, or a table with a row per slice of a volume."""

    files = (RESULT,)

    def __init__(self, scan: Scan, folder: Path) -> None:
        super().__init__(scan, folder)
        self.first: Prediction | None = None
        self.rows: dict[int, dict[str, Any]] = {}

    def add(self, prediction: Prediction) -> None:
        """Keep the findings of a slice."""
        self.first = self.first or prediction
        index = int(prediction.slice.index or 0)
        self.rows[index] = {"index": index, "blank": False, **prediction.findings()}

    def finish(self) -> None:
        """Write the file."""
        if self.first is None:
            return
        geometry = self.scan.volume
        values = self.first.to_dict() if geometry is None else self._volume(geometry, self.first)
        values = {"schema_version": SCHEMA_VERSION, "source_id": source_id(self.scan.path)} | values
        write_text(self.folder / RESULT, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def _volume(self, geometry: VolumeGeometry, first: Prediction) -> dict[str, Any]:
        found = self.findings
        shared = [text for text in first.warnings if all(text in row["warnings"] for row in self.rows.values())]
        rows = self.rows | {index: _blank(index, first) for index in self.scan.blank}
        for index, row in rows.items():
            row["lesion_area_px"] = None if found is None else int(np.count_nonzero(found.lesion_labels[index]))
        voxels = None if found is None else sum(row["lesion_area_px"] for row in rows.values())
        volume = None
        if voxels is not None and first.slice.spacing_mm is not None:
            volume = round(voxels * voxel_mm3(geometry), 3)
        return {
            "schema_version": SCHEMA_VERSION,
            "source": self.scan.path,
            "series_id": None if self.scan.series is None else series_id(self.scan.series.series_uid),
            "shape": list(geometry.shape),
            "axis": geometry.axis,
            "tumour": None if found is None else found.tumour,
            "tumour_score": None if found is None else round(found.tumour_score, 6),
            "tumour_threshold": None if found is None else found.threshold,
            "class": None if found is None else found.label,
            "probabilities": None if found is None else _by_class(found.class_prob),
            "lesions": None if found is None else [_lesion(lesion) for lesion in found.lesions],
            "mask_voxels": voxels,
            "mask_volume_mm3": volume,
            "slices": [rows[index] for index in sorted(rows)],
            "warnings": [*shared, *(() if found is None else found.warnings)],
            **first.origin(),
        }


def _lesion(lesion: Lesion) -> dict[str, Any]:
    """Return all fields of a lesion; lengths and volume with three decimals."""
    fields = asdict(lesion)
    for name in ("volume_ml", "longest_mm", "perpendicular_mm", "extent_mm"):
        fields[name] = None if fields[name] is None else round(fields[name], 3)
    centroid = lesion.centroid_mm
    return fields | {
        "slices": list(lesion.slices),
        "centroid_mm": None if centroid is None else [round(value, 3) for value in centroid],
        "certainty": round(lesion.certainty, 6),
        "class_prob": _by_class(lesion.class_prob),
    }


def _by_class(class_prob: Mapping[str, float]) -> dict[str, float] | None:
    """Return rounded probabilities; None where no class is predicted."""
    return {name: round(value, 6) for name, value in class_prob.items()} or None


def source_id(path: str | Path) -> str:
    """Return 16 hexadecimal digits that tell inputs of one name apart: of the absolute path or address, without storing it."""
    return hashlib.sha256(os.fsencode(str(path) if is_address(path) else Path(path).absolute())).hexdigest()[:16]


def series_id(uid: str) -> str:
    """Return 16 hexadecimal digits by which whoever has a series finds its result, without storing the series UID."""
    return hashlib.sha256(uid.encode()).hexdigest()[:16]


def read_result(folder: Path) -> dict[str, Any]:
    """Return the `result.json` of a folder.

    Raises:
        RequestError: there is none, it is damaged, or it has another schema version.
    """
    path = folder / RESULT
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"{path}: can't be read ({error.strerror}): name the folder of a result") from error
    except ValueError as error:
        raise RequestError(f"{path}: not valid JSON ({error}): run infer.py again") from error
    found = values.get("schema_version", 1) if isinstance(values, dict) else type(values).__name__
    if found != SCHEMA_VERSION:
        raise RequestError(f"{path}: schema version {found}, expected {SCHEMA_VERSION}: run infer.py again with this version")
    return values


def voxel_mm3(geometry: VolumeGeometry) -> float:
    """Return the volume of a voxel in cubic millimetres."""
    return abs(float(np.linalg.det(geometry.affine[:3, :3]))) * MM.get(geometry.unit, 1.0) ** 3


def _blank(index: int, like: Prediction) -> dict[str, Any]:
    """Return the findings of a blank slice: an empty mask, where there are masks, and no class."""
    findings = dict.fromkeys(like.findings())
    area = None if like.mask is None else 0
    known = {"mask_area_px": area, "mask_area_mm2": None if like.slice.spacing_mm is None or area is None else 0.0}
    return {"index": index, "blank": True, **findings, **known, "refer": False, "warnings": [BLANK]}
