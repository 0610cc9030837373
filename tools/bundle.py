"""Put the model of a finished run into the package: 16-bit weights and ONNX, with card and checksums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from bts.apps.run import DONE, OneLineParser
from bts.atomic import replacing_folder
from bts.data.slice import Slice
from bts.data.sources.base import Record
from bts.errors import RequestError
from bts.evaluation.metrics import overlap_scores
from bts.evaluation.ood import format_reference
from bts.export.base import writing
from bts.export.onnx import NEEDED
from bts.glossary import DISCLAIMER, TASKS
from bts.inference.predictor import Predictor
from bts.models import bundled_model
from bts.models.bundled_model import write_sums
from bts.models.folder import ModelCard, read_card
from bts.report.card import card_text
from bts.runs import Run
from bts.training.run_data import RunData, read_run
from tools.documents import read_text, write_block
from tools.half_precision import write_half_folder, write_half_onnx
from tools.readme import BLOCK, CARD_PAGE, main_scores

EPILOG = """
examples:
  python -m tools bundle runs/joint/TIME --name joint-mobilenetv2
  python -m tools bundle runs/joint/TIME --name joint-mobilenetv2 --elsewhere data/model/elsewhere.md --readme README.md
  python -m tools bundle runs/joint/TIME --name trial --folder other
"""
LARGEST_MB = 25.0
"""Largest size of a bundled model: it is in every clone and every wheel."""
SLICES = 200
"""Test slices on which the two models are compared."""


def command(argv: Sequence[str]) -> int:
    """Put a model into the package and return the exit status."""
    parser = OneLineParser(
        prog="python -m tools bundle",
        description="Put the model of a finished run into the package, in 16 bits and as ONNX, with its card and checksums. "
        "It is used where no model is named and there is no run on real data.",
        epilog=EPILOG,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument("--name", required=True, help="name of the model")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="folder of bundled models [that of the package]")
    parser.add_argument("--root", metavar="FOLDER", help="where the run's data lies [as the run says]")
    parser.add_argument(
        "--slices",
        type=int,
        default=SLICES,
        metavar="N",
        help="test slices for the comparison of both models; 0 for none [200]",
    )
    parser.add_argument("--external", type=Path, metavar="REPORT", help="report of `bts evaluate --data`, for the card")
    parser.add_argument(
        "--elsewhere", type=Path, metavar="FILE", help="table of `python -m tools elsewhere` with this model, for the card"
    )
    parser.add_argument("--readme", type=Path, metavar="FILE", help="document with the block 'bundled' for the main scores")
    parser.add_argument("--observations", type=Path, metavar="FILE", help="observations on the model's images, for the card")
    options = parser.parse_args(argv)
    notes = bundle_run(
        options.run,
        name=options.name,
        place=options.folder,
        root=options.root,
        slices=options.slices,
        external=options.external,
        observations=options.observations,
        elsewhere=options.elsewhere,
    )
    if options.readme is not None:
        folder = (options.folder or bundled_model.BUNDLED) / options.name
        write_block(options.readme, main_scores(folder), BLOCK)
    print("\n".join([*notes, DISCLAIMER]))
    return DONE


@dataclass(frozen=True)
class Agreement:
    """Agreement of the 16-bit model with the original on test slices.

    Attributes:
        slices: number of slices compared.
        other_class: number of slices with another class.
        largest_probability: largest difference of a class probability.
        mean_dice, least_dice: Dice between the masks of the two; None without masks.
    """

    slices: int
    other_class: int
    largest_probability: float
    mean_dice: float | None
    least_dice: float | None

    def __str__(self) -> str:
        masks = "" if self.mean_dice is None else f", Dice between the masks {self.mean_dice:.4f} (least {self.least_dice:.4f})"
        classes = f"another class on {self.other_class}, class probabilities within {self.largest_probability:.4f}"
        return f"on {self.slices} test slices: {classes}{masks}"


def bundle_run(
    path: str | Path,
    *,
    name: str,
    place: Path | None = None,
    root: str | None = None,
    slices: int = SLICES,
    external: str | Path | None = None,
    observations: str | Path | None = None,
    elsewhere: Path | None = None,
) -> list[str]:
    """Write the model of a finished run into the package as `<place>/<name>`, atomically; return notes for the user.

    Args:
        path: run folder.
        name: of the model and its folder.
        place: folder of bundled models; None is that of the package.
        root: where the run's data lies; None takes what the run says.
        slices: number of test slices on which both models are compared; 0 skips the comparison.
        external: report of this model on an external set, for the card.
        observations: text with observations on the model's images, for the card.
        elsewhere: table of `python -m tools elsewhere` with this model, for the card.

    Raises:
        RequestError: no finished run, a name with a path in it, phantoms for the package itself, missing data, or files that
            are too large.
    """
    run, place = Run(Path(path)), place or bundled_model.BUNDLED
    card = _checked(run, name, place)
    table = None if elsewhere is None else read_text(elsewhere, name="elsewhere")
    place.mkdir(parents=True, exist_ok=True)
    with writing(place), replacing_folder(place / name) as new:
        notes = [format_reference(card.ood)]
        _, differences = write_half_folder(run.model, new, name=name)
        notes.append(f"in 16 bits: {differences}")
        if slices:
            notes.append(str(compare_on_slices(read_run(run, root=root), new, slices=slices)))
        notes.append(_with_onnx(new))
        (new / CARD_PAGE).write_text(
            card_text(run.path, name=name, external=external, observations=observations, elsewhere=table), encoding="utf-8"
        )
        write_sums(new)
        size_mb = sum(file.stat().st_size for file in new.iterdir()) / 1e6
        if size_mb > LARGEST_MB:
            raise RequestError(f"{name}: {size_mb:.1f} MB, at most {LARGEST_MB:g} fit into the package: take a smaller encoder")
    return [f"{place / name}: {size_mb:.1f} MB, {card.task}, trained on {card.trained_on}", *notes]


def compare_on_slices(data: RunData, folder: Path, *, slices: int) -> Agreement:
    """Compare the model of a run with the one in `folder` on evenly spaced test slices."""
    records = data.records("test")
    chosen = [records[i] for i in np.linspace(0, len(records) - 1, min(slices, len(records))).round().astype(int)]
    first, second = (_predictor(place, read_card(data.run.model)) for place in (data.run.model, folder))
    other, largest, dices = 0, 0.0, []
    pairs = zip(first.predict_many(_read(data, chosen)), second.predict_many(_read(data, chosen)), strict=True)
    for one, two in pairs:
        if one.class_prob is not None and two.class_prob is not None:
            other += one.label != two.label
            largest = max(largest, float(np.abs(one.class_prob - two.class_prob).max()))
        if one.mask is not None and two.mask is not None:
            dices.append(overlap_scores(one.mask, two.mask).dice)
    found = (float(np.mean(dices)), float(np.min(dices))) if dices else (None, None)
    return Agreement(len(chosen), other, largest, *found)


def _checked(run: Run, name: str, place: Path) -> ModelCard:
    if not name or Path(name).name != name or name.startswith("."):
        raise RequestError(f"name '{name}': expected one word that can be a folder's name, such as joint-mobilenetv2")
    card = read_card(run.model)
    if run.marker() is None:
        raise RequestError(f"{run.path}: the run is not finished, so its model has no operating point and no scores: finish it")
    if card.synthetic and place == bundled_model.BUNDLED:
        raise RequestError(f"{run.path}: trained on phantoms: no model for the package; name another --folder to try")
    return card


def _with_onnx(folder: Path) -> str:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        return f"no model.onnx: {' and '.join(missing)} not installed (pip install 'bts[onnx]')"
    return f"model.onnx: {write_half_onnx(folder)}"


def _predictor(place: Path, card: ModelCard) -> Predictor:
    seg, cls, joint = (place if card.task == task else None for task in TASKS)
    return Predictor.load(seg=seg, cls=cls, joint=joint, runtime="torch")


def _read(data: RunData, records: Sequence[Record]) -> Iterator[Slice]:
    return (data.source.read(record) for record in records)
