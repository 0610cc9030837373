"""How do the findings look? One HTML file with pairs side by side that opens offline; the pictures are inside it."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from bts.audit.descriptor import ORIENTATIONS
from bts.audit.findings import KINDS, Findings, Leak
from bts.audit.matches import SAME, Match
from bts.audit.pictures import AuditSet, Picture
from bts.audit.summary import recovery_counts, summary, verdict
from bts.errors import InputError
from bts.glossary import DISCLAIMER

PAIRS = 24
"""Pairs shown of each kind; the CSVs hold all."""
SIDE = 176
"""Longest side of a picture on the page, in pixels."""

STYLE = """
:root { color-scheme: light dark; --line: #8884; --bad: #b3261e; --good: #1b6e3c; }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --good: #7ddc9a; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .3rem; border-top: 1px solid var(--line); padding-top: 1rem; }
.verdict { font-size: 1.2rem; font-weight: 600; } .leak { color: var(--bad); } .clean { color: var(--good); }
pre { overflow-x: auto; border: 1px solid var(--line); padding: .8rem; }
.pairs { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; border: 1px solid var(--line); padding: .5rem; width: 23rem; break-inside: avoid; }
figure div { display: flex; gap: .5rem; } figure img { width: 11rem; height: 11rem; object-fit: contain; background: #000; }
figcaption { font-size: .8rem; overflow-wrap: anywhere; margin-top: .3rem; }
"""


def write_page(findings: Findings, sets: Sequence[AuditSet], *, reference: str | None = None) -> str:
    """Return the page as text; only the pictures shown are read again. It names files and patients: mind who sees it."""
    draw = _Drawer(findings, sets)
    kind = "leak" if findings.leaking else "clean"
    sections = [
        f"<h1>Leak audit of {html.escape(', '.join(findings.collection.set_names))}</h1>",
        f'<p class="verdict {kind}">{html.escape(verdict(findings))}</p>',
        f"<pre>{html.escape(chr(10).join(summary(findings, reference=reference)[2:]))}</pre>",
        *_leak_sections(findings, draw),
        *_recovered_section(findings, draw, reference),
        *_contradiction_section(findings, draw),
        *_suspect_section(findings, draw),
        *_doubt_sections(findings, draw),
        f"<p>{html.escape(DISCLAIMER)}</p>",
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Leak audit</title>'
    head += f"<style>{STYLE}</style>"
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(sections)}</body></html>\n'


class _Drawer:
    """Reads and draws pictures by their position in the collection."""

    def __init__(self, findings: Findings, sets: Sequence[AuditSet]) -> None:
        self._pictures = findings.collection.pictures
        self._sources = {each.name: each.source for each in sets}

    def pair(self, one: int, other: int, *, note: str) -> str:
        """Return a figure of two pictures with their names."""
        names = "<br>".join(_caption(self._pictures[i]) for i in (one, other))
        images = "".join(f'<img alt="" src="{self._data(i)}">' for i in (one, other))
        return f"<figure><div>{images}</div><figcaption><b>{html.escape(note)}</b><br>{names}</figcaption></figure>"

    def _data(self, i: int) -> str:
        picture = self._pictures[i]
        try:
            image = self._sources[picture.set_name].read(replace(picture.record, mask=None)).image
        except InputError:
            return "data:,"  # gone since it was audited: the names are still told
        low, high = np.percentile(image, (0.5, 99.5))
        grey = np.clip((image - low) / max(float(high - low), 1e-6) * 255, 0, 255).astype(np.uint8)
        drawn = Image.fromarray(grey)
        drawn.thumbnail((SIDE, SIDE))
        stream = io.BytesIO()
        drawn.save(stream, "JPEG", quality=85)
        return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _caption(picture: Picture) -> str:
    record = picture.record
    told = [record.part or "no part", record.label or "no label", *([f"patient {record.patient}"] if record.patient else [])]
    return f"{html.escape(picture.name)} <i>({html.escape(', '.join(told))})</i>"


def _section(title: str, text: str, figures: Sequence[str], total: int) -> list[str]:
    if not figures:
        return []
    more = f" {len(figures)} of {total} are shown." if total > len(figures) else ""
    return [f"<h2>{html.escape(title)}</h2><p>{html.escape(text + more)}</p>", f'<div class="pairs">{"".join(figures)}</div>']


def _spaced(items: Sequence[Leak], count: int) -> list[Leak]:
    """Return at most `count` items, evenly spaced over all, so that not only the first folder is seen."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).astype(int)]


def _leak_sections(findings: Findings, draw: _Drawer) -> list[str]:
    sections: list[str] = []
    for across in (False, True):
        for kind, words in KINDS.items():
            leaks = [leak for leak in findings.leaks if (leak.kind, leak.across) == (kind, across)]
            figures = [draw.pair(leak.held, leak.seen, note=_note(leak)) for leak in _spaced(leaks, PAIRS)]
            where = "in another set" if across else "in the same set"
            text = "Left: held out. Right: seen in an earlier part."
            sections += _section(f"{words.capitalize()}, {where} ({len(leaks)})", text, figures, len(leaks))
    return sections


def _note(leak: Leak) -> str:
    if leak.kind == "patient":
        return f"patient {leak.patient}"
    return f"{ORIENTATIONS[leak.orientation or 0]}, {leak.score or 0:.3f}"


def _recovered_section(findings: Findings, draw: _Drawer, reference: str | None) -> list[str]:
    if not reference:
        return []
    figures, total = [], 0
    for name in findings.collection.set_names:
        if name != reference:
            total += recovery_counts(findings, name).recovered
            links = [link for i, link in findings.origins.items() if findings.collection.pictures[i].set_name == name]
            links.sort(key=lambda link: link.score)
            figures += [
                draw.pair(link.image, link.start, note=f"{ORIENTATIONS[link.orientation]}, {link.score:.3f}")
                for link in links[:PAIRS]
            ]
    return _section(
        "Recovered, the least similar first", f"Left: the picture. Right: its slice in {reference}.", figures, total
    )


def _contradiction_section(findings: Findings, draw: _Drawer) -> list[str]:
    pairs = findings.contradictions
    figures = [draw.pair(one, other, note="different labels") for one, other in pairs[:PAIRS]]
    return _section(
        f"Equal pictures with different labels ({len(pairs)})", "One of the two labels is wrong.", figures, len(pairs)
    )


def _suspect_section(findings: Findings, draw: _Drawer) -> list[str]:
    matches = [match for each in findings.suspects for match in each.pairs]
    text = "Different slices that are more alike than those of two people use to be; where it is one person, give one ID."
    figures = [_doubt(match, draw) for match in matches[:PAIRS]]
    return _section(f"Patients who may be one person ({len(findings.suspects)} pairs of patients)", text, figures, len(matches))


def _doubt_sections(findings: Findings, draw: _Drawer) -> list[str]:
    """Return the pairs on either side of the threshold: whoever doubts it can look."""
    near = sorted((match for match in findings.matches.found if match.kind == "near"), key=lambda match: match.score)
    sections = []
    for title, text, matches in (
        ("Least similar pairs that were accepted", f"At or above {SAME}.", near),
        ("Most similar pairs that were rejected", f"Below {SAME}.", findings.matches.rejected),
    ):
        figures = [_doubt(match, draw) for match in matches[:PAIRS]]
        sections += _section(title, text, figures, len(matches))
    return sections


def _doubt(match: Match, draw: _Drawer) -> str:
    return draw.pair(match.one, match.other, note=f"{ORIENTATIONS[match.orientation]}, {match.score:.3f}")
