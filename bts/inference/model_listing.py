"""Which models are there? Those of the package and of finished runs, with what their cards say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bts.errors import RequestError
from bts.glossary import TASKS, Task
from bts.inference.bundled_model import bundled_models, check_sums
from bts.models.folder import ModelCard, read_card
from bts.runs import Run

SHOWN = {
    "segmentation.slice.dice": "Dice a slice",
    "classification.slice.overall.balanced_accuracy": "balanced accuracy a slice",
}


@dataclass(frozen=True)
class ListedModel:
    """One model.

    Attributes:
        folder: its model folder.
        card: what it says of itself; None where it can't be read.
        fault: why it can't answer, one line; empty where it can.
        files: model files beside the weights, such as `model.onnx`.
    """

    folder: Path
    card: ModelCard | None
    fault: str = ""
    files: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """What to tell of it."""
        if self.card is None or self.fault:
            return [f"{self.folder}", f"  can't answer: {self.fault}"]
        phantoms = "phantoms only, " if self.card.synthetic else ""
        classes = f", classes {', '.join(self.card.classes)}" if self.card.classes else ""
        return [
            f"{self.folder}",
            f"  {self.card.task}{classes}; name {self.card.name}, fingerprint {self.card.fingerprint}",
            f"  trained on {phantoms}{self.card.trained_on or 'what nobody noted'}",
            f"  {'; '.join(_scores(self.card)) or 'not scored'}; {', '.join(('model.safetensors', *self.files))}",
        ]


def list_models(runs: Path) -> list[ListedModel]:
    """Return the models of the package, then those of finished runs by task and name."""
    found = [_listed(folder, boxed=True) for folder in bundled_models()]
    for task in TASKS:
        found += [_listed(run.model, boxed=False) for run in _finished(runs, task)]
    return found


def _finished(runs: Path, task: Task) -> list[Run]:
    folder = runs / task
    there = [Run(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []
    return [run for run in there if run.marker() and (run.model / "model.json").is_file()]


def _listed(folder: Path, *, boxed: bool) -> ListedModel:
    try:
        card = read_card(folder)
        if boxed:
            check_sums(folder)
    except RequestError as error:
        return ListedModel(folder, None, fault=str(error))
    return ListedModel(folder, card, files=tuple(name for name in ("model.onnx", "model.xml") if (folder / name).is_file()))


def _scores(card: ModelCard) -> list[str]:
    """Return the scores of the card that a list has room for, with their intervals."""
    told = []
    for key, name in SHOWN.items():
        score = card.scores.get(key)
        numbers = [score.get(each) for each in ("value", "low", "high")] if isinstance(score, dict) else [None]
        if all(isinstance(number, (int, float)) for number in numbers):  # a card of a stranger may hold anything here
            told.append(f"{name} {numbers[0]:.3f} [{numbers[1]:.3f}, {numbers[2]:.3f}]")
    return told
