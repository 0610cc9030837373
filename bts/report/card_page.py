"""`MODEL_CARD.md` of a finished run: what the model does, on whom that was measured, and what it must not be used for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from bts.data.split import Split
from bts.errors import RequestError
from bts.evaluation.finished import Finished, read_finished
from bts.evaluation.headline import find
from bts.evaluation.scored import Scored, read_scored
from bts.glossary import DISCLAIMER, NO_TUMOUR
from bts.inference.postprocess import PHANTOM_MODEL
from bts.markdown import escape
from bts.models.folder import ModelCard
from bts.report.card_tables import failure_rows, group_table, headline_table, parts_table, score_cells, table
from bts.runs import Run

SETS = {
    "figshare": "figshare brain tumour dataset, Jun Cheng (2017), doi 10.6084/m9.figshare.1512427, CC BY 4.0: T1 with contrast",
    "brisc": "BRISC 2025, Fateh et al., arXiv 2506.14318, CC BY 4.0: T1; the publisher names no patients",
    "kaggle": "Brain Tumor MRI Dataset, M. Nickparvar (2021), Kaggle, licence on its page; names no patients",
}
"""Sets by the name of their source -> whose they are."""
NOT_FOR = (
    "Diagnosis, treatment, triage, or any decision on a person.",
    "Other pictures than single T1 slices of a head after contrast: no other sequences (T2, FLAIR), no CT, no other body part.",
    "Other diseases: it knows only the classes above and must choose one of them for whatever it is shown.",
    "Measuring volumes or growth: it sees one slice at a time, and pixels of unknown size.",
)
MIXED = (
    "Healthy slices come from another publisher than those with a tumour. A model can tell publishers apart by the look of "
    "their files, so its scores on healthy slices are likely better here than on healthy slices from elsewhere."
)
INVENTED = (
    "Healthy slices bear no patients. Those that look alike count as one; slices of one person that look different may stand "
    "on two sides."
)
CAM_NOTE = "A Grad-CAM shows where the class score is sensitive, not why; on a wrong answer it looks as sure as on a right one."


def card_text(
    run: str | Path, *, name: str | None = None, foreign: str | Path | None = None, seen: str | Path | None = None
) -> str:
    """Return the model card of a finished run as Markdown.

    Args:
        run: run folder.
        name: of the model, where it is not the run's.
        foreign: report that `bts evaluate --data` wrote of this model on a foreign set.
        seen: text file with what somebody saw who looked at the model's pictures; Markdown without headings.

    Raises:
        RequestError: no finished run, no report, or a text that can't be read.
    """
    done = read_finished(run)
    if done.card is None or done.settings is None:
        raise RequestError(f"{run}: no run of a training: name a folder such as runs/joint/TIME")
    split = Split.read(Run(Path(run)).split_file, group=done.settings["split"]["group"])
    cases = read_scored(run)
    other = read_scored(foreign) if foreign else None
    words = _words(Path(seen)) if seen else None
    return "\n".join(_lines(done, done.card, split, cases, other, words, name or done.card.name)) + "\n"


def _words(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: can't be read as text ({error}): name a file of words in UTF-8 with --seen") from error


def _lines(
    done: Finished, card: ModelCard, split: Split, cases: Scored, other: Scored | None, words: str | None, name: str
) -> Iterator[str]:
    yield f"# Model card: {escape(name)}\n"
    yield f"**{DISCLAIMER}** {escape(card.intended_use)}\n"
    if card.synthetic:
        yield f"**{PHANTOM_MODEL[0].upper()}{PHANTOM_MODEL[1:]}.**\n"
    typed = "no number is typed" if words is None else "only the words on what was seen are typed"
    yield f"Written by `bts card` from the run's own files; {typed}.\n"
    yield from _what(done, card)
    yield from _data(card, split)
    yield "## Scores on the test part, patients never trained on\n"
    yield headline_table(done.summary) + "\n"
    for group in ("class", "size", "plane"):
        if text := group_table(done.summary, group):
            yield f"### By {group}\n\n{text}\n"
    if bounds := find(done.summary, "segmentation.size_bounds"):
        ends = f"small up to {bounds[0]:.1%} of the picture, large from {bounds[1]:.1%} on"
        yield f"Sizes are thirds of the test part's tumours: {ends}.\n"
    yield from _explanation(done)
    yield "## Known failures, on the test part\n"
    yield table(["what", "slices", "share"], failure_rows(cases.cases)) + "\n"
    if words is not None:
        yield f"## What was seen on pictures of the test part\n\n{words}\n"
    yield from _foreign(other)
    yield "## Not for\n"
    yield "\n".join(f"- {line}" for line in NOT_FOR)


def _what(done: Finished, card: ModelCard) -> Iterator[str]:
    assert done.settings is not None
    gives = {"seg": "mask", "cls": "class and Grad-CAM", "joint": "mask, class and Grad-CAM"}[card.task]
    side, split, made = card.preprocessing.get("size"), done.settings["split"], done.scores.get("made", {})
    rows = [
        ("gives", f"{gives}, from one grey slice"),
        ("classes", escape(", ".join(card.classes) or "none")),
        ("network", escape(f"{card.architecture.get('encoder')}, {side} x {side} pixels")),
        ("fingerprint", f"`{card.fingerprint}` (of the run's weights)"),
        ("trained on", escape(card.trained_on)),
        ("weights at the start", escape(Path(str(done.settings["model"]["weights"])).name)),
        ("seed", done.settings["seed"]),
        ("split", f"{split['kind']}, seed {split['seed']}, fingerprint `{card.data_fingerprint}`"),
        ("operating point", _operating_point(card)),
        ("chosen on", "validation; the test part was scored once"),
        ("time", _took(Run(done.folder).log)),
        ("machine", escape(f"{made.get('machine', 'not noted')}, {made.get('device', '')}")),
        ("made with", escape(f"bts {made.get('bts', '')}, commit {made.get('commit', '')}, {made.get('versions', '')}")),
        ("licence", escape(card.licence)),
    ]
    yield "## What it is\n"
    yield table(["", ""], rows) + "\n"


def _operating_point(card: ModelCard) -> str:
    point = card.operating_point
    refer = f"referred to an expert under a probability of {card.refer_below:.3f}" if card.refer_below else "none is referred"
    mirror = "averaged in" if point["flip"] else "not used"
    mask = f"threshold {point['threshold']:g}, smallest region {point['min_area']:g} of the picture, "
    temperature = f"; temperature {card.temperature:.3g}; {refer}" if card.classes else ""
    return f"{'' if card.task == 'cls' else mask}mirror image {mirror}{temperature}"


def _took(log: Path) -> str:
    """Return how long the training took, from the first and the last line of its log."""
    stamps = []
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else []:
        try:
            stamps.append(time.mktime(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")))
        except ValueError:
            continue
    return f"{(stamps[-1] - stamps[0]) / 60:.0f} minutes of training by the log" if len(stamps) > 1 else "not noted"


def _data(card: ModelCard, split: Split) -> Iterator[str]:
    known = [text for name, text in SETS.items() if name in card.trained_on]
    yield "## Data\n"
    yield parts_table(split) + "\n"
    yield "A patient stands in one part only; IDs that look like several scans of one person count as one.\n"
    if any(row.label == NO_TUMOUR and row.patient.startswith("unknown-") for row in split.rows):
        yield INVENTED + "\n"
    if len(known) > 1 and any(row.label == NO_TUMOUR for row in split.rows):
        yield MIXED + "\n"
    if known:
        yield "\n".join(f"- {text}" for text in known) + "\n"


def _explanation(done: Finished) -> Iterator[str]:
    names = {
        "cam_energy": "Grad-CAM energy inside the true mask",
        "cam_flat": "the same of a flat map, for comparison",
        "cam_hit": "hottest place inside the true mask",
    }
    found = [(text, find(done.summary, f"explanation.all.{key}")) for key, text in names.items()]
    rows = [score_cells(text, score) for text, score in found if score is not None]
    if rows:
        yield "## Explanation\n"
        yield table(["score", "value [95% interval]", "patients", "slices"], rows) + "\n"
        yield CAM_NOTE + "\n"


def _foreign(other: Scored | None) -> Iterator[str]:
    yield "## On a foreign set\n"
    if other is None:
        yield "Not scored.\n"
        return
    title = escape(other.scores.get("title", other.folder.name))
    yield f"{title}, without patients and copies of slices that the model knows.\n"
    yield headline_table(other.summary) + "\n"
