"""Validation of model cards: types, limits and texts of the parts of `model.json`, and a reader for untrusted JSON.

Model folders are exchanged, so a card is read as hostile input: its size and depth are bounded, numbers are finite, and no text
is an expression to the parser of a MONAI bundle, into which texts of the card are copied.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar

from bts.errors import RequestError
from bts.fields import Conflict, Length, Pattern, Range, expectation, from_mapping, value_problems
from bts.registry import suggestion
from bts.settings import LARGEST_SIDE

LARGEST_CARD = 8 * 2**20
"""Bytes of a `model.json`; 888 patients and the reference of `ood` take 100 kB."""
DEEPEST = 16
LONGEST_KEY, LONGEST_TEXT = 128, 65_536
LONGEST_MESSAGE = 400
LONGEST_DIGITS = 18
"""Digits of a whole number: larger ones overflow a float or take long to read."""

EVALUATED = re.compile(r"^\s*[$@%]|\$|[@%](?:#|::)")
"""What MONAI's parser evaluates: expressions `$...`, references `@...`, macros `%...`, and relative ones within a text."""
KEY = re.compile(r"(?!_.*_$)[^$@%#]+")
"""A key of a mapping: MONAI builds objects of mappings with keys such as `_target_`, and separates keys by # and ::."""

ClassName = Annotated[
    str,
    Pattern(
        r"(?=.{1,64}$)[^\W_](?:[\w .+\-/()&,']*[\w.+)'])?",
        "a name of 1 to 64 letters, digits and _ . + - / ( ) & , ' that begins with a letter or digit",
    ),
]
Prose = Annotated[str, Length(0, 4000)]
Line = Annotated[str, Length(0, 200)]
Hash = Annotated[str, Pattern(r"[0-9a-f]{64}", "64 hexadecimal digits")]
HashOrNone = Annotated[str, Pattern(r"(?:[0-9a-f]{64})?", "64 hexadecimal digits, or an empty text")]
KeyName = Annotated[str, Pattern(r"(?:[0-9a-f]{16})?", "16 hexadecimal digits, or an empty text")]
Fingerprint = Annotated[str, Pattern(r"[0-9a-f]{0,64}", "up to 64 hexadecimal digits")]
Share = Annotated[float, Range(0, 1)]
Count = Annotated[int, Range(0, 10**9)]
Offset = Annotated[float, Range(-LARGEST_SIDE, LARGEST_SIDE)]


@dataclass
class OperatingPointRules:
    """Fields of a card's `operating_point`."""

    threshold: Share
    min_area: Share
    flip: bool


@dataclass
class OodRules:
    """Fields of a card's `ood`: little-endian float32 in base64, N means and the N (N + 1) / 2 numbers of a triangle."""

    limit: Annotated[float, Range(0, 1e6, low_open=True)]
    mean: Annotated[str, Pattern(r"[A-Za-z0-9+/]{4,4096}={0,2}", "numbers in base64")]
    factor: Annotated[str, Pattern(r"[A-Za-z0-9+/]{4,65536}={0,2}", "numbers in base64")]
    features: dict[str, Any] = field(default_factory=dict)
    n_train: Count | None = None
    n_val: Count | None = None
    n_test: Count | None = None
    n_test_ood: Count | None = None

    def conflicts(self) -> Iterator[Conflict]:
        """Yield what does not go together."""
        try:
            mean, factor = packed_numbers(self.mean), packed_numbers(self.factor)
        except ValueError as error:
            yield ("mean", "factor"), f"expected float32 in base64 ({error})"
            return
        if len(factor) != len(mean) * (len(mean) + 1) // 2:
            yield ("mean", "factor"), f"expected N and N (N + 1) / 2 numbers, received {len(mean)} and {len(factor)}"
        if not all(map(math.isfinite, (*mean, *factor))):
            yield ("mean", "factor"), "expected finite numbers, received others"


Row = Annotated[str, Pattern(r"[A-Za-z0-9+/]{4,24576}={0,2}", "numbers in base64")]


@dataclass
class FeatureRules:
    """Fields of a card's `ood.features`: a row of numbers in base64 for each mean (float32) and axis (float16)."""

    limit: Annotated[float, Range(0, 1e6, low_open=True)]
    means: Annotated[list[Row], Length(1, 128)]
    axes: Annotated[list[Row], Length(1, 128)]

    def conflicts(self) -> Iterator[Conflict]:
        """Yield what does not go together."""
        try:
            means, axes = ([packed_numbers(row, kind) for row in rows] for rows, kind in ((self.means, "f"), (self.axes, "e")))
        except ValueError as error:
            yield ("means", "axes"), f"expected float32 and float16 in base64 ({error})"
            return
        if len({len(row) for row in (*means, *axes)}) > 1:
            yield ("means", "axes"), "expected rows of one length, received several"
        if not all(math.isfinite(value) for row in (*means, *axes) for value in row):
            yield ("means", "axes"), "expected finite numbers, received others"


Weight = Annotated[float, Range(0, 1e6)]


@dataclass
class ReferralRules:
    """Fields of a card's `referral`: weights of the signals of doubt, the threshold, and what it reached on validation."""

    intercept: Annotated[float, Range(-1e6, 1e6)]
    doubt: Weight
    disagreement: Weight
    mask_doubt: Weight
    ood_distance: Weight
    below: Share
    target: Share = 0.98
    bound: Share | None = None
    reached: bool = False
    coverage: Share | None = None
    n_slices: Count | None = None
    n_patients: Count | None = None


T = TypeVar("T")


def read_fields(kind: type[T], values: Any, where: str, *, complete: bool = False) -> T:
    """Return a dataclass built from the values of a card; an unknown field is reported alone and before anything else.

    Raises:
        RequestError: in one line that begins with `where`.
    """
    if not isinstance(values, Mapping):
        raise RequestError(f"{where}: expected an object, received {shortened(repr(values))}")
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := next((name for name in values if name not in known), None):
        near = suggestion(unknown, known)
        raise RequestError(f"{where}: unknown field '{unknown}'{near}: was it written by another version?")
    try:
        return from_mapping(kind, values, where, complete=complete)
    except RequestError as error:
        raise RequestError(shortened(str(error))) from error


def packed_numbers(text: str, kind: str = "f") -> tuple[float, ...]:
    """Return the little-endian numbers of a text in base64, float32 (`f`) or float16 (`e`); raises `ValueError`."""
    try:
        data = base64.b64decode(text, validate=True)
        return struct.unpack(f"<{len(data) // struct.calcsize(kind)}{kind}", data)
    except (binascii.Error, struct.error) as error:
        raise ValueError(str(error)) from error


def read_bounded(file: BinaryIO, where: Path, *, largest: int = LARGEST_CARD) -> str:
    """Return the text of a file of at most `largest` bytes; raises `RequestError` for a larger one or one that is no UTF-8."""
    data = file.read(largest + 1)
    if len(data) > largest:
        raise RequestError(f"{where}: over {largest:,} bytes, a model card has fewer: copy the model folder from its run again")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RequestError(f"{where}: can't be read as text: the card is damaged, copy the model folder again") from error


def read_json(text: str, where: Path) -> Any:
    """Return the values of a JSON text with bounded depth, finite numbers, no key twice, and no text that MONAI would evaluate.

    Raises:
        RequestError: in one line that says what is wrong and where.
    """
    if len(text) > LARGEST_CARD:
        raise RequestError(f"{where}: over {LARGEST_CARD:,} characters, a model card has fewer: copy it from its run again")
    try:
        values = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_int=_whole_number,
            parse_float=_finite_number,
            object_pairs_hook=_mapping,
        )
    except RecursionError as error:
        raise RequestError(f"{where}: nested too deeply, a model card has at most {DEEPEST} levels") from error
    except ValueError as error:
        reason = shortened(str(error))
        raise RequestError(f"{where}: not valid JSON ({reason}): the card is damaged, copy the model folder again") from error
    refuse_evaluated(values, what=str(where))
    return values


def shortened(text: str) -> str:
    """Return a message of one line and bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_MESSAGE else f"{line[:LONGEST_MESSAGE]}..."


def text_problem(text: str) -> str | None:
    """Return why a text can't stand in a card, or None where it can.

    >>> text_problem("2145 figshare slices, 50% dropped"), text_problem("$__import__('os')")
    (None, 'a text that a MONAI bundle would evaluate ($, @, %)')
    """
    if not text.isprintable():
        return "a control character or an invisible one"
    return "a text that a MONAI bundle would evaluate ($, @, %)" if EVALUATED.search(text) else None


def refuse_names(names: Iterable[str], *, classes: Iterable[str]) -> None:
    """Raise `RequestError` for a name that a model card can't hold; called before a training, not only after it."""
    for name in names:
        if problem := text_problem(name):
            raise RequestError(f"name {shortened(name)!r}: {problem} is not allowed in a model card: rename it")
    for name in classes:
        if value_problems(ClassName, name, "class") or text_problem(name):
            raise RequestError(f"class {shortened(name)!r}: expected {expectation(ClassName)}: rename it")


def refuse_evaluated(values: Any, *, what: str) -> None:
    """Raise `RequestError` where a value or a key is one that a MONAI bundle's parser would evaluate, or build an object of."""
    if found := next(_wrong_texts(values), None):
        raise RequestError(f"{what}: {shortened(found)}")


def _wrong_texts(values: Any) -> Iterator[str]:
    """Yield what is wrong with depth, keys and texts, without recursion."""
    waiting: list[tuple[str, int, Any]] = [("", 0, values)]
    while waiting:
        name, depth, value = waiting.pop()
        if depth > DEEPEST:
            yield f"{name}: nested too deeply, a model card has at most {DEEPEST} levels"
        elif isinstance(value, Mapping):
            for key, item in value.items():
                if not isinstance(key, str) or len(key) > LONGEST_KEY or not key.isprintable() or not _key_holds(key):
                    yield f"{name or 'top level'}: key {str(key)[:LONGEST_KEY]!r} is none that a model card may have"
                waiting.append((f"{name}.{key}" if name else str(key), depth + 1, item))
        elif isinstance(value, (list, tuple)):
            waiting += [(name, depth + 1, item) for item in value]
        elif isinstance(value, str):
            if len(value) > LONGEST_TEXT:
                yield f"{name}: a text of {len(value):,} characters, at most {LONGEST_TEXT:,} are allowed"
            elif problem := text_problem(value):
                yield f"{name}: received {problem}: {value[:LONGEST_KEY]!r}"


def _key_holds(key: str) -> bool:
    return KEY.fullmatch(key) is not None and "::" not in key and not key.startswith(("+", "~"))


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _whole_number(digits: str) -> int:
    if len(digits) > LONGEST_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits, at most {LONGEST_DIGITS} are allowed")
    return int(digits)


def _finite_number(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is too large for a number")
    return value


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key '{key}' appears twice in one object")
        found[key] = value
    return found
