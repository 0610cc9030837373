"""The `bts models` command: list the available models, with a summary of their cards, and the default one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bts.apps.run import DONE, OneLineParser, say
from bts.errors import RequestError
from bts.glossary import DISCLAIMER, TASKS

if TYPE_CHECKING:
    from bts.models.folder import ModelCard

SHOWN = {
    "segmentation.slice.dice": "Dice per slice",
    "classification.slice.overall.balanced_accuracy": "balanced accuracy per slice",
}


def command(argv: Sequence[str]) -> int:
    """List the models and return the exit status."""
    parser = OneLineParser(
        prog="bts models",
        description="List the bundled models, the models of finished runs, and the default models.",
    )
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="folder of the runs [runs]")
    options = parser.parse_args(argv)
    from bts.inference.model_selection import select_models
    from bts.models.bundled_model import bundled_models, check_sums
    from bts.models.folder import read_card
    from bts.runs import finished_runs

    bundled = bundled_models()
    folders = [*bundled, *(run.model for task in TASKS for run in finished_runs(options.runs, task))]
    for folder in folders:
        try:
            card = read_card(folder)
            if folder in bundled:
                check_sums(folder)
        except RequestError as error:
            say(f"{folder}\n  can't be used: {error}")
        else:
            say("\n".join([str(folder), *_lines(folder, card)]))
    if not folders:
        say("no models found")
    try:
        _, notes = select_models(seg=None, cls=None, joint=None, runs=options.runs)
    except RequestError as error:
        notes = (str(error),)
    say("\nused by default:\n" + "\n".join(f"  {note}" for note in notes))
    say(DISCLAIMER)
    return DONE


def _lines(folder: Path, card: ModelCard) -> Iterator[str]:
    """Yield the lines on a model below its folder."""
    classes = f", classes {', '.join(card.classes)}" if card.classes else ""
    yield f"  {card.task}{classes}; name {card.name}, fingerprint {card.fingerprint}"
    yield f"  trained on {'phantoms only, ' if card.synthetic else ''}{card.trained_on or 'unknown data'}"
    files = [name for name in ("model.safetensors", "model.onnx", "model.xml") if (folder / name).is_file()]
    yield f"  {'; '.join(_scores(card)) or 'not scored'}; {', '.join(files)}"


def _scores(card: ModelCard) -> Iterator[str]:
    """Yield the main scores of a card with their intervals."""
    for key, name in SHOWN.items():
        score = card.scores.get(key)
        numbers = [score.get(each) for each in ("value", "low", "high")] if isinstance(score, dict) else [None]
        if all(isinstance(number, (int, float)) for number in numbers):  # a card from elsewhere may hold anything here
            yield f"{name} {numbers[0]:.3f} [{numbers[1]:.3f}, {numbers[2]:.3f}]"
