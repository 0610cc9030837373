"""Which slices should be looked at, and how are they shown? The worst masks and every misclassified patient."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from bts.data.sources.base import Record, Source
from bts.evaluation.cases import Answers, truth_mask
from bts.evaluation.classification_scores import patient_cases
from bts.inference.picture import contour_of, fitted, grey, heated
from bts.inference.prediction import Prediction

WORST = 24
SLICES_A_PATIENT = 4
"""At most so many slices of a misclassified patient are shown, the most wrong first."""
SIDE = 224
TRUTH = (255, 214, 0)
"""Yellow; the prediction's contour is the cyan of every overlay."""
GAP = 4


@dataclass(frozen=True)
class Tile:
    """One slice to look at.

    Attributes:
        path: of the record.
        caption: what it is and what was said, in one or two lines.
        picture: data URI of a JPEG.
    """

    path: str
    caption: str
    picture: str


def worst_masks(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the 24 slices with the lowest Dice; among equals the largest mistake in pixels first."""
    mistake = (cases["truth_area_px"] - cases["predicted_area_px"]).abs()
    ranked = cases.assign(mistake=mistake).sort_values(["dice", "mistake"], ascending=[True, False], kind="stable")
    return ranked[ranked["dice"] < 1].head(WORST).drop(columns="mistake")


def misclassified_patients(cases: pd.DataFrame) -> pd.DataFrame:
    """Return the patients whose mean probability names another class, the surest mistakes first."""
    patients = patient_cases(cases)
    return patients[~patients["right"]].sort_values("confidence", ascending=False, kind="stable")


def slices_of(cases: pd.DataFrame, patient: pd.Series) -> pd.DataFrame:
    """Return up to four slices of a misclassified patient, those surest of the wrong class first."""
    names = cases["family"].where(cases["family"].notna(), cases["path"])
    own = cases[(names == patient["family"]) & (cases["label"] == patient["label"])]
    return own.sort_values(f"prob_{patient['predicted']}", ascending=False, kind="stable").head(SLICES_A_PATIENT)


def draw_case(prediction: Prediction, truth: np.ndarray | None) -> Image.Image:
    """Return the scan with both contours, and beside it the Grad-CAM with the true one, each 224 pixels at its longer side."""
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


def data_uri(picture: Image.Image) -> str:
    """Return a picture as a JPEG inside a link, so that the page needs no other file."""
    written = io.BytesIO()
    picture.save(written, format="JPEG", quality=82, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode("ascii")


def caption_of(case: pd.Series) -> str:
    """Return what a slice is and what was said of it."""
    parts = [f"{case['path']}: {case['label'] or 'no label'}"]
    if case.get("patient"):
        parts[0] += f", patient {case['patient']}"
    if pd.notna(case.get("predicted")):
        parts.append(f"said {case['predicted']} ({case['confidence']:.0%})")
    if pd.notna(case.get("dice")):
        areas = f"truth {int(case['truth_area_px'])} px, mask {int(case['predicted_area_px'])} px"
        parts.append(f"Dice {case['dice']:.2f}, {areas}")
    return "; ".join(parts)


def draw_tiles(predictor: Answers, source: Source, cases: pd.DataFrame, records: Sequence[Record]) -> dict[str, Tile]:
    """Return a tile for each of the cases by path; they are predicted again, so that no table ever holds pictures."""
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
