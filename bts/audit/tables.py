"""Which files does the audit leave? CSVs with a row for each leak, contradiction, match and recovered patient; all numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from bts import __version__
from bts.audit.counting import leak_table, recovery_counts, repeated, set_names, shared
from bts.audit.descriptor import ORIENTATIONS
from bts.audit.findings import Findings, Leak
from bts.audit.matches import SAME
from bts.audit.recovery import patients_of

LEAKS = (
    "kind",
    "set",
    "path",
    "part",
    "label",
    "other_set",
    "other_path",
    "other_part",
    "other_label",
    "patient",
    "orientation",
    "score",
)
RECOVERED = ("path", "label", "mask", "patient_id", "split", "origin", "origin_class", "orientation", "score")
"""The first five are those of a manifest, so the file is one when it lies in the folder of the data."""


def write_tables(findings: Findings, out: Path, *, reference: str | None = None) -> list[Path]:
    """Write leaks.csv, contradictions.csv, matches.csv, suspects.csv, audit.json and, with a reference, recovered_SET.csv."""
    pictures = findings.collection.pictures
    written = [
        _write(out / "leaks.csv", LEAKS, [_leak(findings, leak) for leak in findings.leaks]),
        _write(
            out / "contradictions.csv",
            ("set", "path", "label", "other_set", "other_path", "other_label"),
            [
                (*_place(pictures[i]), pictures[i].record.label, *_place(pictures[j]), pictures[j].record.label)
                for i, j in findings.contradictions
            ],
        ),
        _write(
            out / "matches.csv",
            ("kind", "set", "path", "other_set", "other_path", "orientation", "score"),
            [
                (m.kind, *_place(pictures[m.one]), *_place(pictures[m.other]), ORIENTATIONS[m.orientation], f"{m.score:.4f}")
                for m in findings.matches.found
            ],
        ),
    ]
    written.append(
        _write(
            out / "suspects.csv",
            ("patient", "other_patient", "set", "path", "other_set", "other_path", "score"),
            [
                (each.one, each.other, *_place(pictures[m.one]), *_place(pictures[m.other]), f"{m.score:.4f}")
                for each in findings.suspects
                for m in each.pairs
            ],
        )
    )
    if reference:
        patients = patients_of(findings.collection, findings.groups, findings.origins)
        for name in set_names(findings):
            if name != reference:
                rows = [_recovered(findings, i, patients[i]) for i, each in enumerate(pictures) if each.set_name == name]
                written.append(_write(out / f"recovered_{name}.csv", RECOVERED, rows))
    numbers = out / "audit.json"
    numbers.write_text(json.dumps(to_dict(findings, reference=reference), indent=1) + "\n", encoding="utf-8")
    return [*written, numbers]


def to_dict(findings: Findings, *, reference: str | None = None) -> dict[str, object]:
    """Return every number of the audit as plain values."""
    names = set_names(findings)
    return {
        "version": __version__,
        "leaking": findings.leaking,
        "same_from": SAME,
        "pictures": {name: sum(p.set_name == name for p in findings.collection.pictures) for name in names},
        "failed": list(findings.collection.failed),
        "repeated": dict(repeated(findings)),
        "shared": [
            {"set": name, "other": other, "pictures": count} for (name, other), count in sorted(shared(findings).items())
        ],
        "leaks": [
            {
                "set": name,
                "part": part,
                "pictures": size,
                "kinds": {k: {"within": w, "across": a} for k, (w, a) in kinds.items()},
            }
            for name, part, size, kinds in leak_table(findings)
        ],
        "contradictions": len(findings.contradictions),
        "suspects": [{"one": each.one, "other": each.other, "pairs": len(each.pairs)} for each in findings.suspects],
        "recovered": [asdict(recovery_counts(findings, name)) for name in names if reference and name != reference],
    }


def _place(picture: object) -> tuple[str, str]:
    return picture.set_name, picture.record.path  # type: ignore[attr-defined]


def _leak(findings: Findings, leak: Leak) -> Sequence[object]:
    held, seen = findings.collection.pictures[leak.held], findings.collection.pictures[leak.seen]
    return (
        leak.kind,
        *(held.set_name, held.record.path, held.record.part, held.record.label),
        *(seen.set_name, seen.record.path, seen.record.part, seen.record.label),
        leak.patient,
        None if leak.orientation is None else ORIENTATIONS[leak.orientation],
        None if leak.score is None else f"{leak.score:.4f}",
    )


def _recovered(findings: Findings, i: int, patient: str) -> Sequence[object]:
    record = findings.collection.pictures[i].record
    known = (record.path, record.label, record.mask, patient, record.part)
    if i not in findings.origins:
        return (*known, None, None, None, None)
    link = findings.origins[i]
    origin = findings.collection.pictures[link.start].record
    return (*known, origin.path, origin.label, ORIENTATIONS[link.orientation], f"{link.score:.4f}")


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
    return path
