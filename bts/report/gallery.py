"""Images of selected cases for a report: the worst masks and the misclassified patients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from bts.data.sources.base import Record, Source
from bts.evaluation.cases import Answers, truth_mask
from bts.evaluation.classification import patient_cases
from bts.evaluation.counterfactual import KINDS, Example
from bts.inference.picture import contour_of, fitted, grey, heated
from bts.inference.prediction import Prediction
from bts.report.rendering import data_uri

WORST = 24
SLICES_A_PATIENT = 4
"""Largest number of slices shown of a misclassified patient, the most wrong first."""
SIDE = 224
TRUTH = (255, 214, 0)
"""Contour of the truth, yellow; that of the prediction is the cyan of every overlay."""
GAP = 4


@dataclass(frozen=True)
class Tile:
    """Image of one slice.

    Attributes:
        path: path of the record.
        caption: truth and prediction.
        picture: data URI of a JPEG.
    """

    path: str
    caption: str
    picture: str


def worst_masks(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the 24 slices with the lowest Dice, 0 for a mask on a healthy slice; among ties the larger difference in area."""
    difference = (cases["truth_area_px"] - cases["predicted_area_px"]).abs()
    score = pd.to_numeric(cases["dice"]).fillna((cases["predicted_area_px"] == 0).astype(float))
    ranked = cases.assign(_dice=score, _area=difference).sort_values(["_dice", "_area"], ascending=[True, False], kind="stable")
    return ranked[ranked["_dice"] < 1].head(WORST).drop(columns=["_dice", "_area"])


def misclassified_patients(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the patients whose mean probability gives a wrong class, the most confident errors first."""
    patients = patient_cases(cases)
    return patients[~patients["right"]].sort_values("confidence", ascending=False, kind="stable")


def slices_of(cases: pd.DataFrame, patient: pd.Series) -> pd.DataFrame:
    """Return up to four slices of a misclassified patient, the most confident of the wrong class first."""
    names = cases["patient"].where(cases["patient"].notna(), cases["path"])
    own = cases[(names == patient["patient"]) & (cases["label"] == patient["label"])]
    return own.sort_values(f"prob_{patient['predicted']}", ascending=False, kind="stable").head(SLICES_A_PATIENT)


def draw_case(prediction: Prediction, truth: np.ndarray | None) -> Image.Image:
    """Return the scan with both contours, and the Grad-CAM with the true one, each 224 pixels on its longer side."""
    size = fitted(prediction.slice.image.shape, side=SIDE)
    scan = grey(prediction.slice.image, size)
    outlines = {"truth": None if truth is None else contour_of(truth, size, width=1.2)}
    outlines["mask"] = None if prediction.mask is None else contour_of(prediction.mask, size, width=1.2)
    panels = [scan.convert("RGB")]
    if prediction.cam is not None:
        panels.append(heated(scan, prediction.cam))
    for panel in panels:
        if outlines["truth"] is not None:
            panel.paste((0, 0, 0), outlines["truth"].at, outlines["truth"].rim)
            panel.paste(TRUTH, outlines["truth"].at, outlines["truth"].line)
    if outlines["mask"] is not None:
        outlines["mask"].draw(panels[0])
    whole = Image.new("RGB", (len(panels) * (size[0] + GAP) - GAP, size[1]), (90, 90, 90))
    for number, panel in enumerate(panels):
        whole.paste(panel, (number * (size[0] + GAP), 0))
    return whole


def changed_tile(example: Example) -> Tile:
    """Return the slice before and after a change, with the prediction after it."""
    found, drawn = example.prediction, draw_case(example.prediction, example.truth if example.truth.any() else None)
    before = grey(example.before.astype(np.float32), fitted(example.before.shape, side=SIDE))
    whole = Image.new("RGB", (before.width + GAP + drawn.width, drawn.height), (90, 90, 90))
    whole.paste(before.convert("RGB"), (0, 0))
    whole.paste(drawn, (before.width + GAP, 0))
    answer = "mask" if found.mask_area_px else "no mask"
    if found.class_prob is not None:
        answer = f"{found.label} ({found.class_prob.max():.0%})" + (f", {answer}" if found.mask is not None else "")
    item = found.slice
    return Tile(
        item.path, f"{KINDS[example.kind][0]}; {item.source} {item.path}: now {item.label}; predicted {answer}", data_uri(whole)
    )


def caption_of(case: pd.Series) -> str:
    """Return truth and prediction of a slice as one line."""
    parts = [f"{case['path']}: {case['label'] or 'no label'}"]
    if case.get("patient_id"):
        parts[0] += f", patient {case['patient_id']}"
    if pd.notna(case.get("predicted")):
        parts.append(f"predicted {case['predicted']} ({case['confidence']:.0%})")
    if pd.notna(case.get("dice")):
        areas = f"truth {int(case['truth_area_px'])} px, mask {int(case['predicted_area_px'])} px"
        parts.append(f"Dice {case['dice']:.2f}, {areas}")
    return "; ".join(parts)


def draw_tiles(predictor: Answers, source: Source, cases: pd.DataFrame, records: Sequence[Record]) -> dict[str, Tile]:
    """Return a tile per case by path. The slices are predicted again, so that tables need not hold images."""
    by_path = {record.path: record for record in records}
    wanted = [by_path[path] for path in dict.fromkeys(cases["path"])]
    rows = cases.drop_duplicates("path").set_index("path", drop=False)
    slices = (source.read(record) for record in wanted)
    return {tile.path: tile for tile in _tiles(wanted, predictor.predict_many(slices), rows)}


def _tiles(records: Sequence[Record], predictions: Iterator[Prediction], rows: pd.DataFrame) -> Iterator[Tile]:
    for record, prediction in zip(records, predictions, strict=True):
        case = rows.loc[record.path]
        picture = draw_case(prediction, truth_mask(prediction.slice, case["label"]))
        yield Tile(record.path, caption_of(case), data_uri(picture))
