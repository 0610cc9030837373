"""How does a finished run's model come into the package? In sixteen bits, checked on real slices, with card and checksums."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from bts.atomic import replacing_folder
from bts.data.slice import Slice
from bts.data.sources.base import Record
from bts.errors import InputError, RequestError
from bts.evaluation.outside import add_reference, told
from bts.export.base import writing
from bts.export.half import write_half_folder, write_half_onnx
from bts.export.onnx import NEEDED
from bts.glossary import TASKS
from bts.inference import bundled_model
from bts.inference.bundled_model import write_sums
from bts.inference.predictor import Predictor
from bts.models.folder import ModelCard, read_card
from bts.report.card_page import card_text
from bts.runs import Run
from bts.training.run_data import RunData, read_run

LARGEST_MB = 25.0
"""All files of a boxed model together may be no larger: they are in every clone and every wheel."""
CARD_PAGE = "MODEL_CARD.md"
SLICES = 200
"""Slices of the test part on which the two models are compared."""


@dataclass(frozen=True)
class Agreement:
    """How the model in sixteen bits answers beside the original, on slices of the run's test part.

    Attributes:
        slices: how many were asked.
        other_class: slices of which the class is another.
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


@dataclass(frozen=True)
class Boxed:
    """What was put into the package, and what to tell of it, a line each."""

    folder: Path
    notes: tuple[str, ...]


def box_run(
    path: str | Path,
    *,
    name: str,
    box: Path | None = None,
    root: str | None = None,
    slices: int = SLICES,
    foreign: str | Path | None = None,
    seen: str | Path | None = None,
) -> Boxed:
    """Write a finished run's model into the package as `<box>/<name>`, at once or not at all.

    Args:
        path: run folder.
        name: of the folder, and what results call the model.
        box: where to; None is the package's own place.
        root: where the run's data lies; None takes what the run says.
        slices: how many slices of the test part both models are asked; 0 leaves the comparison out.
        foreign: report of this model on a foreign set, for the card.
        seen: words of someone who looked at the model's pictures, for the card.

    Raises:
        RequestError: no finished run, a name with a path in it, phantoms for the package's own place, no data, answers that
            differ, or files that are too large.
    """
    run, place = Run(Path(path)), bundled_model.BUNDLED if box is None else box
    card = _checked(run, name, place)
    place.mkdir(parents=True, exist_ok=True)
    with writing(place), replacing_folder(place / name) as new:
        notes = [_knows_strangers(run, card, root)]
        _, differences = write_half_folder(run.model, new, name=name)
        notes.append(f"in sixteen bits: {differences}")
        if slices:
            notes.append(str(compare_on_slices(read_run(run, root=root), new, slices=slices)))
        notes.append(_with_onnx(new))
        (new / CARD_PAGE).write_text(card_text(run.path, name=name, foreign=foreign, seen=seen), encoding="utf-8")
        write_sums(new)
        size_mb = sum(file.stat().st_size for file in new.iterdir()) / 1e6
        if size_mb > LARGEST_MB:
            raise RequestError(f"{name}: {size_mb:.1f} MB, at most {LARGEST_MB:g} fit into the package: take a smaller encoder")
    written = f"{place / name}: {size_mb:.1f} MB, {card.task}, trained on {card.trained_on}"
    return Boxed(place / name, (written, *notes))


def compare_on_slices(data: RunData, folder: Path, *, slices: int) -> Agreement:
    """Return how two models agree: the run's own and the one in `folder`, on test slices spread evenly."""
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
            whole = one.mask.sum() + two.mask.sum()
            dices.append(2 * float((one.mask & two.mask).sum()) / float(whole) if whole else 1.0)
    found = (float(np.mean(dices)), float(np.min(dices))) if dices else (None, None)
    return Agreement(len(chosen), other, largest, *found)


def _checked(run: Run, name: str, place: Path) -> ModelCard:
    if not name or Path(name).name != name or name.startswith("."):
        raise RequestError(f"name '{name}': expected one word that can be a folder's name, such as joint-mobilenetv2")
    card = read_card(run.model)
    if run.marker() is None:
        raise RequestError(f"{run.path}: the run is not finished, so its model has no operating point and no scores: finish it")
    if card.synthetic and place == bundled_model.BUNDLED:
        raise RequestError(f"{run.path}: trained on phantoms: no model for the package; name another --box to try")
    return card


def _knows_strangers(run: Run, card: ModelCard, root: str | None) -> str:
    """Teach a model that was trained by an older version what is out of place; return what to tell of it."""
    try:
        return told((card if card.ood else add_reference(read_run(run, root=root), run.model)).ood)
    except (RequestError, InputError) as error:
        return f"a picture that is out of place will not be noticed: {error}"


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
