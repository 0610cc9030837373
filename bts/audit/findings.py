"""Leaks, contradicting labels and suspected duplicate patients among the images under audit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bts.audit.confounding import Confounding
from bts.audit.descriptor import compose, inverse
from bts.audit.images import Collection
from bts.audit.matches import Link, Match, Matches, group_numbers, members, spread
from bts.data.patient_ids import SamePatient
from bts.errors import RequestError
from bts.glossary import PARTS

LeakKind = Literal["patient", "bytes", "pixels", "near"]
KINDS: dict[LeakKind, str] = {
    "patient": "patient seen",
    "bytes": "same file",
    "pixels": "same pixels",
    "near": "near copy",
}
"""Kind of leak -> its name in tables."""
ALIKE = 0.85
"""Correlation of aligned detail from which slices of two patients are suspicious. In figshare, with IDs that differ by a
suffix as one patient, three pairs of patients have several such pairs of slices (docs/explanations/leak_audit.md)."""
LEAST_PAIRS = 2
"""Least number of such pairs for two patients to be suspected; a single pair may be chance."""


@dataclass(frozen=True)
class Leak:
    """A held-out image and the image of an earlier part that it was seen as.

    Attributes:
        kind: `patient`, or how the two images are the same: `bytes`, `pixels`, `near`.
        held: position of the image in validation or test.
        seen: position of the image in an earlier part (train before val before test).
        across: whether the two belong to different sets.
        orientation: index into `ORIENTATIONS` that turns `seen` into `held`; None for kind `patient`.
        score: correlation of aligned detail, the lowest along a chain of copies; None for kind `patient`.
        patient: the shared patient, for kind `patient`.
    """

    kind: LeakKind
    held: int
    seen: int
    across: bool
    orientation: int | None = None
    score: float | None = None
    patient: str | None = None


@dataclass(frozen=True)
class Suspects:
    """Two patient keys with similar slices: `pairs`, most similar first, uses no slice or copy of it twice."""

    one: str
    other: str
    pairs: tuple[Match, ...]


@dataclass(frozen=True, eq=False)
class Findings:
    """Result of an audit.

    Attributes:
        collection: images under audit.
        matches: copies, and the best rejected candidates.
        groups: (N,) first image of each image's group of copies.
        leaks: images and patients in two parts.
        contradictions: positions of two copies with different labels, one pair per further label of a group.
        origins: by image, the slice of the reference set from which it was made; empty without recovery.
        patients: patient key per image, None where unknown.
        suspects: pairs of patients that may be the same; not counted as leaks.
        confounding: classes by publisher of each set.
    """

    collection: Collection
    matches: Matches
    groups: np.ndarray
    leaks: tuple[Leak, ...]
    contradictions: tuple[tuple[int, int], ...]
    origins: Mapping[int, Link]
    patients: tuple[str | None, ...]
    suspects: tuple[Suspects, ...] = ()
    confounding: tuple[Confounding, ...] = ()

    @property
    def leaking(self) -> bool:
        """Whether an image or patient is in two parts."""
        return bool(self.leaks)

    @property
    def confounded(self) -> bool:
        """Whether a class of a set comes from a single publisher."""
        return any(each.single for each in self.confounding)

    def counts(self) -> Counter[tuple[str, str, LeakKind, bool]]:
        """Return the number of leaking held-out images by set, part, kind and whether they were seen in another set."""
        images = self.collection.images
        keys = {(leak.held, leak.kind, leak.across) for leak in self.leaks}
        return Counter((images[i].set_name, str(images[i].record.part), kind, across) for i, kind, across in keys)

    def refuse(self) -> None:
        """Raise `RequestError` with the first leak if there is one."""
        if not self.leaks:
            return
        leak = self.leaks[0]
        held, seen = self.collection.images[leak.held], self.collection.images[leak.seen]
        what = f"patient {leak.patient} is in" if leak.kind == "patient" else "the same image is"
        held_out = len({each.held for each in self.leaks})
        raise RequestError(
            f"the split leaks: {held_out} held-out slices were seen in an earlier part, the first: {what} {held.name} "
            f"({held.record.part}) and {seen.name} ({seen.record.part}): `bts audit` lists all; change the split or allow leaks"
        )


def judge(
    collection: Collection,
    matches: Matches,
    *,
    same_patient: SamePatient = "suffixes",
    origins: Mapping[int, Link] | None = None,
) -> Findings:
    """Derive leaks, contradictions and suspects from the matches."""
    origins = origins or {}
    groups = group_numbers(len(collection.images), matches.found)
    patients = collection.patients(same_patient)
    for i, origin in origins.items():
        patients[i] = patients[i] or patients[origin.start]
    links = spread(matches.found, np.unique(groups).tolist())
    leaks = [*_patient_leaks(collection, patients), *_copy_leaks(collection, groups, links)]
    return Findings(
        collection=collection,
        matches=matches,
        groups=groups,
        leaks=tuple(leaks),
        contradictions=tuple(_contradictions(collection, groups)),
        origins=origins,
        patients=tuple(patients),
        suspects=tuple(find_suspects((*matches.found, *matches.rejected), patients, groups)),
    )


def _earlier(collection: Collection, where: list[int]) -> Iterator[tuple[int, int, bool]]:
    """Yield (held, seen, across) for held-out images of a group: one seen image of the same set and one of another.

    Parts are ordered train, val, test; images without a part are ignored. Linear in the number of images.
    """
    first: dict[tuple[str, str], int] = {}
    for i in where:
        image = collection.images[i]
        if image.record.part:
            first.setdefault((image.record.part, image.set_name), i)
    for i in where:
        image = collection.images[i]
        if not image.record.part:
            continue
        before = PARTS[: PARTS.index(image.record.part)]
        seen = [(part, name, j) for part in before for (p, name), j in first.items() if p == part]
        for across in (False, True):
            those = [j for _, name, j in seen if (name != image.set_name) == across]
            if those:
                yield i, those[0], across


def _patient_leaks(collection: Collection, patients: list[str | None]) -> list[Leak]:
    images_of: dict[str, list[int]] = defaultdict(list)
    for i, patient in enumerate(patients):
        if patient is not None:
            images_of[patient].append(i)
    return [
        Leak(kind="patient", held=held, seen=seen, across=across, patient=patient.partition(":")[2])
        for patient, where in images_of.items()
        for held, seen, across in _earlier(collection, where)
    ]


def _copy_leaks(collection: Collection, groups: np.ndarray, links: Mapping[int, Link]) -> list[Leak]:
    """Return the leaks through copies; an exact copy takes precedence over a near one."""
    twins: dict[str, list[int]] = defaultdict(list)
    for i, image in enumerate(collection.images):
        twins[image.pixels_hash].append(i)
    exact = {(held, across): seen for where in twins.values() for held, seen, across in _earlier(collection, where)}
    near = {(held, across): seen for where in members(groups) for held, seen, across in _earlier(collection, where)}
    return [
        _copy_leak(collection, held, seen, across=across, links=links)
        for (held, across), seen in sorted({**near, **exact}.items())
    ]


def _copy_leak(collection: Collection, held: int, seen: int, *, across: bool, links: Mapping[int, Link]) -> Leak:
    one, other = collection.images[held], collection.images[seen]
    if one.pixels_hash == other.pixels_hash:
        kind: LeakKind = "bytes" if one.bytes_hash == other.bytes_hash else "pixels"
        return Leak(kind=kind, held=held, seen=seen, across=across, orientation=0, score=1.0)
    orientation = compose(inverse(links[seen].orientation), links[held].orientation)
    score = min(links[seen].score, links[held].score)
    return Leak(kind="near", held=held, seen=seen, across=across, orientation=orientation, score=score)


def _contradictions(collection: Collection, groups: np.ndarray) -> list[tuple[int, int]]:
    """Return pairs of copies with different labels: the first image of a group with the first of each further label."""
    pairs = []
    for where in members(groups):
        first: dict[str, int] = {}
        for i in where:
            label = collection.images[i].record.label
            if label is not None:
                first.setdefault(label, i)
        one, *others = first.values() or (-1,)
        pairs += [(one, other) for other in others]
    return pairs


def find_suspects(matches: Sequence[Match], patients: Sequence[str | None], groups: np.ndarray) -> list[Suspects]:
    """Return pairs of patients with at least `LEAST_PAIRS` pairs of similar slices, the most similar patients first.

    Args:
        matches: scored pairs, accepted and rejected.
        patients: patient key per image, None where unknown.
        groups: (N,) group of copies of each image; copies of one slice count once.
    """
    pairs: dict[tuple[str, str], list[Match]] = defaultdict(list)
    for match in sorted(matches, key=lambda match: -match.score):
        one, other = patients[match.one], patients[match.other]
        if match.score < ALIKE or one is None or other is None or one == other:
            continue
        found = pairs[min(one, other), max(one, other)]
        used = {int(groups[i]) for each in found for i in (each.one, each.other)}
        if not {int(groups[match.one]), int(groups[match.other])} & used:
            found.append(match)
    suspects = [Suspects(one, other, tuple(found)) for (one, other), found in pairs.items() if len(found) >= LEAST_PAIRS]
    return sorted(suspects, key=lambda each: -each.pairs[0].score)
