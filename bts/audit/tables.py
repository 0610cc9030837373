"""Files of an audit: CSV tables of leaks, contradictions, matches, suspects and recovered patients, and all counts as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, fields
from pathlib import Path

from bts import __version__, csv_files
from bts.audit.confounding import ProbeScore
from bts.audit.descriptor import ORIENTATIONS
from bts.audit.findings import Findings, Leak
from bts.audit.matches import SAME, Match
from bts.audit.patients import patients_of
from bts.audit.summary import leak_table, recovery_counts, repeated, shared

IMAGE, OTHER = ("set", "path", "part", "label"), ("other_set", "other_path", "other_part", "other_label")
RECOVERED = ("path", "label", "mask", "patient_id", "split", "origin", "origin_class", "orientation", "score")
"""The first five columns are those of a manifest: the file is one when it is placed in the folder of the data."""


def write_tables(findings: Findings, out: Path, *, reference: str | None = None) -> list[Path]:
    """Write the tables of leaks, contradictions, matches, suspects, publishers and their probe, and audit.json.

    With a reference also recovered_SET.csv of each other set.
    """
    images = findings.collection.images

    def image(i: int) -> tuple[object, ...]:
        return images[i].set_name, images[i].record.path, images[i].record.part, images[i].record.label

    def pair(match: Match) -> tuple[object, ...]:
        return (*image(match.one)[:2], *image(match.other)[:2])

    def leak_row(leak: Leak) -> tuple[object, ...]:
        orientation = None if leak.orientation is None else ORIENTATIONS[leak.orientation]
        score = None if leak.score is None else f"{leak.score:.4f}"
        return leak.kind, *image(leak.held), *image(leak.seen), leak.patient, orientation, score

    contradicting = [
        (*image(i)[:2], images[i].record.label, *image(j)[:2], images[j].record.label) for i, j in findings.contradictions
    ]
    matches = [(m.kind, *pair(m), ORIENTATIONS[m.orientation], f"{m.score:.4f}") for m in findings.matches.found]
    suspects = [(each.one, each.other, *pair(m), f"{m.score:.4f}") for each in findings.suspects for m in each.pairs]
    tables: dict[str, tuple[Sequence[str], Iterable[Sequence[object]]]] = {
        "leaks": (("kind", *IMAGE, *OTHER, "patient", "orientation", "score"), map(leak_row, findings.leaks)),
        "contradictions": (("set", "path", "label", "other_set", "other_path", "other_label"), contradicting),
        "matches": (("kind", "set", "path", "other_set", "other_path", "orientation", "score"), matches),
        "suspects": (("patient", "other_patient", "set", "path", "other_set", "other_path", "score"), suspects),
    }
    publishers = [
        (each.name, label, publisher, count, each.single.get(label) == publisher)
        for each in findings.confounding
        for label, counts in each.counts.items()
        for publisher, count in counts.items()
    ]
    tables["publishers"] = (("set", "label", "publisher", "slices", "alone"), publishers)
    probe = [(each.name, *astuple(score)) for each in findings.confounding for score in each.probe]
    tables["probe"] = (("set", *(item.name for item in fields(ProbeScore))), probe)
    if reference:
        patients = patients_of(findings.collection, findings.groups, findings.origins)
        for name in findings.collection.set_names:
            if name != reference:
                rows = [_recovered(findings, i, patients[i]) for i, each in enumerate(images) if each.set_name == name]
                tables[f"recovered_{name}"] = (RECOVERED, rows)
    written = [write_table(out / f"{name}.csv", columns, rows) for name, (columns, rows) in tables.items()]
    numbers = out / "audit.json"
    numbers.write_text(json.dumps(to_dict(findings, reference=reference), indent=1) + "\n", encoding="utf-8")
    return [*written, numbers]


def to_dict(findings: Findings, *, reference: str | None = None) -> dict[str, object]:
    """Return every count of the audit as plain values."""
    collection, common = findings.collection, sorted(shared(findings).items())
    return {
        "version": __version__,
        "leaking": findings.leaking,
        "same_from": SAME,
        "images": {name: sum(p.set_name == name for p in collection.images) for name in collection.set_names},
        "failed": list(collection.failed),
        "repeated": repeated(findings),
        "shared": [{"set": name, "other": other, "images": count} for (name, other), count in common],
        "leaks": [
            {
                "set": name,
                "part": part,
                "images": size,
                "kinds": {kind: {"within": within, "across": across} for kind, (within, across) in kinds.items()},
            }
            for name, part, size, kinds in leak_table(findings)
        ],
        "confounded": findings.confounded,
        "confounding": [asdict(each) for each in findings.confounding if len(each.publishers) > 1],
        "contradictions": len(findings.contradictions),
        "suspects": [{"one": each.one, "other": each.other, "pairs": len(each.pairs)} for each in findings.suspects],
        "recovered": [
            asdict(recovery_counts(findings, name)) for name in collection.set_names if reference and name != reference
        ],
    }


def _recovered(findings: Findings, i: int, patient: str) -> Sequence[object]:
    record = findings.collection.images[i].record
    known = (record.path, record.label, record.mask, patient, record.part)
    if i not in findings.origins:
        return (*known, None, None, None, None)
    link = findings.origins[i]
    origin = findings.collection.images[link.start].record
    return (*known, origin.path, origin.label, ORIENTATIONS[link.orientation], f"{link.score:.4f}")


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Write one table and return its path; hostile cells are quoted for spreadsheets."""
    with path.open("w", encoding="utf-8", errors=csv_files.UNDECODED, newline="") as file:
        writer = csv_files.writer(file)
        writer.writerow(columns)
        writer.writerows([["" if cell is None else cell for cell in row] for row in rows])
    return path
