"""Which slice of a set with patients is this picture of a set without? So patients that a publisher dropped are known again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

from bts.audit.groups import Link, spread
from bts.audit.matches import Match
from bts.audit.pictures import Collection


def find_origins(collection: Collection, matches: Iterable[Match], reference: str) -> dict[int, Link]:
    """Return the slice of the set `reference` that each picture of another set was made from, by position of the picture.

    A picture takes the slice that it matches best. One that matches only other pictures takes theirs.
    """
    starts = [i for i, picture in enumerate(collection.pictures) if picture.set_name == reference]
    return {i: link for i, link in spread(matches, starts).items() if link.steps}


def patients_of(collection: Collection, groups: np.ndarray, origins: Mapping[int, Link]) -> list[str]:
    """Return a patient for each picture: its own, its origin's, or one invented for its group of equal pictures.

    The invented ones (`unknown-` and a hash) keep copies of a picture together, not the slices of a person.
    """
    patients = []
    for i, picture in enumerate(collection.pictures):
        origin = collection.pictures[origins[i].start].record.patient if i in origins else None
        content = collection.pictures[int(groups[i])].pixels_hash
        invented = f"unknown-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
        patients.append(picture.record.patient or origin or invented)
    return patients
