"""What does the reader of a report see, in which order? One HTML page that needs nothing else, the headline first."""

from __future__ import annotations

from bts.evaluation.headline import headline
from bts.glossary import DISCLAIMER
from bts.report import page_sections as parts
from bts.report.evaluated import Evaluated
from bts.report.page_parts import Cell, charts, note, section, table, text
from bts.report.page_style import STYLE


def build_page(found: Evaluated) -> str:
    """Return the whole page; pictures and style are inside, no script, nothing is fetched."""
    sections = [
        section("masks", "Masks", *parts.masks(found)),
        section("classes", "Classes", *parts.classes(found)),
        section("calibration", "Do the probabilities hold?", *parts.calibration(found)),
        section("together", "Mask and class together", *parts.together(found)),
        section("explanation", "Does the Grad-CAM look at the tumour?", *parts.explanation(found)),
        section("features", "Features", charts([found.panels.get("features")])),
        section("worst", "The worst masks", *parts.worst(found)),
        section("misclassified", "Every misclassified patient", *parts.misclassified(found)),
        section("split", "Split and data", *parts.split(found)),
        section("models", "Models", *parts.models(found)),
        section("limits", "How to read this, and its limits", *parts.limits(found)),
    ]
    body = "".join(sections)
    links = [(part.split('"')[1], part.split("<h2>")[1].split("</h2>")[0]) for part in sections if part]
    menu = "<nav>" + "".join(f'<a href="#{name}">{title}</a>' for name, title in links) + "</nav>"
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="color-scheme" content="light dark">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(found.title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{text(found.title)}</h1>{_head(found)}{menu}{body}</body></html>"
    )


def _head(found: Evaluated) -> str:
    """Return what a reader in a hurry needs: warnings, then the scores that count, each with interval and numbers."""
    summary = found.summary
    known = summary["unit"] == "patient"
    rows: list[list[Cell]] = []
    for row in headline(summary):
        assert row.score is not None
        better = f"{row.better} is better" if row.better else ""
        shown = (row.score, 1 if row.key.endswith("_px") else 3)
        rows.append([row.name, shown, better, row.score.n_patients, row.score.n_slices])
    drawn = f"bootstrap over {'patients' if known else 'slices'}, {summary['draws']} draws, seed {summary['seed']}"
    head = ["score", "95% interval", "", "patients" if known else "drawn", "slices"]
    lines = "".join(note(line) for line in found.notes)
    shown_table = table(head, rows, caption=f"Each score with its 95% interval: {drawn}.", name="headline")
    return f'<p class="soft">{text(DISCLAIMER)} {text(found.made.get("time", ""))}</p>{lines}{shown_table}'
