"""Result of a scan that the page keeps, so that nothing is computed twice."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bts.data.readers.scan import Scan
from bts.inference.prediction import Prediction
from bts.inference.write import RESULT


@dataclass
class Result:
    """The answers for one scan.

    Attributes:
        scan: as it was read; the image of every slice is needed again for the map of another class.
        folder: what `infer.py` would have written, plus the page for printing.
        answers: prediction by index of the slice, 0 for a picture.
        summary: `result.json`.
        maps: predictions with the map of another class, by index and class.
        cam_class: class whose map is shown, where another than the predicted one was chosen.
    """

    scan: Scan
    folder: Path
    answers: dict[int, Prediction]
    summary: dict[str, Any]
    maps: dict[tuple[int, str], Prediction] = field(default_factory=dict)
    cam_class: str | None = None

    @property
    def is_volume(self) -> bool:
        """Whether there are slices to go through."""
        return self.scan.volume is not None

    @property
    def n_slices(self) -> int:
        """How many slices, blank ones too."""
        return 1 if self.scan.volume is None else self.scan.volume.n_slices

    @property
    def voxels(self) -> int:
        """How much is held in memory."""
        return sum(item.image.size for item in self.scan.slices)

    @property
    def first(self) -> int:
        """Index of the slice that is shown first: the one with the largest mask, else the middle one."""
        areas = {index: answer.mask_area_px or 0 for index, answer in self.answers.items()}
        largest = max(areas, key=lambda index: areas[index])
        return largest if areas[largest] else sorted(areas)[len(areas) // 2]

    @property
    def marked(self) -> tuple[int, ...]:
        """Indices of the slices with a mask."""
        return tuple(index for index, answer in sorted(self.answers.items()) if answer.mask_area_px)

    def read(self) -> dict[str, Any]:
        """Return `result.json` as it stands now."""
        found: dict[str, Any] = json.loads((self.folder / RESULT).read_text(encoding="utf-8"))
        return found

    def shown(self, index: int, cam_class: str | None = None) -> Prediction | None:
        """Return the answer for a slice, with the map of another class where it was asked for; None for a blank slice."""
        return self.maps.get((index, cam_class)) if cam_class and (index, cam_class) in self.maps else self.answers.get(index)


def kept(prediction: Prediction) -> Prediction:
    """Return a prediction without what the page never shows. A volume's maps are only looked at: half of the digits will do."""
    cam = prediction.cam
    if cam is not None and prediction.slice.index is not None:
        cam = cam.astype(np.float16)
    return replace(prediction, mask_prob=None, features=None, cam=cam)
