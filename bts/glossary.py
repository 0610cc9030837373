"""Terms of this project, one word per idea; `docs/glossary.md` explains each."""

from __future__ import annotations

from typing import Literal, get_args

Task = Literal["seg", "cls", "joint"]
TASKS: tuple[Task, ...] = get_args(Task)

Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = get_args(Part)

NO_TUMOUR = "no_tumour"
"""The class of a healthy slice, under this name in every source."""

FIGSHARE_CLASSES = ("meningioma", "glioma", "pituitary")
"""Cheng's classes in the order of their labels 1, 2, 3."""

PLANES = ("axial", "coronal", "sagittal")
"""How a slice may lie in the head."""

DISCLAIMER = "Research software, not a medical device."


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun, which takes an s in the plural.

    >>> count_of(1, "patient"), count_of(2, "slice"), count_of(0, "mask")
    ('1 patient', '2 slices', '0 masks')
    """
    return f"{number} {noun}{'' if number == 1 else 's'}"
