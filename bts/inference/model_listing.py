"""List of the available models: bundled models and finished runs, with a summary of their cards."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bts.errors import RequestError
from bts.glossary import TASKS
from bts.models.bundled_model import bundled_models, check_sums
from bts.models.folder import WEIGHTS, ModelCard, read_card
from bts.runs import finished_runs

SHOWN = {
    "segmentation.slice.dice": "Dice per slice",
    "classification.slice.overall.balanced_accuracy": "balanced accuracy per slice",
}


@dataclass(frozen=True)
class ListedModel:
    """A model folder, its card, and why it can't be used, if so.

    Attributes:
        folder: the model folder.
        card: None where it can't be read.
        fault: one line on why the model can't be used; empty where it can.
        files: model files beside the weights, such as `model.onnx`.
    """

    folder: Path
    card: ModelCard | None
    fault: str = ""
    files: tuple[str, ...] = ()

    @property
    def lines(self) -> list[str]:
        """Lines for the user."""
        if self.card is None or self.fault:
            return [f"{self.folder}", f"  can't be used: {self.fault}"]
        phantoms = "phantoms only, " if self.card.synthetic else ""
        classes = f", classes {', '.join(self.card.classes)}" if self.card.classes else ""
        return [
            f"{self.folder}",
            f"  {self.card.task}{classes}; name {self.card.name}, fingerprint {self.card.fingerprint}",
            f"  trained on {phantoms}{self.card.trained_on or 'unknown data'}",
            f"  {'; '.join(_scores(self.card)) or 'not scored'}; {', '.join((WEIGHTS, *self.files))}",
        ]


def list_models(runs: Path) -> list[ListedModel]:
    """Return the bundled models, then those of finished runs by task and name."""
    found = [_listed(folder, bundled=True) for folder in bundled_models()]
    for task in TASKS:
        found += [_listed(run.model, bundled=False) for run in finished_runs(runs, task)]
    return found


def _listed(folder: Path, *, bundled: bool) -> ListedModel:
    try:
        card = read_card(folder)
        if bundled:
            check_sums(folder)
    except RequestError as error:
        return ListedModel(folder, None, fault=str(error))
    return ListedModel(folder, card, files=tuple(name for name in ("model.onnx", "model.xml") if (folder / name).is_file()))


def _scores(card: ModelCard) -> list[str]:
    """Return the main scores of a card with their intervals."""
    lines = []
    for key, name in SHOWN.items():
        score = card.scores.get(key)
        numbers = [score.get(each) for each in ("value", "low", "high")] if isinstance(score, dict) else [None]
        if all(isinstance(number, (int, float)) for number in numbers):  # a card of a stranger may hold anything here
            lines.append(f"{name} {numbers[0]:.3f} [{numbers[1]:.3f}, {numbers[2]:.3f}]")
    return lines
