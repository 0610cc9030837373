"""Families of patient IDs that mean one person, whose scans must stay on one side of a split.

In the figshare set 42 of the 233 IDs form 18 families such as MR040240, MR040240B, MR040240C: one number, other letters.
That the letter counts the scans of one person is an assumption, and the cautious one: where it is wrong a little freedom
is lost in the split, where it is right and ignored the test patients were seen in training. The pictures bear it out for
some families (their slices' nearest neighbours lie inside the family) and say nothing either way for most.
"""

from __future__ import annotations

import re
from typing import Literal

Group = Literal["family", "exact"]
"""`family` takes MR040240 and MR040240B for one person, `exact` for two."""

_LETTERED = re.compile(r"(MR\d+)[A-Z]")


def family(patient: str) -> str:
    """Return the ID without the scan letter of figshare's MR numbers; any other ID is its own family.

    >>> family("MR040240B"), family("MR040240"), family("100360"), family("patient_B")
    ('MR040240', 'MR040240', '100360', 'patient_B')
    """
    match = _LETTERED.fullmatch(patient)
    return match.group(1) if match else patient


def person(patient: str, group: Group) -> str:
    """Return the key under which all scans of one person are kept together.

    >>> person("MR040240B", "family"), person("MR040240B", "exact")
    ('MR040240', 'MR040240B')
    """
    return family(patient) if group == "family" else patient
