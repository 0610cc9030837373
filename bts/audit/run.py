"""Leak audit of data sources and their splits, within a set and across sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bts.audit.confounding import find_confounding, with_probe
from bts.audit.findings import Findings, judge
from bts.audit.images import AuditSet, collect, records_of
from bts.audit.matches import find_matches
from bts.audit.neighbours import EXACT
from bts.audit.patients import find_origins, read_rows
from bts.data.patient_ids import SamePatient
from bts.data.sources.base import Source
from bts.data.sources.labels import part_name
from bts.data.split import Split
from bts.errors import RequestError
from bts.glossary import Part


def find_leaks(
    sets: Sequence[AuditSet],
    *,
    same_patient: SamePatient = "suffixes",
    recover: str | None = None,
    exact: int = EXACT,
) -> Findings:
    """Find images and patients in two parts, contradicting labels, and the patients of images without one.

    Args:
        sets: sources to audit together, with their parts.
        same_patient: `suffixes` counts MR040240 and MR040240B as one patient, `exact` as two.
        recover: name of the set whose patients are assigned to the images of the other sets that show its slices.
        exact: number of distinct images up to which all pairs are compared.

    Raises:
        RequestError: duplicate set names, an unknown set to recover from, a split of other data, or no readable image.
    """
    names = [each.name for each in sets]
    if recover and recover not in names:
        raise RequestError(f"no set '{recover}' to recover from: audit it together with the others (here: {', '.join(names)})")
    collection = collect(sets)
    matches = find_matches(collection, exact=exact)
    origins = find_origins(collection, matches.found, recover) if recover else {}
    found = []
    for each in sets:
        records = records_of(each)
        found.append(with_probe(find_confounding(records, each.name), each.source, records, same_patient=same_patient))
    return replace(judge(collection, matches, same_patient=same_patient, origins=origins), confounding=tuple(found))


def audit_split(source: Source, split: Split) -> Findings:
    """Audit one source and its split; `Findings.refuse` raises `RequestError` for the first leak."""
    return find_leaks([split_set(source, split)], same_patient=split.same_patient)


def split_set(source: Source, split: Split) -> AuditSet:
    """Return a source under audit with the parts and patients of a split."""
    parts = {row.path: row.part for row in split.rows}
    patients = {row.path: row.patient for row in split.rows}
    return AuditSet(name=source.name, source=source, parts=parts, patients=patients)


def with_split_file(each: AuditSet, file: Path) -> AuditSet:
    """Return the set with the parts, and patients if present, of a CSV with `path`, `part` and `patient`.

    Unlike `Split.read` this accepts a split with leaks, since finding them is the purpose.

    Raises:
        RequestError: an unreadable file, a missing column, an unknown part, or a duplicate slice.
    """
    parts: dict[str, Part] = {}
    patients: dict[str, str] = {}
    for line, cells in read_rows(file, ("path", "part"), remedy="give a CSV with path, part and patient"):
        part = part_name(cells["part"])
        if part is None:
            raise RequestError(f"{file}: line {line}: part '{cells['part']}': expected train, val or test")
        parts[cells["path"]] = part
        if cells.get("patient"):
            patients[cells["path"]] = cells["patient"]
    return replace(each, parts=parts, patients=patients)
