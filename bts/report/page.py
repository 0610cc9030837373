"""The report as one self-contained HTML page: headline, scores, charts, images of cases, provenance and limits."""

from __future__ import annotations

from bts.evaluation.cases import BOTH_RIGHT_DICE
from bts.evaluation.metric_registry import headline
from bts.evaluation.segmentation import LARGE_SHARE
from bts.glossary import DISCLAIMER
from bts.report.evaluated import Evaluated
from bts.report.run_charts import split_table
from bts.report.templates import render


def build_page(found: Evaluated) -> str:
    """Return the whole page; images and style are embedded, there is no script, and nothing is fetched."""
    split = found.split
    facts = [
        ("source", found.source),
        ("part", found.part),
        ("split", split.fingerprint if split else None),
        ("grouped by", split.group if split else None),
        *((f"left out: {why}", count) for why, count in found.removed.items()),
    ]
    points = [", ".join(f"{name} {value}" for name, value in card.operating_point.items()) for card in found.cards]
    return render(
        "report.html",
        found=found,
        sections=_sections(found),
        headline=headline(found.summary),
        disclaimer=DISCLAIMER,
        large_share=LARGE_SHARE,
        both_right_dice=BOTH_RIGHT_DICE,
        facts=facts,
        split_rows=split_table(split).to_dict("records") if split else [],
        training_charts=[name for name in found.panels if name == "split" or name.startswith("curves_")],
        operating_points=points,
        provenance=[(name.replace("_", " "), value) for name, value in found.made.items()],
    )


def _sections(found: Evaluated) -> dict[str, str]:
    """Return the titles of the sections that have content, by their anchor."""
    summary = found.summary
    sections = {
        "masks": ("Masks", "segmentation" in summary),
        "classes": ("Classes", "classification" in summary),
        "calibration": ("Calibration and referral", "classification" in summary),
        "together": ("Agreement of mask and class", "together" in summary),
        "explanation": ("Class activation maps", "explanation" in summary or bool(found.randomised)),
        "features": ("Features", "features" in found.panels),
        "worst": ("Worst masks", bool(found.worst)),
        "misclassified": ("Misclassified patients", found.patients is not None),
        "split": ("Split and data", True),
        "models": ("Models", True),
        "limits": ("Limits", True),
    }
    return {name: title for name, (title, present) in sections.items() if present}
