"""How much of a set was recovered, and how much of its test part was seen in training? The numbers of the audit's tables."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from bts.audit.descriptor import ORIENTATIONS
from bts.audit.findings import KINDS, Findings
from bts.glossary import NO_TUMOUR


@dataclass(frozen=True)
class RecoveryCounts:
    """What the recovery says of one set.

    Attributes:
        set_name: the set.
        with_tumour: its pictures of a tumour class (or without label).
        recovered: those of them that are a slice of the reference set.
        healthy_recovered: healthy pictures that are one, of which there should be none.
        orientations: recovered pictures by how the slice was turned.
        slices: distinct slices among them.
        held_out: pictures with a tumour in validation or test.
        held_out_recovered: those of them that are recovered.
        slice_seen: ... whose very slice, however turned, stands in an earlier part.
        patient_seen: ... whose patient stands in an earlier part.
        label_differs: recovered pictures with another label than their slice.
        held_out_identical: held-out pictures of any class with the pixels of a picture of an earlier part.
    """

    set_name: str
    with_tumour: int
    recovered: int
    healthy_recovered: int
    orientations: dict[str, int]
    slices: int
    held_out: int
    held_out_recovered: int
    slice_seen: int
    patient_seen: int
    label_differs: int
    held_out_identical: int


def set_names(findings: Findings) -> list[str]:
    """Return the names of the audited sets, in their order."""
    return list(dict.fromkeys(picture.set_name for picture in findings.collection.pictures))


def recovery_counts(findings: Findings, name: str) -> RecoveryCounts:
    """Return the counts of one set."""
    pictures = findings.collection.pictures
    mine = [i for i, picture in enumerate(pictures) if picture.set_name == name]
    tumours = [i for i in mine if pictures[i].record.label != NO_TUMOUR]
    found = {i: findings.origins[i] for i in tumours if i in findings.origins}
    held_out = [i for i in tumours if pictures[i].record.part in ("val", "test")]
    trained = [i for i in found if pictures[i].record.part == "train"]
    slices = {found[i].start for i in trained}
    patients = {findings.patients[i] for i in trained}
    turned = Counter(ORIENTATIONS[link.orientation] for link in found.values())
    leaks = {leak.held for leak in findings.leaks if leak.kind in ("bytes", "pixels") and not leak.across}
    return RecoveryCounts(
        set_name=name,
        with_tumour=len(tumours),
        recovered=len(found),
        healthy_recovered=sum(i in findings.origins for i in mine if pictures[i].record.label == NO_TUMOUR),
        orientations={turn: turned[turn] for turn in ORIENTATIONS if turned[turn]},
        slices=len({link.start for link in found.values()}),
        held_out=len(held_out),
        held_out_recovered=sum(i in found for i in held_out),
        slice_seen=sum(i in found and found[i].start in slices for i in held_out),
        patient_seen=sum(i in found and findings.patients[i] in patients for i in held_out),
        label_differs=sum(pictures[i].record.label != pictures[link.start].record.label for i, link in found.items()),
        held_out_identical=sum(pictures[i].record.part in ("val", "test") for i in leaks & set(mine)),
    )


def leak_table(findings: Findings) -> list[tuple[str, str, int, dict[str, tuple[int, int]]]]:
    """Return (set, part, pictures, {kind: (leaking within the set, from another set)}) for each held-out part."""
    counts = findings.counts()
    sizes = Counter((picture.set_name, str(picture.record.part)) for picture in findings.collection.pictures)
    return [
        (
            name,
            part,
            sizes[name, part],
            {kind: (counts[name, part, kind, False], counts[name, part, kind, True]) for kind in KINDS},
        )
        for name in set_names(findings)
        for part in ("val", "test")
        if sizes[name, part]
    ]


def shared(findings: Findings) -> dict[tuple[str, str], int]:
    """Return how many pictures of one set have an equal one in another, by (set, other set)."""
    pictures = findings.collection.pictures
    sets_of: dict[int, set[str]] = {}
    for i, group in enumerate(findings.groups.tolist()):
        sets_of.setdefault(group, set()).add(pictures[i].set_name)
    return Counter(
        (pictures[i].set_name, other)
        for i, group in enumerate(findings.groups.tolist())
        for other in sets_of[group] - {pictures[i].set_name}
    )


def repeated(findings: Findings) -> dict[str, int]:
    """Return how many pictures of each set are a further copy of one that the set already has."""
    seen: set[tuple[str, int]] = set()
    copies: Counter[str] = Counter()
    for picture, group in zip(findings.collection.pictures, findings.groups.tolist(), strict=True):
        copies[picture.set_name] += (picture.set_name, group) in seen
        seen.add((picture.set_name, group))
    return copies
