"""What does the audit say in a terminal? The verdict first, then a table, then what was recovered."""

from __future__ import annotations

from bts.audit.counting import leak_table, recovery_counts, repeated, set_names, shared
from bts.audit.findings import KINDS, Findings

WORDS = {"patient": "patient seen", "bytes": "same file", "pixels": "same pixels", "near": "near copy"}
"""How the kinds of leak are called in tables."""


def verdict(findings: Findings) -> str:
    """Return the one line that matters."""
    if not findings.leaking:
        parts = any(picture.record.part for picture in findings.collection.pictures)
        return "no leak: no picture and no known patient stands on two sides" if parts else "no parts, so nothing can leak"
    held = len({leak.held for leak in findings.leaks})
    total = sum(picture.record.part in ("val", "test") for picture in findings.collection.pictures)
    return f"LEAK: {held} of {total} held-out pictures were seen in an earlier part, as patient or as picture"


def summary(findings: Findings, *, reference: str | None = None) -> list[str]:
    """Return the lines that `bts audit` prints."""
    lines = [verdict(findings), ""]
    lines += [*_sets(findings), *_leaks(findings)]
    for name in set_names(findings) if reference else []:
        if name != reference:
            lines += _recovery(findings, name, str(reference))
    if findings.contradictions:
        lines.append(f"equal pictures with different labels: {len(findings.contradictions)} pairs (contradictions.csv)")
    for each in findings.suspects:
        names = " and ".join(who.partition(":")[2] for who in (each.one, each.other))
        lines.append(
            f"patients {names} may be one person: {len(each.pairs)} pairs of slices, up to {each.pairs[0].score:.2f} alike"
        )
    unknown = sum(who is None for who in findings.patients)
    if unknown:
        lines.append(
            f"patients of {unknown} of {len(findings.patients)} pictures are not known: they may stand on two sides unseen"
        )
    if findings.collection.failed:
        lines.append(f"{len(findings.collection.failed)} pictures can't be read, the first: {findings.collection.failed[0]}")
    return lines


def _sets(findings: Findings) -> list[str]:
    copies, common = repeated(findings), shared(findings)
    lines = []
    for name in set_names(findings):
        pictures = [picture for picture in findings.collection.pictures if picture.set_name == name]
        parts = [f"{sum(p.record.part == part for p in pictures)} {part}" for part in ("train", "val", "test")]
        told = (
            f" ({', '.join(part for part in parts if not part.startswith('0 '))})"
            if any(p.record.part for p in pictures)
            else ""
        )
        lines.append(f"{name}: {len(pictures)} pictures{told}, {copies.get(name, 0)} of them repeat another of the set")
    for (name, other), count in sorted(common.items()):
        lines.append(f"{name}: {count} pictures are also in {other}")
    return lines


def _leaks(findings: Findings) -> list[str]:
    rows = [row for row in leak_table(findings) if any(sum(pair) for pair in row[3].values())]
    if not rows:
        return [""]
    heads = ["held out", "pictures", *(WORDS[kind] for kind in KINDS)]
    lines = ["", "held-out pictures seen in an earlier part: of the same set + of another set", _columns(heads)]
    for name, part, size, kinds in rows:
        cells = [f"{within} + {across}" if across else str(within) for within, across in kinds.values()]
        lines.append(_columns([f"{name} {part}", str(size), *cells]))
    return [*lines, ""]


def _columns(cells: list[str]) -> str:
    return f"{cells[0]:<24}" + "".join(f"{cell:>14}" for cell in cells[1:])


def _recovery(findings: Findings, name: str, reference: str) -> list[str]:
    found = recovery_counts(findings, name)
    turned = ", ".join(f"{count} {turn}" for turn, count in found.orientations.items()) or "none"
    lines = [
        f"{name} against {reference}:",
        f"  pictures with a tumour that are a slice of {reference}: {found.recovered} of {found.with_tumour} ({turned})",
        f"  distinct slices of {reference}: {found.slices}; label differs: {found.label_differs}",
    ]
    if found.healthy_recovered:
        lines.append(f"  healthy pictures that are a slice of {reference}: {found.healthy_recovered}")
    if found.held_out:
        lines += [
            f"  held out, with a tumour, recovered: {found.held_out_recovered} of {found.held_out}",
            f"  ... whose very slice is in an earlier part: {_share(found.slice_seen, found.held_out_recovered)}",
            f"  ... whose patient is: {_share(found.patient_seen, found.held_out_recovered)}",
            f"  held-out pictures, all classes, with the pixels of an earlier one: {found.held_out_identical}",
        ]
    return [*lines, ""]


def _share(count: int, total: int) -> str:
    return f"{count} ({100 * count / total:.0f}%)" if total else str(count)
