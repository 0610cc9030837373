"""Names of classes and parts: normalisation and order."""

from __future__ import annotations

import re
from collections.abc import Iterable

from bts.glossary import FIGSHARE_CLASSES, NO_TUMOUR, Part

HEALTHY = re.compile(
    r"(no|non|not|without)_?(brain_)?tumou?r(s|ous|al)?|tumou?rs?_?(free|absent)|healthy(_brain)?|normal(_brain)?|no"
)
"""Names under which publishers file healthy slices, in small letters."""
UNLABELLED = ("pred", "predict", "prediction", "predictions", "unlabeled", "unlabelled")
"""Names of folders beside those of the classes that hold pictures without a label, as Br35H's `pred`."""

MASK_WORDS = (
    *("mask", "masks", "seg", "segs", "segmentation", "segmentations", "annotation", "annotations"),
    *("gt", "groundtruth", "ground_truth", "roi", "rois"),
)
PICTURE_WORDS = ("img", "imgs", "image", "images", "picture", "pictures", "scan", "scans")
"""Words in names of files and folders that tell masks from pictures and are no class, in small letters."""

PART_NAMES: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Publishers' names of the parts, in small letters."""


def class_name(text: str) -> str:
    """Return the class under this project's name: small letters, underscores, `no_tumour` for a healthy slice.

    >>> [class_name(text) for text in ("notumor", "No Tumors", "non-tumor", "healthy", "glioma_tumor", "Metastasis")]
    ['no_tumour', 'no_tumour', 'no_tumour', 'no_tumour', 'glioma', 'metastasis']
    """
    name = re.sub(r"[\s\-]+", "_", text.strip().lower())
    if HEALTHY.fullmatch(name):
        return NO_TUMOUR
    return re.sub(r"_tumou?rs?$", "", name)


def ordered_classes(names: Iterable[str]) -> tuple[str, ...]:
    """Return the classes once each: figshare's in their published order, then others by name, then `no_tumour`.

    The order depends on the names alone, so two sets with the same classes fit the same model.

    >>> ordered_classes(["no_tumour", "glioma", "abscess", "meningioma"])
    ('meningioma', 'glioma', 'abscess', 'no_tumour')
    """
    there = set(names)
    known = [name for name in FIGSHARE_CLASSES if name in there]
    others = sorted(there - {*FIGSHARE_CLASSES, NO_TUMOUR})
    return (*known, *others, *([NO_TUMOUR] if NO_TUMOUR in there else []))


def part_name(text: str) -> Part | None:
    """Return the part that a folder's or column's word means, or None.

    >>> part_name("Training"), part_name("validation"), part_name("glioma")
    ('train', 'val', None)
    """
    return PART_NAMES.get(text.strip().lower())
