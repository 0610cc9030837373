"""Draw scan, truth, prediction and Grad-CAM of some slices, one column each."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from bts.apps.run import DONE, OneLineParser, add_model_options
from bts.data.slice import Slice
from bts.data.sources.base import Record
from bts.data.sources.catalogue import open_source
from bts.data.split import Split
from bts.errors import RequestError
from bts.evaluation.cases import truth_mask
from bts.evaluation.metrics import overlap_scores
from bts.glossary import DISCLAIMER, PARTS
from bts.inference.panel import GROUND, INK, SOFT, clean, font, percent
from bts.inference.picture import contour_of, fitted, grey, heated
from bts.inference.prediction import Prediction
from bts.inference.predictor import Predictor
from bts.report.gallery import TRUTH

SIDE, GAP, LINE = 200, 8, 20
"""Side of a panel, space between panels, and height of a line of text, in pixels."""
SCAN_SIDE = 256
"""Longer side of a saved scan, in pixels."""
CAPTIONS = "Description"
"""Field of the PNG that holds the captions of its columns, a line each."""
RIGHT = 0.8
"""Least Dice of a mask that `--right` draws."""


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
    chosen = records if options.right else pick(records, options.count, seed=options.seed)
    if not chosen:
        raise RequestError(f"{options.data}: none of its slices is in the {options.part} part of {options.split}: check both")
    predictor = Predictor.load(seg=options.seg, cls=options.cls, joint=options.joint, runs=options.runs, device=options.device)
    for note in predictor.notes:
        print(note)
    slices = (source.read(record) for record in chosen)
    if options.scans is not None:  # what is drawn is the prediction of the saved scans
        slices = (as_saved(item) for item in slices)
    found = dict(zip(chosen, predictor.predict_many(slices), strict=True))
    if options.right:
        right = [record for record, prediction in found.items() if is_right(prediction)]
        print(f"{len(right)} of {len(chosen)} slices are right and not referred")
        chosen = pick(right, options.count, seed=options.seed)
    if not chosen:
        raise RequestError(f"{options.data}: no slice is right: draw others, or leave out --right")
    drawn = [found[record] for record in chosen]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    texts = PngInfo()
    texts.add_text(CAPTIONS, "\n".join("; ".join(caption(prediction)) for prediction in drawn))
    side_by_side(drawn).save(options.out, optimize=True, pnginfo=texts)
    print(f"{len(drawn)} slices are drawn in {options.out}")
    if options.scans is not None:
        save_scans(drawn, options.scans)
        print(f"their scans are in {options.scans}")
    return DONE


def make_parser() -> OneLineParser:
    """Return the parser of the command."""
    parser = OneLineParser(
        prog="python -m tools figure", description="Scan with truth and prediction, and Grad-CAM, of some slices, side by side."
    )
    parser.add_argument("--data", type=Path, default=Path("data/figshare"), metavar="FOLDER", help="[data/figshare]")
    parser.add_argument("--source", default="figshare", metavar="NAME", help="how the folder is laid out [figshare]")
    parser.add_argument(
        "--split", type=Path, metavar="CSV", help="draw only slices of one part of this split (a run's split.csv)"
    )
    parser.add_argument("--part", choices=PARTS, default="test", help="the part, with --split [test]")
    parser.add_argument("--count", type=int, default=3, metavar="N", help="slices, the classes in turn [3]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the draw [0]")
    parser.add_argument(
        "--right",
        action="store_true",
        help=f"draw only right answers that are not referred: the class, and a Dice of {RIGHT} or more",
    )
    add_model_options(parser, what="run, model folder or bundled model")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="where the runs lie [runs]")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:1 [auto]")
    parser.add_argument(
        "--scans", type=Path, metavar="FOLDER", help="predict, draw and save the scans as CLASS.png of 256 pixels"
    )
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


def is_right(prediction: Prediction) -> bool:
    """Return whether the class is that of the slice, the mask that of its tumour, and the case not referred."""
    truth = truth_mask(prediction.slice, prediction.slice.label)
    if prediction.refer or prediction.label != prediction.slice.label or prediction.mask is None or truth is None:
        return False
    return overlap_scores(prediction.mask, truth).dice >= RIGHT if truth.any() else not prediction.mask.any()


def as_saved(item: Slice) -> Slice:
    """Return a slice with the pixels of its saved scan, 8 bits and `SCAN_SIDE` pixels, and the mask to them."""
    size = fitted(item.image.shape, side=SCAN_SIDE)
    mask = None if item.mask is None else np.array(Image.fromarray(item.mask).resize(size, Image.Resampling.NEAREST))
    return replace(item, image=np.asarray(grey(item.image, size)), mask=mask, spacing_mm=None)


def save_scans(predictions: Sequence[Prediction], folder: Path) -> None:
    """Save each scan of `as_saved` as 8-bit PNG under its class."""
    folder.mkdir(parents=True, exist_ok=True)
    for prediction in predictions:
        Image.fromarray(prediction.slice.image.astype(np.uint8)).save(folder / f"{prediction.slice.label}.png", optimize=True)


def side_by_side(predictions: Sequence[Prediction]) -> Image.Image:
    """Return an RGB image with a column per slice; the truth is yellow, the predicted mask cyan, unknown panels are grey."""
    width = len(predictions) * (SIDE + GAP) + GAP
    page = Image.new("RGB", (width, 2 * (SIDE + GAP) + 5 * LINE), GROUND)
    draw = ImageDraw.Draw(page)
    for column, prediction in enumerate(predictions):
        left, top = GAP + column * (SIDE + GAP), GAP
        for panel in panels(prediction):
            page.paste(panel, (left + (SIDE - panel.width) // 2, top + (SIDE - panel.height) // 2))
            top += SIDE + GAP
        for number, line in enumerate(caption(prediction)):
            draw.text((left, top + number * LINE), line, fill=INK, font=font(14))
    phantoms = any(prediction.slice.synthetic for prediction in predictions)
    note = f"yellow truth, cyan prediction; below: class map. {'Synthetic phantoms. ' if phantoms else ''}{DISCLAIMER}"
    draw.text((GAP, page.height - LINE), note, fill=SOFT, font=font(12))
    return page


def panels(prediction: Prediction) -> list[Image.Image]:
    """Return the scan with both contours, and the Grad-CAM of one slice, each at most `SIDE` pixels wide and high."""
    size = fitted(prediction.slice.image.shape, side=SIDE)
    scan = grey(prediction.slice.image, size)
    found = outlined(scan.convert("RGB"), truth_mask(prediction.slice, prediction.slice.label), colour=TRUTH)
    return [outlined(found, prediction.mask), heated(scan, prediction.cam) if prediction.cam is not None else unknown(size)]


def outlined(picture: Image.Image, mask: np.ndarray | None, *, colour: tuple[int, int, int] | None = None) -> Image.Image:
    """Draw the contour of a mask (H, W), if any, onto an RGB picture, and return it."""
    contour = None if mask is None else contour_of(mask, picture.size, width=1.5)
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


def caption(prediction: Prediction) -> list[str]:
    """Return truth, prediction and overlap as lines of text."""
    lines = [f"truth: {clean(prediction.slice.label or 'unknown')}"]
    if prediction.label is not None and prediction.class_prob is not None:
        lines.append(f"predicted: {clean(prediction.label)}, {percent(prediction.class_prob.max(), digits=0)}")
    truth = truth_mask(prediction.slice, prediction.slice.label)
    if prediction.mask is not None and truth is not None and truth.any():
        lines.append(f"Dice {overlap_scores(prediction.mask, truth).dice:.2f}")
    return lines
