"""Write the main scores into README.md: of the bundled model, from its card, and of all patients, from docs/results.md."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser
from bts.errors import RequestError
from bts.evaluation.intervals import Interval
from bts.models import bundled_model
from bts.models.folder import ModelCard, read_card
from bts.report.rendering import Raw, table
from tools.documents import write_block
from tools.elsewhere import HELD_OUT, LGG

BLOCK, FOLDS_BLOCK = "bundled", "folds"
CARD_PAGE = "MODEL_CARD.md"
HOME = {
    "classification.tumour.accuracy": "slices with a tumour: class right",
    "segmentation.slice.dice": "slices with a tumour: Dice of the mask",
    "classification.healthy.accuracy": "healthy slices: called healthy",
}
"""Score of the card on its test part -> its row."""
ELSEWHERE = {
    (HELD_OUT, "class right"): "slices with a tumour: class right",
    (HELD_OUT, "Dice"): "slices with a tumour: Dice of the mask",
    (LGG, "tumour-free slices with a mask"): "tumour-free slices of TCGA-LGG: a false mask",
}
"""Slices and score in the table of `python -m tools elsewhere` -> its row."""
FOLDS = {
    "accuracy per slice": "class right",
    "Dice, mean over slices with a tumour": "Dice of the mask",
    "share of slices not referred to an expert": "not referred to an expert",
    "accuracy on slices not referred": "class right where not referred",
}
"""Score of pooled folds in docs/results.md -> its row."""


def command(argv: Sequence[str]) -> int:
    """Write the table and return the exit status."""
    parser = OneLineParser(
        prog="python -m tools readme",
        description="Write the scores of the bundled model and of pooled folds into README.md, from card and results.",
    )
    parser.add_argument("--model", default="joint-mobilenetv2", metavar="NAME", help="bundled model [joint-mobilenetv2]")
    parser.add_argument("--results", type=Path, default=Path("docs/results.md"), metavar="FILE", help="[docs/results.md]")
    parser.add_argument("--out", type=Path, default=Path("README.md"), metavar="FILE", help="[README.md]")
    options = parser.parse_args(argv)
    write_block(options.out, main_scores(bundled_model.BUNDLED / options.model), BLOCK)
    write_block(options.out, pooled_scores(options.results), FOLDS_BLOCK)
    print(f"the scores of {options.model} and of all folds are in {options.out}")
    return DONE


def pooled_scores(results: Path) -> str:
    """Return the main scores of the first pooled folds in docs/results.md, as a table.

    Raises:
        RequestError: there are none, or one of `FOLDS` is missing.
    """
    sections = re.split(r"^### ", results.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = next((each for each in sections if each.partition("\n")[0].endswith("out of fold")), "")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in found.splitlines() if line.startswith("|")]
    scores = {row[0]: row[1:] for row in cells if len(row) == 5}
    missing = [name for name in FOLDS if name not in scores]
    if missing:
        raise RequestError(f"{results}: no pooled folds with '{missing[0]}': run `python -m tools results CROSSVAL --add`")
    rows = []
    for name, text in FOLDS.items():
        value, interval, patients, slices = scores[name]
        rows.append((text, Raw(f"{value} [{interval.replace(' to ', ', ')}]"), Raw(f"{slices} slices of {patients} patients")))
    return table(
        ("figshare, each fold predicted by a model trained on the others", "value [95% interval over patients]", "n"), rows
    )


def main_scores(folder: Path) -> str:
    """Return at most six scores of a bundled model as a table: on its test part, and on publishers it was not trained on.

    Raises:
        RequestError: a score is missing, as in a model without healthy slices or masks.
    """
    card, page = read_card(folder), (folder / CARD_PAGE).read_text(encoding="utf-8")
    missing = [key for key in HOME if not isinstance(card.scores.get(key), dict)]
    if missing:
        raise RequestError(f"{card.name}: no score {missing[0]} in its card: expected a joint model with healthy slices")
    rows = [*_home_rows(card), *_elsewhere_rows(page)]
    trained = f"*`{card.name}`, {card.architecture['encoder']}, {card.architecture['size']} px, trained on {card.trained_on}.*"
    return f"{table(('bundled model on', 'score', 'value [95% interval over patients]', 'n'), rows)}\n\n{trained}"


def _home_rows(card: ModelCard) -> Iterator[tuple[object, ...]]:
    for number, (key, name) in enumerate(HOME.items()):
        score = Interval(**card.scores[key])
        yield "unseen patients" if number == 0 else "", name, score, _counted(score.n_slices, score.n_patients, score.unit)


def _elsewhere_rows(page: str) -> Iterator[tuple[object, ...]]:
    """Yield the rows of the model's own column in the card's table of `python -m tools elsewhere`; none without the table."""
    fingerprint = re.search(r"\| fingerprint \| `(\w+)`", page)
    name = fingerprint and re.search(rf"(?:^|[.>] )([^.\n]+): fingerprint `{fingerprint[1]}`", page, flags=re.MULTILINE)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    head = next((cells for cells in lines if name and cells[:2] == ["slices", "score"] and name[1] in cells), None)
    if head is None or not name:
        return
    column, slices, first = head.index(name[1]), "", True
    for cells in lines[lines.index(head) + 1 :]:
        if len(cells) != len(head):
            return
        slices = cells[0] or slices
        text = ELSEWHERE.get((slices, cells[1]))
        if text:
            found = re.fullmatch(r"(\d+) \((\d+)( clusters)?\)", cells[-1])
            count = _counted(found[1], found[2], "cluster" if found[3] else "patient") if found else Raw(cells[-1])
            yield "unseen publishers" if first else "", text, Raw(cells[column]), count
            first = False


def _counted(slices: int | str, units: int | str, unit: str) -> Raw:
    return Raw(f"{slices} slices of {units} {'patients' if unit == 'patient' else 'patients or clusters'}")
