"""Model card (`MODEL_CARD.md`) of a finished run: data, scores with intervals, failures and limits, from its files."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from bts.audit.patients import INVENTED
from bts.data.patient_ids import patient_of
from bts.data.split import Split
from bts.errors import RequestError
from bts.evaluation.calibration import POOR_DICE
from bts.evaluation.counterfactual import counterfactual_rows, left_out_lines
from bts.evaluation.intervals import Interval, format_units
from bts.evaluation.metric_registry import COLUMNS, METRICS, find, headline
from bts.evaluation.results import Evaluation, read_evaluation
from bts.evaluation.segmentation import LARGE_SHARE
from bts.glossary import DISCLAIMER, NO_TUMOUR, PARTS
from bts.inference.postprocess import PHANTOM_MODEL
from bts.markup import escape
from bts.models.folder import ModelCard
from bts.report.rendering import Raw, render, table
from bts.runs import Run

SETS = {
    "figshare": "figshare brain tumour dataset, Jun Cheng (2017), doi 10.6084/m9.figshare.1512427, CC BY 4.0: T1 with contrast",
    "brisc": "BRISC 2025, Fateh et al., arXiv 2506.14318, CC BY 4.0: T1; the publisher names no patients",
    "kaggle": "Brain Tumor MRI Dataset, M. Nickparvar (2021), Kaggle, licence on its page; names no patients",
}
"""Name of a source -> description and licence of the set."""
SCORE_HEAD = ("score", "value [95% interval]", "patients", "slices")
GIVES = {"seg": "mask", "cls": "class and class activation map", "joint": "mask, class and class activation map"}


def card_text(
    run: str | Path,
    *,
    name: str | None = None,
    external: str | Path | None = None,
    observations: str | Path | None = None,
    elsewhere: str | None = None,
) -> str:
    """Return the model card of a finished run as Markdown.

    Args:
        run: run folder.
        name: name of the model; the default is that of the run.
        external: report of `bts evaluate --data` of this model on an external set.
        observations: text file with observations on the model's images; Markdown without headings.
        elsewhere: scores on other publishers' slices, as Markdown.

    Raises:
        RequestError: no finished run, no report, or an unreadable text.
    """
    done = read_evaluation(run)
    card = done.card
    if card is None or done.settings is None:
        raise RequestError(f"{run}: not a run of a training: expected a folder such as runs/joint/TIME")
    split = Split.read(Run(Path(run)).split_file, same_patient=done.settings["split"]["same_patient"])
    other = read_evaluation(external) if external else None
    healthy = [row.patient for row in split.rows if row.label == NO_TUMOUR]
    sets = [text for source, text in SETS.items() if source in card.trained_on]
    groups = {group: text for group in ("class", "size", "plane") if (text := group_table(done.summary, group))}
    return render(
        "card.md",
        name=escape(name or card.name),
        card=card,
        intended_use=escape(card.intended_use),
        disclaimer=DISCLAIMER,
        phantom_model=PHANTOM_MODEL[0].upper() + PHANTOM_MODEL[1:],
        observations=_read_text(Path(observations)) if observations else None,
        model=table(("", ""), _model_rows(done, card)),
        parts=parts_table(split),
        invented=any(patient.startswith(INVENTED) for patient in healthy),
        confounding=escape(card.confounding[:1].upper() + card.confounding[1:]),
        sets=sets,
        scores=headline_table(done.summary),
        groups=groups,
        bounds=find(done.summary, "segmentation.size_bounds"),
        explanation=explanation_table(done.summary),
        publishers=publisher_table(done.summary),
        counterfactual=counterfactual_table(done.summary),
        left_out=left_out_lines(done.summary),
        failures=table(("failure", "slices", "share"), failure_rows(done.cases)),
        external=escape(other.title) if other else None,
        elsewhere=elsewhere,
        external_scores=headline_table(other.summary) if other else "",
    )


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: can't be read as text ({error}): name a text file in UTF-8 with --observations") from error


def _model_rows(done: Evaluation, card: ModelCard) -> list[tuple[str, object]]:
    assert done.settings is not None
    side, split, made = card.preprocessing.get("size"), done.settings["split"], done.scores.get("made", {})
    return [
        ("output", f"{GIVES[card.task]}, from one grey slice"),
        ("classes", ", ".join(card.classes) or "none"),
        ("network", f"{card.architecture.get('encoder')}, {side} x {side} pixels"),
        ("fingerprint", Raw(f"`{card.fingerprint}` (of the run's weights)")),
        ("trained on", card.trained_on),
        ("initial weights", Path(str(done.settings["model"]["weights"])).name),
        ("seed", done.settings["seed"]),
        ("split", Raw(f"{split['kind']}, seed {split['seed']}, fingerprint `{card.data_fingerprint}`")),
        ("operating point", _operating_point(card)),
        ("chosen on", "validation; the test part was scored once"),
        ("time", _training_time(Run(done.folder).log)),
        ("machine", f"{made.get('machine', 'unknown')}, {made.get('device', '')}"),
        ("made with", f"bts {made.get('bts', '')}, commit {made.get('commit', '')}, {made.get('versions', '')}"),
        ("licence", card.licence),
    ]


def _operating_point(card: ModelCard) -> str:
    point = card.operating_point
    refer = card.referral_text
    mirror = "averaged" if point["flip"] else "not used"
    mask = f"threshold {point['threshold']:g}, smallest region {point['min_area']:g} of the image, "
    temperature = f"; temperature {card.temperature:.3g}; {refer}" if card.classes else ""
    volume = "" if card.volume_threshold is None else f"; a lesion of a volume from a score of {card.volume_threshold:g}"
    return f"{'' if card.task == 'cls' else mask}mirror image {mirror}{temperature}{volume}"


def _training_time(log: Path) -> str:
    """Return the duration of the training, from the first and the last line of its log."""
    stamps = []
    for line in log.read_text(encoding="utf-8").splitlines() if log.is_file() else []:
        try:
            stamps.append(time.mktime(time.strptime(line[:19], "%Y-%m-%d %H:%M:%S")))
        except ValueError:
            continue
    return f"{(stamps[-1] - stamps[0]) / 60:.0f} minutes of training by the log" if len(stamps) > 1 else "unknown"


def parts_table(split: Split) -> str:
    """Return slices and patients of each class in each part."""
    rows = []
    for label in (*dict.fromkeys(row.label for row in split.rows), "all"):
        cells = []
        for part in PARTS:
            some = [row for row in split.part(part) if label in ("all", row.label)]
            unit = "cluster" if any(row.patient.startswith(INVENTED) for row in some) else "patient"
            cells.append(
                f"{len(some)} of {format_units(len({patient_of(row.patient, split.same_patient) for row in some}), unit)}"
            )
        rows.append([label or "unknown", *cells])
    return table(("slices of patients", "training", "validation", "test"), rows)


def _score_row(label: str, score: Interval, digits: int = 3) -> list[object]:
    return [label, Raw(score.text(digits)), score.counted, score.n_slices]


def headline_table(summary: dict[str, Any]) -> str:
    """Return the headline, scores of tumour slices and of healthy slices apart, with their publishers."""
    return table(SCORE_HEAD, [_score_row(row.name, row.score, row.metric.digits) for row in headline(summary)])


def publisher_table(summary: dict[str, Any]) -> str:
    """Return scores of tumour slices and of healthy slices side by side for each publisher; empty with one publisher."""
    publishers = summary.get("publishers", {})
    names = list(next(iter(publishers.values()), {}))
    rows = [[publisher, *(scores.get(name) for name in names)] for publisher, scores in publishers.items()]
    return table(("publisher", *(COLUMNS[name] for name in names)), rows) if len(rows) > 1 else ""


def group_table(summary: dict[str, Any], group: str) -> str:
    """Return mask scores by `class`, `size` or `plane`, and scores of the class; empty where there is no such group."""
    masks: dict[str, Any] = find(summary, f"segmentation.{group}") or {}
    classes: dict[str, Any] = (find(summary, "classification.slice.class") or {}) if group == "class" else {}
    missed = find(summary, f"segmentation.missed_by_{group}") or {}
    class_scores = ("precision", "recall") if classes else ()
    rows = []
    for name in dict.fromkeys([*classes, *masks]):
        cells = [find(masks, f"{name}.dice"), missed.get(name), *(find(classes, f"{name}.{each}") for each in class_scores)]
        counted = next((cell for cell in cells if cell is not None), None)
        rows.append([name, *cells, *([counted.counted, counted.n_slices] if counted else ["", ""])])
    return table((group, "Dice", "no mask", *class_scores, "patients", "slices"), rows) if rows else ""


def explanation_table(summary: dict[str, Any]) -> str:
    """Return the scores of the class activation map; empty without any."""
    names = {
        "cam_energy": METRICS["explanation.all.cam_energy"].label,
        "cam_flat": "energy of a constant map, for comparison",
        "mask_precision": METRICS["explanation.all.mask_precision"].label,
        "cam_hit": "maximum inside the true mask",
    }
    found = [(label, find(summary, f"explanation.all.{key}")) for key, label in names.items()]
    rows = [_score_row(label, score) for label, score in found if score is not None]
    return table(SCORE_HEAD, rows) if rows else ""


def counterfactual_table(summary: dict[str, Any]) -> str:
    """Return the scores on changed slices by publisher; empty without any."""
    rows = []
    for change, publisher, scores in counterfactual_rows(summary):
        counted = next((score for score in scores.values() if score is not None), None)
        cells = [scores.get(name) for name in ("called_tumour", "right", "dice", "with_mask")]
        rows.append([change, publisher, *cells, *([counted.counted, counted.n_slices] if counted else ["", ""])])
    head = ("change", "publisher", "called a tumour", "class right", "Dice", "with a mask", "patients", "slices")
    return table(head, rows) if rows else ""


def failure_rows(cases: pd.DataFrame) -> list[list[object]]:
    """Return each kind of failure with its count among the slices that can fail so, the most frequent first."""
    tumour = cases["label"] != NO_TUMOUR
    found: list[tuple[str, int, int]] = []
    if "predicted_area_px" in cases:
        area = cases["predicted_area_px"]
        with_truth = tumour & area.notna()  # a publisher without masks has none to compare with
        poor = (area > 0) & (cases["dice"] < POOR_DICE)
        large = area >= LARGE_SHARE * cases["picture_area_px"]
        found += [
            ("tumour without any mask", int((with_truth & (area == 0)).sum()), int(with_truth.sum())),
            (f"tumour mask with a Dice under {POOR_DICE}", int((with_truth & poor).sum()), int(with_truth.sum())),
            (f"healthy slice with a mask over {LARGE_SHARE:.1%}", int((~tumour & large).sum()), int((~tumour).sum())),
        ]
    if "predicted" in cases:
        wrong = cases[cases["predicted"] != cases["label"]]
        for (label, predicted), count in Counter(zip(wrong["label"], wrong["predicted"], strict=True)).items():
            found.append((f"{label} predicted as {predicted}", count, int((cases["label"] == label).sum())))
    if "consistent" in cases:
        found.append(("mask and class contradict each other", int((~cases["consistent"].astype(bool)).sum()), len(cases)))
    ordered = sorted((each for each in found if each[2]), key=lambda each: -each[1] / each[2])
    return [[failure, f"{count} of {total}", f"{count / total:.1%}"] for failure, count, total in ordered]
