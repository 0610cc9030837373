"""What did the audit find, and is any of it a leak? A leak is a picture or a patient on two sides of a split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bts.audit.descriptor import compose, inverse
from bts.audit.groups import Link, group_numbers, members, spread
from bts.audit.matches import Matches
from bts.audit.pictures import Collection
from bts.audit.suspects import Suspects, find_suspects
from bts.data.families import Group
from bts.errors import RequestError
from bts.glossary import PARTS

LeakKind = Literal["patient", "bytes", "pixels", "near"]
KINDS: tuple[LeakKind, ...] = ("patient", "bytes", "pixels", "near")


@dataclass(frozen=True)
class Leak:
    """A held-out picture and the one it was seen as before.

    Attributes:
        kind: `patient`, or how the two pictures are the same: `bytes`, `pixels`, `near`.
        held: position of the picture in validation or test.
        seen: position of the one in an earlier part (train before val before test).
        across: True where the two belong to different sets.
        orientation: index into `ORIENTATIONS` that turns `seen` into `held`, where the two are the same picture.
        score: correlation of aligned detail, of the weakest step where other copies link the two; None for a patient.
        patient: who is on both, for kind `patient`.
    """

    kind: LeakKind
    held: int
    seen: int
    across: bool
    orientation: int | None = None
    score: float | None = None
    patient: str | None = None


@dataclass(frozen=True, eq=False)
class Findings:
    """All that an audit found.

    Attributes:
        collection: what was audited.
        matches: equal pictures, and the nearest misses.
        groups: (N,) the first picture of each picture's group of equal ones.
        leaks: what stands on two sides.
        contradictions: positions of two equal pictures with different labels, a pair for each further label of a group.
        origins: by picture, the slice of the reference set that it was made from (empty unless recovery was asked for).
        patients: whom each picture was counted for, None where nobody knows.
        suspects: pairs of patients that may be one person. No leak, but worth a look.
    """

    collection: Collection
    matches: Matches
    groups: np.ndarray
    leaks: tuple[Leak, ...]
    contradictions: tuple[tuple[int, int], ...]
    origins: Mapping[int, Link]
    patients: tuple[str | None, ...]
    suspects: tuple[Suspects, ...] = ()

    @property
    def leaking(self) -> bool:
        """True where a picture or patient stands on two sides."""
        return bool(self.leaks)

    def counts(self) -> Counter[tuple[str, str, LeakKind, bool]]:
        """Return how many held-out pictures leak, by set, part, kind and whether from another set."""
        pictures = self.collection.pictures
        keys = {(leak.held, leak.kind, leak.across) for leak in self.leaks}
        return Counter((pictures[i].set_name, str(pictures[i].record.part), kind, across) for i, kind, across in keys)

    def refuse(self) -> None:
        """Raise `RequestError`, one line with the first leak, where there is one: for a training that must not start."""
        if not self.leaks:
            return
        leak = self.leaks[0]
        held, seen = self.collection.pictures[leak.held], self.collection.pictures[leak.seen]
        what = f"patient {leak.patient} is on" if leak.kind == "patient" else "the same picture is"
        held_out = len({each.held for each in self.leaks})
        raise RequestError(
            f"the split leaks: {held_out} held-out slices were seen in an earlier part, the first: {what} {held.name} "
            f"({held.record.part}) and {seen.name} ({seen.record.part}): `bts audit` lists all, split anew or train anyway"
        )


def judge(
    collection: Collection, matches: Matches, *, group: Group = "family", origins: Mapping[int, Link] | None = None
) -> Findings:
    """Return the findings: which matches and patients stand on two sides, and which labels contradict each other."""
    origins = origins or {}
    groups = group_numbers(len(collection.pictures), matches.found)
    people = collection.people(group)
    for i, origin in origins.items():
        people[i] = people[i] or people[origin.start]
    links = spread(matches.found, np.unique(groups).tolist())
    leaks = [*_patient_leaks(collection, people), *_copy_leaks(collection, groups, links)]
    return Findings(
        collection=collection,
        matches=matches,
        groups=groups,
        leaks=tuple(leaks),
        contradictions=tuple(_contradictions(collection, groups)),
        origins=origins,
        patients=tuple(people),
        suspects=tuple(find_suspects((*matches.found, *matches.rejected), people, groups)),
    )


def _earlier(collection: Collection, where: list[int]) -> Iterator[tuple[int, int, bool]]:
    """Yield (held, seen, across) for the held-out of pictures that belong together: one seen of the same set, one of another.

    Parts are ordered train, val, test; a picture in none is on no side. Linear in the pictures, for any number of copies.
    """
    first: dict[tuple[str, str], int] = {}
    for i in where:
        picture = collection.pictures[i]
        if picture.record.part:
            first.setdefault((picture.record.part, picture.set_name), i)
    for i in where:
        picture = collection.pictures[i]
        if not picture.record.part:
            continue
        before = PARTS[: PARTS.index(picture.record.part)]
        seen = [(part, name, j) for part in before for (p, name), j in first.items() if p == part]
        for across in (False, True):
            those = [j for _, name, j in seen if (name != picture.set_name) == across]
            if those:
                yield i, those[0], across


def _patient_leaks(collection: Collection, people: list[str | None]) -> list[Leak]:
    pictures_of: dict[str, list[int]] = defaultdict(list)
    for i, who in enumerate(people):
        if who is not None:
            pictures_of[who].append(i)
    return [
        Leak(kind="patient", held=held, seen=seen, across=across, patient=who.partition(":")[2])
        for who, where in pictures_of.items()
        for held, seen, across in _earlier(collection, where)
    ]


def _copy_leaks(collection: Collection, groups: np.ndarray, links: Mapping[int, Link]) -> list[Leak]:
    """Return the leaks of equal pictures; a held-out one with an identical twin counts for that, not for a likeness."""
    twins: dict[str, list[int]] = defaultdict(list)
    for i, picture in enumerate(collection.pictures):
        twins[picture.pixels_hash].append(i)
    exact = {(held, across): seen for where in twins.values() for held, seen, across in _earlier(collection, where)}
    near = {(held, across): seen for where in members(groups) for held, seen, across in _earlier(collection, where)}
    return [
        _copy_leak(collection, held, seen, across=across, links=links)
        for (held, across), seen in sorted({**near, **exact}.items())
    ]


def _copy_leak(collection: Collection, held: int, seen: int, *, across: bool, links: Mapping[int, Link]) -> Leak:
    one, other = collection.pictures[held], collection.pictures[seen]
    if one.pixels_hash == other.pixels_hash:
        kind: LeakKind = "bytes" if one.bytes_hash == other.bytes_hash else "pixels"
        return Leak(kind=kind, held=held, seen=seen, across=across, orientation=0, score=1.0)
    orientation = compose(inverse(links[seen].orientation), links[held].orientation)
    score = min(links[seen].score, links[held].score)
    return Leak(kind="near", held=held, seen=seen, across=across, orientation=orientation, score=score)


def _contradictions(collection: Collection, groups: np.ndarray) -> list[tuple[int, int]]:
    """Return pairs of equal pictures with different labels: the first picture of each label of a group, with its very first."""
    pairs = []
    for where in members(groups):
        first: dict[str, int] = {}
        for i in where:
            label = collection.pictures[i].record.label
            if label is not None:
                first.setdefault(label, i)
        one, *others = first.values() or (-1,)
        pairs += [(one, other) for other in others]
    return pairs
