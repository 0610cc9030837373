"""Scores of class activation maps: energy in the true mask for the model's own method and for the other one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bts.data.slice import Slice
from bts.data.sources.base import Record, Source
from bts.errors import BtsError
from bts.evaluation.intervals import Sample, Scores
from bts.evaluation.metrics import cam_energy
from bts.inference.cam_methods import CAM_METHODS, usual_method
from bts.inference.predictor import Predictor
from bts.inference.runtimes.pytorch import TorchRuntime
from bts.models.folder import read_card
from bts.progress import counted

CAM_SCORES = ("cam_energy", "cam_flat", "cam_hit", "cam_iou")
ENERGY = "cam_energy_"
"""Beginning of the columns with the energy of each method."""


def explanation_scores(sample: Sample) -> dict[str, Any]:
    """Return the scores of the class activation map for all slices, for correct and wrong classes, and by method."""
    right = sample.column("right") > 0
    groups = {"all": None, "right": right, "wrong": ~right}
    scores: dict[str, Any] = {group: {name: sample.mean(name, keep) for name in CAM_SCORES} for group, keep in groups.items()}
    if "precision" in sample.cases:  # a map inside of the predicted mask has no larger share of its energy in the tumour
        for group, keep in groups.items():
            scores[group]["mask_precision"] = sample.mean("precision", keep)
    methods: dict[str, Scores] = {
        method: {"cam_energy": sample.mean(ENERGY + method)} for method in CAM_METHODS if ENERGY + method in sample.cases
    }
    return scores | ({"method": methods} if methods else {})


def add_cam_methods(
    cases: pd.DataFrame,
    folder: Path,
    source: Source,
    records: Sequence[Record],
    *,
    device: str = "auto",
) -> pd.DataFrame:
    """Return the cases with the energy in the true mask of Grad-CAM and of HiResCAM, `cam_energy_<method>`.

    The two methods are equal for a classifier, whose maps are averaged over the slice before its head; of a joint model the
    other method's maps are computed, for the slices with a tumour.

    Args:
        cases: a row per record, with `cam_energy` of the usual method; returned as they are without.
        folder: model folder.
        source: reads the slices.
        records: records of the cases.
        device: `auto`, `cpu`, `cuda`.
    """
    if "cam_energy" not in cases:
        return cases
    card = read_card(folder)
    own = usual_method(card)
    energies = {method: cases["cam_energy"].to_numpy(dtype=float) for method in CAM_METHODS}
    if card.task == "joint" and card.cell_offset_px is not None:
        other = next(method for method in CAM_METHODS if method != own)
        scored = np.flatnonzero(np.isfinite(energies[own])).tolist()
        predictor = Predictor([TorchRuntime.open(folder, device=device, cam_method=other)])
        energies[other] = np.full(len(cases), np.nan)

        def slices() -> Iterator[Slice]:
            for row in counted(scored, "class maps by the other method"):
                try:
                    yield source.read(records[row])
                except BtsError as error:
                    raise error.at(records[row].path) from error

        for row, prediction in zip(scored, predictor.predict_many(slices()), strict=True):
            if prediction.cam is not None and prediction.slice.mask is not None:
                energies[other][row] = cam_energy(prediction.cam, prediction.slice.mask)
    return cases.assign(**{ENERGY + method: values for method, values in energies.items()})
