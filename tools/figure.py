"""Draw scan, truth, prediction and Grad-CAM of some slices side by side."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from bts.apps.run import DONE, OneLineParser
from bts.data.sources.base import Record
from bts.data.sources.catalogue import open_source
from bts.data.split import Split
from bts.errors import RequestError
from bts.evaluation.cases import truth_mask
from bts.evaluation.metrics import overlap_scores
from bts.glossary import DISCLAIMER, PARTS
from bts.inference.panel import GROUND, INK, SOFT, clean, font
from bts.inference.picture import contour_of, fitted, grey, heated
from bts.inference.prediction import Prediction
from bts.inference.predictor import Predictor
from bts.report.gallery import TRUTH

SIDE, GAP, HEAD, CAPTION, FOOT = 256, 8, 34, 30, 30
"""Side of a panel, space between panels, height of the column titles, of a caption and of the last line, in pixels."""
TITLES = ("Scan", "Truth", "Prediction", "Grad-CAM")


def command(argv: Sequence[str]) -> int:
    """Draw some slices of a labelled source and return the exit status."""
    options = make_parser().parse_args(argv)
    if options.count < 1:
        raise RequestError(f"--count {options.count}: expected 1 or more")

    source = open_source(options.source, options.data)
    records = source.records()
    if options.split is not None:
        named = {row.path for row in Split.read(options.split, same_patient="suffixes").part(options.part)}
        records = [record for record in records if record.path in named]
    chosen = pick(records, options.count, seed=options.seed)
    if not chosen:
        raise RequestError(f"{options.data}: none of its slices is in the {options.part} part of {options.split}: check both")
    predictor = Predictor.load(seg=options.seg, cls=options.cls, runs=options.runs, device=options.device)
    for note in predictor.notes:
        print(note)
    picture = side_by_side(list(predictor.predict_many(source.read(record) for record in chosen)))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    picture.save(options.out, optimize=True)
    print(f"{len(chosen)} slices are drawn in {options.out}")
    return DONE


def make_parser() -> OneLineParser:
    """Return the parser of the command."""
    parser = OneLineParser(
        prog="python -m tools figure", description="Scan, truth, prediction and Grad-CAM of some slices, side by side."
    )
    parser.add_argument("--data", type=Path, default=Path("data/figshare"), metavar="FOLDER", help="[data/figshare]")
    parser.add_argument("--source", default="figshare", metavar="NAME", help="how the folder is laid out [figshare]")
    parser.add_argument(
        "--split", type=Path, metavar="CSV", help="draw only slices of one part of this split (a run's split.csv)"
    )
    parser.add_argument("--part", choices=PARTS, default="test", help="the part, with --split [test]")
    parser.add_argument("--count", type=int, default=3, metavar="N", help="slices, the classes in turn [3]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draw [0]")
    parser.add_argument("--seg", type=Path, metavar="FOLDER", help="run or model folder of a segmenter")
    parser.add_argument("--cls", type=Path, metavar="FOLDER", help="run or model folder of a classifier")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="where the runs lie [runs]")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:1 [auto]")
    parser.add_argument("--out", type=Path, default=Path("figure.png"), metavar="FILE", help="[figure.png]")
    return parser


def pick(records: Sequence[Record], count: int, *, seed: int = 0) -> list[Record]:
    """Draw `count` records, the classes in turn and as many patients as possible."""
    drawn = random.Random(seed).sample(list(records), len(records))
    by_class: dict[str, list[Record]] = {}
    seen: dict[str | None, int] = {}
    for record in drawn:
        by_class.setdefault(record.label or "", []).append(record)
    for rows in by_class.values():
        turn = {}
        for record in rows:  # second slices follow the first slices of all patients
            seen[record.patient] = seen.get(record.patient, 0) + 1
            turn[record.path] = seen[record.patient]
        rows.sort(key=lambda record, turn=turn: turn[record.path])  # type: ignore[misc]
    queues = [by_class[label] for label in sorted(by_class)]
    longest = max(map(len, queues), default=0)
    return [queue[row] for row in range(longest) for queue in queues if row < len(queue)][:count]


def side_by_side(predictions: Sequence[Prediction]) -> Image.Image:
    """Return an RGB image with four columns; the truth is yellow, the predicted mask cyan, unknown panels are grey."""
    width = len(TITLES) * (SIDE + GAP) + GAP
    page = Image.new("RGB", (width, HEAD + len(predictions) * (SIDE + CAPTION) + FOOT), GROUND)
    draw = ImageDraw.Draw(page)
    for number, title in enumerate(TITLES):
        draw.text((GAP + number * (SIDE + GAP), HEAD // 2), title, fill=INK, font=font(18), anchor="lm")
    for row, prediction in enumerate(predictions):
        top = HEAD + row * (SIDE + CAPTION)
        for number, panel in enumerate(panels(prediction)):
            page.paste(panel, (GAP + number * (SIDE + GAP) + (SIDE - panel.width) // 2, top + (SIDE - panel.height) // 2))
        draw.text((GAP, top + SIDE + CAPTION // 2), caption(prediction), fill=INK, font=font(15), anchor="lm")
    phantoms = any(prediction.slice.synthetic for prediction in predictions)
    note = f"{'Synthetic phantoms, no images of patients. ' if phantoms else ''}{DISCLAIMER}"
    draw.text((GAP, page.height - FOOT // 2), note, fill=SOFT, font=font(14), anchor="lm")
    return page


def panels(prediction: Prediction) -> list[Image.Image]:
    """Return scan, truth, prediction and Grad-CAM of one slice, each at most 256 pixels wide and high."""
    size = fitted(prediction.slice.image.shape, side=SIDE)
    scan = grey(prediction.slice.image, size)
    truth = outlined(scan, truth_mask(prediction.slice, prediction.slice.label), colour=TRUTH)
    found = outlined(scan, prediction.mask)
    heat = heated(scan, prediction.cam) if prediction.cam is not None else unknown(size)
    return [scan.convert("RGB"), truth, found, heat]


def outlined(scan: Image.Image, mask: np.ndarray | None, *, colour: tuple[int, int, int] | None = None) -> Image.Image:
    """Return a grey image with the contour of a mask (H, W), or an empty panel without a mask."""
    if mask is None:
        return unknown(scan.size)
    picture = scan.convert("RGB")
    contour = contour_of(mask, scan.size, width=1.5)
    if contour is not None:
        contour.draw(picture)
        if colour is not None:
            picture.paste(colour, contour.at, contour.line)
    return picture


def unknown(size: tuple[int, int]) -> Image.Image:
    """Return an empty panel."""
    panel = Image.new("RGB", size, (38, 43, 49))
    ImageDraw.Draw(panel).text((size[0] // 2, size[1] // 2), "unknown", fill=SOFT, font=font(15), anchor="mm")
    return panel


def caption(prediction: Prediction) -> str:
    """Return truth and prediction as text."""
    parts = [f"truth: {clean(prediction.slice.label or 'unknown')}"]
    if prediction.label is not None and prediction.class_prob is not None:
        parts.append(f"predicted: {clean(prediction.label)}, {prediction.class_prob.max():.0%}")
    truth = truth_mask(prediction.slice, prediction.slice.label)
    if prediction.mask is not None and truth is not None:
        parts.append(f"Dice {overlap_scores(prediction.mask, truth).dice:.2f}")
    return "     ".join(parts)
