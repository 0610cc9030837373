"""Counts of an audit, and its summary for the terminal: verdict, leaks by set and part, recovery."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from bts.audit.descriptor import ORIENTATIONS
from bts.audit.findings import KINDS, Findings
from bts.glossary import NO_TUMOUR, PARTS, count_of


@dataclass(frozen=True)
class RecoveryCounts:
    """Counts of the recovery of one set.

    Attributes:
        set_name: name of the set.
        with_tumour: images of a tumour class or without a label.
        recovered: those of them that are a slice of the reference set.
        healthy_recovered: healthy images that are one; there should be none.
        orientations: recovered images by orientation.
        slices: distinct slices among the recovered images.
        held_out: images with a tumour in validation or test.
        held_out_recovered: those of them that are recovered.
        slice_seen: those of them whose slice, in any orientation, is in the training part.
        patient_seen: those of them whose patient is in the training part.
        label_differs: recovered images with another label than their slice.
        held_out_identical: held-out images of any class with the same pixels as an image of an earlier part.
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


def recovery_counts(findings: Findings, name: str) -> RecoveryCounts:
    """Count the recovered images of one set."""
    images = findings.collection.images
    mine = [i for i, image in enumerate(images) if image.set_name == name]
    tumours = [i for i in mine if images[i].record.label != NO_TUMOUR]
    found = {i: findings.origins[i] for i in tumours if i in findings.origins}
    held_out = [i for i in tumours if images[i].record.part in ("val", "test")]
    trained = [i for i in found if images[i].record.part == "train"]
    slices = {found[i].start for i in trained}
    patients = {findings.patients[i] for i in trained}
    orientations = Counter(ORIENTATIONS[link.orientation] for link in found.values())
    identical = {leak.held for leak in findings.leaks if leak.kind in ("bytes", "pixels") and not leak.across}
    return RecoveryCounts(
        set_name=name,
        with_tumour=len(tumours),
        recovered=len(found),
        healthy_recovered=sum(i in findings.origins for i in mine if images[i].record.label == NO_TUMOUR),
        orientations={turn: orientations[turn] for turn in ORIENTATIONS if orientations[turn]},
        slices=len({link.start for link in found.values()}),
        held_out=len(held_out),
        held_out_recovered=sum(i in found for i in held_out),
        slice_seen=sum(i in found and found[i].start in slices for i in held_out),
        patient_seen=sum(i in found and findings.patients[i] in patients for i in held_out),
        label_differs=sum(images[i].record.label != images[link.start].record.label for i, link in found.items()),
        held_out_identical=sum(images[i].record.part in ("val", "test") for i in identical & set(mine)),
    )


def leak_table(findings: Findings) -> list[tuple[str, str, int, dict[str, tuple[int, int]]]]:
    """Return (set, part, images, {kind: (seen within the set, seen in another set)}) for each held-out part."""
    counts = findings.counts()
    sizes = Counter((image.set_name, str(image.record.part)) for image in findings.collection.images)
    return [
        (
            name,
            part,
            sizes[name, part],
            {kind: (counts[name, part, kind, False], counts[name, part, kind, True]) for kind in KINDS},
        )
        for name in findings.collection.set_names
        for part in ("val", "test")
        if sizes[name, part]
    ]


def shared(findings: Findings) -> dict[tuple[str, str], int]:
    """Return the number of images of one set with a copy in another, by (set, other set)."""
    placed = list(zip((image.set_name for image in findings.collection.images), findings.groups.tolist(), strict=True))
    sets_of: dict[int, set[str]] = {}
    for name, group in placed:
        sets_of.setdefault(group, set()).add(name)
    return Counter((name, other) for name, group in placed for other in sets_of[group] - {name})


def repeats(findings: Findings) -> list[tuple[int, int]]:
    """Return each image that repeats an earlier one of its set, as (earlier, image), those under two patient IDs first."""
    first: dict[tuple[str, int], dict[str | None, int]] = {}
    pairs = []
    for i, (image, group) in enumerate(zip(findings.collection.images, findings.groups.tolist(), strict=True)):
        patient, earlier = findings.patients[i], first.setdefault((image.set_name, group), {})
        if earlier:
            others = (j for key, j in earlier.items() if patient is not None and key not in (None, patient))
            pairs.append((next(others, next(iter(earlier.values()))), i))
        earlier.setdefault(patient, i)
    return sorted(pairs, key=lambda pair: not two_patients(findings, *pair))


def two_patients(findings: Findings, one: int, other: int) -> bool:
    """Whether two images are known to be of two patients."""
    patients = {findings.patients[one], findings.patients[other]}
    return len(patients) == 2 and None not in patients


def under_two_ids(findings: Findings) -> list[tuple[int, int]]:
    """Return those of the repeats that are of two patients, who are one, or share an image by mistake."""
    return [pair for pair in repeats(findings) if two_patients(findings, *pair)]


def repeated(findings: Findings) -> dict[str, int]:
    """Return the number of images of each set that are a further copy of another image of the set."""
    copies = Counter(findings.collection.images[i].set_name for _, i in repeats(findings))
    return {name: copies[name] for name in findings.collection.set_names}


def verdict(findings: Findings) -> str:
    """Return the result in one line."""
    found = [f"{each.name}: {each.finding}" for each in findings.confounding if each.single]
    return _leak_verdict(findings) + (f"; CONFOUNDED: class and publisher coincide ({'; '.join(found)})" if found else "")


def _leak_verdict(findings: Findings) -> str:
    if not findings.leaking:
        parts = any(image.record.part for image in findings.collection.images)
        told = "no leak: no image and no known patient is in two parts" if parts else "no parts, so nothing leaks yet"
        copies = len(under_two_ids(findings))
        return told + (f"; but copies have two patient IDs: {copies}" if copies else "")
    held = len({leak.held for leak in findings.leaks})
    total = sum(image.record.part in ("val", "test") for image in findings.collection.images)
    return f"LEAK: {held} of {total} held-out images were seen in an earlier part, by patient or as a copy"


def summary(findings: Findings, *, reference: str | None = None) -> list[str]:
    """Return the lines that `bts audit` prints."""
    lines = [verdict(findings), "", *_set_lines(findings), *_leak_lines(findings)]
    lines += [line for each in findings.confounding for line in each.lines()]
    for name in findings.collection.set_names if reference else []:
        if name != reference:
            lines += _recovery_lines(recovery_counts(findings, name), str(reference))
    if findings.contradictions:
        lines.append(f"copies with different labels: {len(findings.contradictions)} pairs (contradictions.csv)")
    copies = under_two_ids(findings)
    if copies:
        one, other = (findings.collection.images[i].name for i in copies[0])
        lines.append(
            f"copies under two patient IDs: {len(copies)}, which a split by patient can part, the first: {one} and {other} "
            "(matches.csv): use one ID, or remove one"
        )
    for each in findings.suspects:
        names = " and ".join(key.partition(":")[2] for key in (each.one, each.other))
        score = each.pairs[0].score
        lines.append(f"patients {names} may be the same: {len(each.pairs)} similar pairs of slices, highest score {score:.2f}")
    unknown = sum(patient is None for patient in findings.patients)
    if unknown:
        lines.append(f"unknown patients: {unknown} of {len(findings.patients)} images, which may be in two parts undetected")
    if findings.collection.failed:
        lines.append(
            f"{count_of(len(findings.collection.failed), 'image')} can't be read, the first: {findings.collection.failed[0]}"
        )
    return lines


def _set_lines(findings: Findings) -> list[str]:
    copies, lines = repeated(findings), []
    for name in findings.collection.set_names:
        parts = [image.record.part for image in findings.collection.images if image.set_name == name]
        sizes = ", ".join(f"{parts.count(part)} {part}" for part in PARTS if part in parts)
        lines.append(f"{name}: {len(parts)} images{f' ({sizes})' if sizes else ''}, {copies[name]} repeat another of the set")
    common = sorted(shared(findings).items())
    return [*lines, *(f"{name}: {count} images are also in {other}" for (name, other), count in common)]


def _leak_lines(findings: Findings) -> list[str]:
    rows = [row for row in leak_table(findings) if any(sum(pair) for pair in row[3].values())]
    if not rows:
        return [""]
    lines = ["", "held-out images seen in an earlier part: of the same set + of another set"]
    lines.append(_columns(["held out", "images", *KINDS.values()]))
    for name, part, size, kinds in rows:
        cells = [f"{within} + {across}" if across else str(within) for within, across in kinds.values()]
        lines.append(_columns([f"{name} {part}", str(size), *cells]))
    return [*lines, ""]


def _columns(cells: list[str]) -> str:
    return f"{cells[0]:<24}" + "".join(f"{cell:>14}" for cell in cells[1:])


def _recovery_lines(found: RecoveryCounts, reference: str) -> list[str]:
    orientations = ", ".join(f"{count} {turn}" for turn, count in found.orientations.items()) or "none"
    lines = [
        f"{found.set_name} against {reference}:",
        f"  images with a tumour that are a slice of {reference}: {found.recovered} of {found.with_tumour} ({orientations})",
        f"  distinct slices of {reference}: {found.slices}; label differs: {found.label_differs}",
    ]
    if found.healthy_recovered:
        lines.append(f"  healthy images that are a slice of {reference}: {found.healthy_recovered}")
    if found.held_out:
        lines += [
            f"  held out, with a tumour, recovered: {found.held_out_recovered} of {found.held_out}",
            f"    whose slice is in the training part: {_share(found.slice_seen, found.held_out_recovered)}",
            f"    whose patient is in the training part: {_share(found.patient_seen, found.held_out_recovered)}",
            f"  held-out images of all classes with the pixels of an earlier one: {found.held_out_identical}",
        ]
    return [*lines, ""]


def _share(count: int, total: int) -> str:
    return f"{count} ({100 * count / total:.0f}%)" if total else str(count)
