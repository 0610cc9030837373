"""Constraints on the fields of dataclasses, and one validator that reads them.

A limit is written once, on the field; what checks, converts or documents the field reads it there. This module knows nothing of
the classes that use it.

>>> from dataclasses import dataclass
>>> @dataclass
... class Example:
...     size: Annotated[int, Range(32, 1024, multiple_of=32)] = 224
...     dropout: Annotated[float, Range(0, 1, high_open=True)] = 0.2
...     norm: Literal["batch", "none"] = "batch"
>>> for line in problems(Example(size=100, norm="bach")):
...     print(line)
size: expected a multiple of 32 from 32 to 1024, received 100
norm: expected 'batch' or 'none', received 'bach' (did you mean 'batch'?)
"""

from __future__ import annotations

import dataclasses
import math
import re
import reprlib
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from bts.errors import BtsError, RequestError
from bts.registry import suggestion

T = TypeVar("T")
Conflict = tuple[tuple[str, ...], str]
"""Names of fields whose values do not go together, and a sentence with the rule and the received values."""

NOUNS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    str: "a text",
    bool: "true or false",
    types.NoneType: "null",
    Any: "any value",
    dict: "a mapping",
    list: "a list",
    tuple: "a list",
}
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 8


@dataclass(frozen=True)
class Range:
    """Limits of a number; both ends belong to the range unless they are open.

    Attributes:
        low: smallest value, or None.
        high: largest value, or None.
        low_open: whether `low` itself is excluded.
        high_open: whether `high` itself is excluded.
        multiple_of: number of which the value must be a multiple.
        also: values accepted outside of the range, each with its meaning.
    """

    low: float | None = None
    high: float | None = None
    low_open: bool = False
    high_open: bool = False
    multiple_of: int | None = None
    also: tuple[tuple[float, str], ...] = ()

    def holds(self, value: float) -> bool:
        """Return whether a number is accepted."""
        above = self.low is None or value > self.low or (value == self.low and not self.low_open)
        below = self.high is None or value < self.high or (value == self.high and not self.high_open)
        inside = above and below and (self.multiple_of is None or value % self.multiple_of == 0)
        return inside or any(value == special for special, _ in self.also)

    def words(self, noun: str) -> str:
        """Return the rule in words.

        >>> Range(0, 1, high_open=True).words("a number"), Range(1, also=((-1, "all"),)).words("a whole number")
        ('a number from 0 to below 1', 'a whole number of 1 or more, or -1 for all')
        """
        noun = noun if self.multiple_of is None else f"a multiple of {self.multiple_of}"
        low, high = _number(self.low), _number(self.high)
        if self.low is None:
            limits = "" if self.high is None else f" below {high}" if self.high_open else f" of {high} or less"
        elif self.high is None:
            limits = f" above {low}" if self.low_open else f" of {low} or more"
        elif self.low_open:
            limits = f" above {low} and {'below' if self.high_open else 'up to'} {high}"
        else:
            limits = f" from {low} to {'below ' if self.high_open else ''}{high}"
        return noun + limits + "".join(f", or {_number(value)} for {meaning}" for value, meaning in self.also)


@dataclass(frozen=True)
class Length:
    """Number of items of a list or mapping, or of characters of a text without the blanks around it."""

    low: int
    high: int | None = None

    def holds(self, value: Any) -> bool:
        """Return whether a value is accepted."""
        count = len(value.strip() if isinstance(value, str) else value)
        return self.low <= count and (self.high is None or count <= self.high)

    def words(self, noun: str) -> str:
        """Return the rule in words.

        >>> Length(5, 5).words("a list"), Length(1).words("a text"), Length(2, 3).words("a list")
        ('a list of length 5', 'a non-empty text', 'a list of length 2 to 3')
        """
        if self.high is None:
            return f"a non-empty {noun.removeprefix('a ')}" if self.low == 1 else f"{noun} of length {self.low} or more"
        return f"{noun} of length {self.low}" + ("" if self.low == self.high else f" to {self.high}")


@dataclass(frozen=True)
class Pattern:
    """Regular expression that a whole text must match.

    Attributes:
        regex: the expression.
        rule: what it demands, in words, such as `a SHA-256 in hexadecimal`.
        known: accepted texts; the one nearest to a wrong text is suggested.
    """

    regex: str
    rule: str
    known: tuple[str, ...] = ()

    def holds(self, value: str) -> bool:
        """Return whether a text is accepted."""
        return re.fullmatch(self.regex, value) is not None

    def words(self, noun: str) -> str:
        """Return the rule in words."""
        return self.rule


def problems(instance: Any, prefix: str = "") -> list[str]:
    """Return one line for each wrong field of a dataclass instance, and for each conflict between its fields.

    A line has the name of the field behind `prefix`, the rule, and the received value. Nested dataclasses are checked too. A
    class states the rules between its fields in a method `conflicts()` that yields `Conflict` tuples. It is called once all
    types are right; a conflict of fields one of which is wrong by itself is left out.
    """
    found = [
        line
        for name, hint in hints(type(instance)).items()
        for line in value_problems(hint, getattr(instance, name), prefix + name)
    ]
    if hasattr(instance, "conflicts") and all(
        has_type(hint, getattr(instance, name)) for name, hint in hints(type(instance)).items()
    ):
        for names, rule in instance.conflicts():
            if not any(line.startswith((f"{prefix}{name}:", f"{prefix}{name}[")) for line in found for name in names):
                found.append(f"{', '.join(prefix + name for name in names)}: {rule}")
    return found


def value_problems(hint: Any, value: Any, name: str) -> list[str]:
    """Return what is wrong with one value by the type hint of its field; items of lists and mappings are named."""
    for option in _options(hint):
        if _is_kind(option, value) and all(constraint.holds(value) for constraint in _constraints(option)):
            if dataclasses.is_dataclass(value):
                return problems(value, prefix=f"{name}.")
            return [line for inner, item, key in _items(option, value) for line in value_problems(inner, item, name + key)]
    return [f"{name}: expected {expectation(hint)}, received {_SHORT.repr(value)}{_nearest(hint, value)}"]


def has_type(hint: Any, value: Any) -> bool:
    """Return whether a value has the type of a hint, inner types included, whatever its constraints."""
    for option in _options(hint):
        if _is_kind(option, value):
            if dataclasses.is_dataclass(value):
                return all(has_type(inner, getattr(value, name)) for name, inner in hints(type(value)).items())
            return all(has_type(inner, item) for inner, item, _ in _items(option, value))
    return False


def from_mapping(cls: type[T], values: Any, where: str, *, complete: bool = False, error: type[BtsError] = RequestError) -> T:
    """Return a dataclass built from a plain mapping such as the content of a JSON file.

    Mappings become nested dataclasses, lists become tuples and whole numbers floats where the fields ask for them.

    Args:
        cls: the dataclass.
        values: what is to become one; anything may be in it.
        where: what the error names, such as a path.
        complete: whether fields with a default must be there too; not so in nested dataclasses.
        error: kind of the error.

    Raises:
        BtsError: (of the kind `error`) a line that begins with `where` and names each unknown field with the nearest known
            name, each missing field, and each value of a wrong type or out of range.
    """
    found: list[str] = []
    built = _read_fields(cls, values, "", found, complete=complete)
    if not found:
        found = problems(built)
    if found:
        raise error(f"{where}: {'; '.join(found)}")
    return typing.cast(T, built)


def hints(cls: Any) -> dict[str, Any]:
    """Return the type hint of each field of a dataclass, constraints included."""
    return _hints(cls)


def leaves(instance: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of each field of a dataclass instance and of its nested ones."""
    for name in hints(type(instance)):
        value = getattr(instance, name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def leaf_hints(cls: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the type hint of each field of a dataclass and of its nested ones."""
    for name, hint in hints(cls).items():
        if dataclasses.is_dataclass(hint):
            yield from leaf_hints(hint, f"{prefix}{name}.")
        else:
            yield prefix + name, hint


def expectation(hint: Any) -> str:
    """Return in words what a type hint accepts.

    >>> expectation(Annotated[float, Range(0, low_open=True)] | None), expectation(tuple[int, ...])
    ('a number above 0, or null', 'a list, each item a whole number')
    >>> expectation(Literal["a", "b", "c"])
    "'a', 'b' or 'c'"
    """
    if len(_options(hint)) > 1:
        return ", or ".join(expectation(each) for each in _options(hint))
    base = _base(hint)
    if get_origin(base) is Literal:
        *others, last = (repr(each) for each in get_args(base))
        words = f"{', '.join(others)} or {last}" if others else last
    elif dataclasses.is_dataclass(base):
        words = f"a mapping with {', '.join(hints(base))}"
    else:
        words = NOUNS.get(get_origin(base) or base, getattr(base, "__name__", str(base)))
    for constraint in _constraints(hint):
        words = constraint.words(words)
    inner = [expectation(each) for each in get_args(base) if each is not Ellipsis]
    if get_origin(base) is tuple and Ellipsis not in get_args(base):
        return f"{words} of {' and '.join(inner)}"
    return f"{words}, each item {inner[-1]}" if inner and get_origin(base) is not Literal else words


def _number(value: float | None) -> str:
    return str(int(value)) if value is not None and value == int(value) else str(value)


@cache
def _hints(cls: Any) -> dict[str, Any]:
    known = typing.get_type_hints(cls, include_extras=True)
    return {each.name: known[each.name] for each in dataclasses.fields(cls)}


def _options(hint: Any) -> list[Any]:
    """Return the members of a union, or the hint alone."""
    return list(get_args(hint)) if get_origin(hint) in (typing.Union, types.UnionType) else [hint]


def _base(hint: Any) -> Any:
    """Return a hint without its constraints."""
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _constraints(hint: Any) -> list[Any]:
    return [each for each in getattr(hint, "__metadata__", ()) if isinstance(each, (Range, Length, Pattern))]


def _is_kind(hint: Any, value: Any) -> bool:
    """Return whether a value has the outermost type of a hint that is no union."""
    hint = _base(hint)
    kind = get_origin(hint) or hint
    if kind is Any:
        return True
    if kind is Literal:
        return any(type(value) is type(each) and value == each for each in get_args(hint))
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is tuple and get_args(hint) and Ellipsis not in get_args(hint):
        return isinstance(value, tuple) and len(value) == len(get_args(hint))
    return isinstance(value, kind)


def _items(hint: Any, value: Any) -> Iterator[tuple[Any, Any, str]]:
    """Yield the hint, the value and the key of each item of a list, tuple or mapping."""
    inner = [each for each in get_args(_base(hint)) if each is not Ellipsis]
    if inner and isinstance(value, Mapping):
        yield from ((inner[-1], item, f".{key}") for key, item in value.items())
    elif inner and isinstance(value, (list, tuple)):
        each = inner if len(inner) > 1 else inner * len(value)
        yield from ((one, item, f"[{index}]") for index, (one, item) in enumerate(zip(each, value, strict=False)))


def _read(hint: Any, value: Any, name: str, found: list[str]) -> Any:
    """Return a plain value as the type that a hint names, and add to `found` what is wrong with it."""
    count = len(found)
    for option in map(_base, _options(hint)):
        kind = get_origin(option) or option
        if dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
            value = _read_fields(kind, value, name, found)
        elif kind is float and type(value) is int and int not in _options(hint):
            value = float(value)
        elif kind in (tuple, list) and isinstance(value, (list, tuple)) and get_args(option):
            items = [_read(inner, item, name + key, found) for inner, item, key in _items(option, value)]
            value = kind(items + list(value[len(items) :]))
        elif kind is dict and isinstance(value, Mapping) and get_args(option):
            value = {key[1:]: _read(inner, item, name + key, found) for inner, item, key in _items(option, value)}
    if len(found) == count:
        found += value_problems(hint, value, name)
    return value


def _read_fields(cls: Any, values: Any, name: str, found: list[str], *, complete: bool = False) -> Any:
    """Return a dataclass of the fields in a mapping; the mapping itself where something is wrong, which `found` then says."""
    if not isinstance(values, Mapping):
        found.append(f"expected {expectation(cls)}, received {_SHORT.repr(values)}")
        return values
    count, known, prefix = len(found), hints(cls), f"{name}." if name else ""
    found += [f"unknown field '{prefix}{each}'{suggestion(str(each), known)}" for each in values if each not in known]
    read: dict[str, Any] = {}
    for each in dataclasses.fields(cls):
        if each.name in values:
            read[each.name] = _read(known[each.name], values[each.name], prefix + each.name, found)
        elif complete or (each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING):
            found.append(f"field '{prefix}{each.name}' is missing: expected {expectation(known[each.name])}")
    if len(found) > count:
        return values
    try:
        return cls(**read)
    except BtsError as error:
        found.append(f"{name}: {error}" if name else str(error))
        return values


def _nearest(hint: Any, value: Any) -> str:
    """Return a suggestion for a wrong text, where the hint lists right ones."""
    known: list[str] = []
    for option in _options(hint):
        if get_origin(_base(option)) is Literal:
            known += [each for each in get_args(_base(option)) if isinstance(each, str)]
        known += [text for each in _constraints(option) if isinstance(each, Pattern) for text in each.known]
    return suggestion(value, known) if isinstance(value, str) else ""
