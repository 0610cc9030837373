"""Patients, labels and masks from the names of files and folders: a folder and a pattern make a manifest."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from bts.data.readers.catalogue import is_scan
from bts.data.sources.base import Record
from bts.data.sources.labels import MASK_WORDS, PICTURE_WORDS, class_name, part_name
from bts.data.sources.picture_files import files_under, refuse_missing
from bts.errors import RequestError
from bts.glossary import FIGSHARE_CLASSES, NO_TUMOUR
from bts.registry import suggestion

FIELDS = {
    "patient": r"[^/]+",
    "label": r"[^/]+",
    "slice": r"[A-Za-z]*\d+[A-Za-z]?",
    "split": r"[A-Za-z]+",
    "*": r"[^/]*",
}
"""Field of a pattern -> what it matches; `*` is any text that is not used."""
MOST_READINGS = 1000
"""Readings of one name that are looked at: a name of many separators has more than anybody needs."""
WORD = r"(?:^|(?<=[_\-. ]))(?:{})(?=$|[_\-. ])"


@dataclass(frozen=True)
class NamedFiles:
    """What the names of a folder's files say.

    Attributes:
        records: pictures, with the masks that belong to them.
        unmatched: pictures that the pattern does not fit.
        lone_masks: files that look like masks but belong to no picture.
    """

    records: list[Record]
    unmatched: list[str]
    lone_masks: list[str]


def read_names(root: Path, pattern: str) -> NamedFiles:
    """Read patient, label and part of every picture under `root` from its name, and pair masks with pictures.

    Args:
        root: folder.
        pattern: such as `{label}/{patient}_{slice}`, for the last folders and the file name without its suffix. Fields are
            `{patient}`, `{label}`, `{slice}` (a number), `{split}`; `*` stands for any text.

    A file is a mask if its name or a folder contains a word such as `mask` or `seg`. It belongs to the picture of the same name
    apart from such words, and from `img` and the like.

    Raises:
        RequestError: a wrong pattern, a name with two readings, a picture with two masks, or no picture that fits.
    """
    refuse_missing(root)
    steps = parse_pattern(pattern)
    depth = pattern.count("/") + 1
    names = [file.relative_to(root).as_posix() for file in files_under(root) if is_scan(file)]
    masks, pictures = ([name for name in names if _is_mask(name) == wanted] for wanted in (True, False))
    mask_of, lone = pair_masks(pictures, masks)
    records, unmatched = [], []
    for name in pictures:
        stem = "/".join(_without_suffix(name).split("/")[-depth:])
        found = choose_reading(name, list(islice(readings(steps, stem), MOST_READINGS)), pattern)
        if found is None:
            unmatched.append(name)
            continue
        label = found.get("label")
        records.append(
            Record(
                path=name,
                label=class_name(label) if label else None,
                patient=found.get("patient"),
                part=part_name(found.get("split", "")),
                mask=mask_of.get(name),
            )
        )
    if not records:
        first = f"the first is '{unmatched[0]}'" if unmatched else "there is no picture"
        raise RequestError(f"{root}: no picture fits the pattern '{pattern}', {first}: fields are {_known()}, `*` is any text")
    return NamedFiles(records, unmatched, lone)


def parse_pattern(pattern: str) -> list[tuple[str, bool]]:
    """Return the steps of a pattern: (text, False), or (field, True).

    >>> parse_pattern("{label}/{patient}_*")
    [('label', True), ('/', False), ('patient', True), ('_', False), ('*', True)]
    """
    steps = [
        (piece.strip("{}"), True) if re.fullmatch(r"\{[^{}]*\}|\*", piece) else (piece, False)
        for piece in re.split(r"(\{[^{}]*\}|\*)", pattern)
        if piece
    ]
    fields = [name for name, is_field in steps if is_field and name != "*"]
    if not fields or any(mark in text for text, is_field in steps if not is_field for mark in "{}"):
        raise RequestError(f"--pattern '{pattern}': expected fields in braces, such as '{{patient}}_{{label}}_{{slice}}'")
    for name in fields:
        if name not in FIELDS:
            raise RequestError(f"--pattern: unknown field '{{{name}}}'{suggestion(name, FIELDS)}: fields are {_known()}")
        if fields.count(name) > 1:
            raise RequestError(f"--pattern: the field '{{{name}}}' is in it twice: name each once, `*` is any text")
    if any(one[1] and two[1] and "*" not in (one[0], two[0]) for one, two in pairwise(steps)):
        raise RequestError(f"--pattern '{pattern}': two fields touch: put the text between them that is in the names")
    return steps


def readings(steps: Sequence[tuple[str, bool]], text: str) -> Iterator[dict[str, str]]:
    """Yield every way in which the steps fit a whole text.

    >>> [each["patient"] for each in readings(parse_pattern("{patient}_{slice}"), "P_1_2")]
    ['P_1']
    """
    if not steps:
        if not text:
            yield {}
        return
    (step, is_field), rest = steps[0], steps[1:]
    if not is_field:
        if text.startswith(step):
            yield from readings(rest, text[len(step) :])
        return
    for end in range(len(text) + 1):
        if re.fullmatch(FIELDS[step], text[:end]):
            yield from ({step: text[:end]} | found for found in readings(rest, text[end:]))


def choose_reading(name: str, found: Sequence[Mapping[str, str]], pattern: str) -> Mapping[str, str] | None:
    """Return the reading of a name, the one with a known class where there are several; None without one.

    Raises:
        RequestError: several readings remain, or a `{split}` is no part.
    """
    fitting = [each for each in found if "split" not in each or part_name(each["split"])]
    if found and not fitting:
        raise RequestError(f"{name}: split '{found[0]['split']}': expected train, val or test, as publishers write them")
    used = [{key: value for key, value in each.items() if key not in ("*", "slice")} for each in fitting]
    known = [each for each in used if class_name(each.get("label", "")) in (*FIGSHARE_CLASSES, NO_TUMOUR)]
    different = [each for i, each in enumerate(known or used) if each not in (known or used)[:i]]
    if len(different) > 1:
        one, other = (", ".join(f"{key} '{value}'" for key, value in each.items()) for each in different[:2])
        raise RequestError(
            f"{name}: two readings of the pattern '{pattern}' ({one}; or {other}): write more of the names into the pattern"
        )
    return different[0] if different else None


def pair_masks(pictures: Sequence[str], masks: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the mask of each picture by its name, and the masks that belong to no picture.

    >>> pair_masks(["img/a_1.png", "b.png"], ["seg/a_1.png", "b_mask.png", "c_mask.png"])
    ({'img/a_1.png': 'seg/a_1.png', 'b.png': 'b_mask.png'}, ['c_mask.png'])
    """
    by_key: dict[str, list[str]] = defaultdict(list)
    for name in pictures:
        by_key[_key(name)].append(name)
    found: dict[str, str] = {}
    lone = []
    for mask in masks:
        own = by_key.get(_key(mask), [])
        beside = [name for name in own if Path(name).parent == Path(mask).parent] or own
        if not beside:
            lone.append(mask)
            continue
        if len(beside) > 1 or beside[0] in found:
            one, other = (beside[0], beside[1]) if len(beside) > 1 else (found[beside[0]], mask)
            raise RequestError(f"{mask}: expected one picture and one mask of this name, found '{one}' and '{other}' too")
        found[beside[0]] = mask
    return found, lone


def _is_mask(name: str) -> bool:
    return _key(name, words=MASK_WORDS) != _without_suffix(name).lower()


def _key(name: str, words: Sequence[str] = (*MASK_WORDS, *PICTURE_WORDS)) -> str:
    """Return a path without suffix, mask words and picture words, in small letters: equal for a picture and its mask."""
    word = re.compile(WORD.format("|".join(words)))
    parts = [re.sub(r"^[_\-. ]+|[_\-. ]+$", "", word.sub("", part)) for part in _without_suffix(name).lower().split("/")]
    return "/".join(re.sub(r"([_\-. ])[_\-. ]+", r"\1", part) for part in parts if part)


def _without_suffix(name: str) -> str:
    return re.sub(r"(\.nii)?\.[A-Za-z0-9]+$", "", name)


def _known() -> str:
    return ", ".join(f"{{{name}}}" for name in FIELDS if name != "*")
