"""The audit as one self-contained HTML page with pairs of images side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from bts.audit.descriptor import ORIENTATIONS
from bts.audit.findings import KINDS, Findings, Leak
from bts.audit.images import AuditSet
from bts.audit.matches import SAME, Match
from bts.audit.summary import recovery_counts, repeats, summary, two_patients, under_two_ids, verdict
from bts.errors import InputError
from bts.glossary import DISCLAIMER
from bts.report.rendering import data_uri, render

PAIRS = 24
"""Largest number of pairs shown per section; the CSV files hold all."""
SIDE = 176
"""Longest side of an image on the page, in pixels."""


@dataclass(frozen=True)
class Section:
    """Pairs of image positions with a note each, and the number of pairs in all."""

    title: str
    text: str
    pairs: list[tuple[int, int, str]]
    total: int


def write_page(findings: Findings, sets: Sequence[AuditSet], *, reference: str | None = None) -> str:
    """Return the page; only the images shown are read again. The page names files and patients: keep it private."""
    sections = [
        *_leak_sections(findings),
        *([_recovered_section(findings, reference)] if reference else []),
        _contradiction_section(findings),
        _repeat_section(findings),
        _suspect_section(findings),
        *_threshold_sections(findings),
    ]
    return render(
        "audit.html",
        names=findings.collection.set_names,
        warned=findings.leaking or findings.confounded or bool(under_two_ids(findings)),
        verdict=verdict(findings),
        summary=summary(findings, reference=reference)[2:],
        sections=sections,
        images=_Images(findings, sets),
        disclaimer=DISCLAIMER,
    )


class _Images:
    """Captions and data URIs of images by their position in the collection."""

    def __init__(self, findings: Findings, sets: Sequence[AuditSet]) -> None:
        self._images = findings.collection.images
        self._sources = {each.name: each.source for each in sets}

    def caption(self, i: int) -> str:
        return self._images[i].name

    def note(self, i: int) -> str:
        record = self._images[i].record
        patient = [f"patient {record.patient}"] if record.patient else []
        return ", ".join([record.part or "no part", record.label or "no label", *patient])

    def data(self, i: int) -> str:
        picture = self._images[i]
        try:
            image = self._sources[picture.set_name].read(replace(picture.record, mask=None)).image
        except InputError:
            return "data:,"  # removed since the audit: the names are still shown
        low, high = np.percentile(image, (0.5, 99.5))
        grey = np.clip((image - low) / max(float(high - low), 1e-6) * 255, 0, 255).astype(np.uint8)
        drawn = Image.fromarray(grey)
        drawn.thumbnail((SIDE, SIDE))
        return data_uri(drawn)


def _leak_sections(findings: Findings) -> Iterator[Section]:
    for across in (False, True):
        for kind, name in KINDS.items():
            leaks = [leak for leak in findings.leaks if (leak.kind, leak.across) == (kind, across)]
            pairs = [(leak.held, leak.seen, _leak_note(leak)) for leak in _spaced(leaks)]
            title = f"{name.capitalize()}, in {'another' if across else 'the same'} set ({len(leaks)})"
            yield Section(title, "Left: held out. Right: seen in an earlier part.", pairs, len(leaks))


def _spaced(leaks: Sequence[Leak]) -> list[Leak]:
    """Return at most `PAIRS` leaks, evenly spaced over all, so that all folders are represented."""
    places = np.linspace(0, len(leaks) - 1, min(PAIRS, len(leaks))).astype(int)
    return [leaks[i] for i in places]


def _leak_note(leak: Leak) -> str:
    if leak.kind == "patient":
        return f"patient {leak.patient}"
    return _note(leak.orientation or 0, leak.score or 0)


def _note(orientation: int, score: float) -> str:
    return f"{ORIENTATIONS[orientation]}, {score:.3f}"


def _matches(matches: Sequence[Match]) -> list[tuple[int, int, str]]:
    return [(match.one, match.other, _note(match.orientation, match.score)) for match in matches[:PAIRS]]


def _recovered_section(findings: Findings, reference: str) -> Section:
    pairs, total = [], 0
    for name in findings.collection.set_names:
        if name != reference:
            total += recovery_counts(findings, name).recovered
            links = [link for i, link in findings.origins.items() if findings.collection.images[i].set_name == name]
            links = sorted(links, key=lambda link: link.score)[:PAIRS]
            pairs += [(link.image, link.start, _note(link.orientation, link.score)) for link in links]
    return Section("Recovered, least similar first", f"Left: the image. Right: its slice in {reference}.", pairs, total)


def _contradiction_section(findings: Findings) -> Section:
    found = findings.contradictions
    pairs = [(one, other, "different labels") for one, other in found[:PAIRS]]
    return Section(f"Copies with different labels ({len(found)})", "One of the two labels is wrong.", pairs, len(found))


def _repeat_section(findings: Findings) -> Section:
    found = repeats(findings)
    pairs = [
        (one, other, "two patient IDs" if two_patients(findings, one, other) else "a copy") for one, other in found[:PAIRS]
    ]
    text = "No split may part them. If they have two patient IDs, use one, or remove one of the two."
    return Section(f"Copies in the same set ({len(found)})", text, pairs, len(found))


def _suspect_section(findings: Findings) -> Section:
    matches = [match for each in findings.suspects for match in each.pairs]
    text = "Different slices that are more similar than those of two patients usually are. If it is one patient, use one ID."
    title = f"Patients who may be the same ({len(findings.suspects)} pairs of patients)"
    return Section(title, text, _matches(matches), len(matches))


def _threshold_sections(findings: Findings) -> Iterator[Section]:
    """Yield the pairs on either side of the threshold, so that a reader can check it."""
    near = sorted((match for match in findings.matches.found if match.kind == "near"), key=lambda match: match.score)
    rejected = findings.matches.rejected
    yield Section("Least similar accepted pairs", f"At or above {SAME}.", _matches(near), len(near))
    yield Section("Most similar rejected pairs", f"Below {SAME}.", _matches(rejected), len(rejected))
