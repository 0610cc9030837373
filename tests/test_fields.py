"""Constraints on dataclass fields: what each accepts, how a mistake reads, and how a mapping becomes a dataclass."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from bts.errors import InputError, RequestError
from bts.fields import Conflict, Length, Pattern, Range, expectation, from_mapping, leaf_hints, leaves, problems


@dataclass(frozen=True)
class Window:
    """Two numbers that belong together."""

    low: Annotated[float, Range(0, 100)] = 1.0
    high: Annotated[float, Range(0, 100)] = 99.0

    def conflicts(self) -> Iterator[Conflict]:
        if self.low >= self.high:
            yield ("low", "high"), f"expected low < high, received {self.low:g} and {self.high:g}"


@dataclass(frozen=True)
class Card:
    """A dataclass with one field of every kind."""

    name: Annotated[str, Length(1)]
    size: Annotated[int, Range(32, 1024, multiple_of=32)] = 224
    share: Annotated[float, Range(0, 1, low_open=True, high_open=True)] = 0.5
    mode: Literal["mean", "sum"] = "mean"
    norm: bool = False
    rate: Annotated[float, Range(0, low_open=True)] | None = None
    widths: Annotated[tuple[Annotated[int, Range(1)], ...], Length(2, 3)] = (8, 4)
    pair: tuple[int, float] = (1, 2.0)
    scores: dict[str, float] = field(default_factory=dict)
    window: Window = field(default_factory=Window)
    windows: tuple[Window, ...] = ()
    digest: Annotated[str, Pattern("[0-9a-f]{4}", "four hexadecimal digits")] | None = None
    part: Annotated[str, Pattern("all|last:[1-9]", "all or last:N", known=("all", "last:N"))] = "all"
    more: Any = None


@pytest.mark.parametrize(
    ("constraint", "inside", "outside"),
    [
        (Range(0, 1), [0, 0.5, 1], [-0.1, 1.1]),
        (Range(0, 1, low_open=True), [0.1, 1], [0, 1.1]),
        (Range(0, 1, high_open=True), [0, 0.9], [1, -0.1]),
        (Range(2), [2, 10**9], [1]),
        (Range(high=2), [2, -(10**9)], [3]),
        (Range(0, 64, multiple_of=4), [0, 8, 64], [2, 68, -4]),
        (Range(1, also=((-1, "all"),)), [1, -1], [0, -2]),
        (Length(1), ["a", (1,)], ["", "  ", ()]),
        (Length(2, 3), [(1, 2), [1, 2, 3]], [(1,), (1, 2, 3, 4)]),
        (Pattern("a|b+", "a or b"), ["a", "bb"], ["ab", ""]),
    ],
)
def test_a_constraint_accepts_what_lies_inside_and_nothing_else(constraint: Any, inside: list[Any], outside: list[Any]) -> None:
    assert all(constraint.holds(value) for value in inside)
    assert not any(constraint.holds(value) for value in outside)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"name": " "}, "name: expected a non-empty text, received ' '"),
        ({"name": 3}, "name: expected a non-empty text, received 3"),
        ({"size": 100}, "size: expected a multiple of 32 from 32 to 1024, received 100"),
        ({"size": 64.0}, "size: expected a multiple of 32 from 32 to 1024, received 64.0"),
        ({"size": True}, "size: expected a multiple of 32 from 32 to 1024, received True"),
        ({"share": 1}, "share: expected a number above 0 and below 1, received 1"),
        ({"share": math.nan}, "share: expected a number above 0 and below 1, received nan"),
        ({"rate": math.inf}, "rate: expected a number above 0, or null, received inf"),
        ({"share": None}, "share: expected a number above 0 and below 1, received None"),
        ({"mode": "meen"}, "mode: expected 'mean' or 'sum', received 'meen' (did you mean 'mean'?)"),
        ({"norm": 1}, "norm: expected true or false, received 1"),
        ({"widths": (8, 0)}, "widths[1]: expected a whole number of 1 or more, received 0"),
        ({"widths": (8,)}, "widths: expected a list of length 2 to 3, each item a whole number of 1 or more, received (8,)"),
        ({"pair": (1, "x")}, "pair[1]: expected a number, received 'x'"),
        ({"pair": (1,)}, "pair: expected a list of a whole number and a number, received (1,)"),
        ({"scores": {"dice": "high"}}, "scores.dice: expected a number, received 'high'"),
        ({"window": None}, "window: expected a mapping with low, high, received None"),
        ({"window": Window(low=-1)}, "window.low: expected a number from 0 to 100, received -1"),
        ({"window": Window(60, 40)}, "window.low, window.high: expected low < high, received 60 and 40"),
        ({"windows": (Window(), Window(3, 2))}, "windows[1].low, windows[1].high: expected low < high, received 3 and 2"),
        ({"digest": "xyz"}, "digest: expected four hexadecimal digits, or null, received 'xyz'"),
        ({"part": "alll"}, "part: expected all or last:N, received 'alll' (did you mean 'all'?)"),
    ],
)
def test_a_mistake_is_one_line_with_field_rule_and_value(values: dict[str, Any], line: str) -> None:
    assert problems(Card(**{"name": "a", **values})) == [line]


def test_right_values_have_no_problems() -> None:
    assert problems(Card("a")) == []
    assert (
        problems(Card("a", share=0.1, rate=2, widths=(1, 2, 3), scores={"dice": 1}, digest="00ff", part="last:3", more=[1]))
        == []
    )


def test_all_mistakes_are_found_at_once_behind_a_prefix() -> None:
    found = problems(Card("", size=1, window=Window(60, 40)), prefix="model.")
    assert [line.split(":")[0] for line in found] == ["model.name", "model.size", "model.window.low, model.window.high"]


def test_a_conflict_of_a_field_that_is_wrong_by_itself_is_left_out() -> None:
    assert problems(Window(low=101, high=50)) == ["low: expected a number from 0 to 100, received 101"]
    assert problems(Window(low="x", high=50)) == ["low: expected a number from 0 to 100, received 'x'"]  # type: ignore[arg-type]


def test_a_long_value_is_cut_short() -> None:
    (line,) = problems(Card("a", digest="f" * 10_000))
    assert len(line) < 200


def test_a_mapping_becomes_the_dataclass_with_its_types() -> None:
    values = {
        "name": "a",
        "share": 0.25,
        "rate": 2,
        "widths": [4, 2],
        "pair": [1, 2],
        "scores": {"dice": 1},
        "window": {"low": 2},
    }
    built = from_mapping(Card, {**values, "windows": [{"high": 50}]}, "model.json")
    expected = Card(
        "a", share=0.25, rate=2.0, widths=(4, 2), scores={"dice": 1.0}, window=Window(2.0), windows=(Window(high=50.0),)
    )
    assert built == expected
    assert type(built.rate) is type(built.window.low) is type(built.scores["dice"]) is float


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "a", "sise": 32}, "model.json: unknown field 'sise' (did you mean 'size'?)"),
        ({"name": "a", "window": {"lo": 3}}, "model.json: unknown field 'window.lo' (did you mean 'low'?)"),
        ({"size": 32}, "model.json: field 'name' is missing: expected a non-empty text"),
        ({"name": "a", "size": "32"}, "model.json: size: expected a multiple of 32 from 32 to 1024, received '32'"),
        ({"name": "a", "window": 3}, "model.json: window: expected a mapping with low, high, received 3"),
        (
            {"name": "a", "window": {"low": 9, "high": 2}},
            "model.json: window.low, window.high: expected low < high, received 9 and 2",
        ),
        ({"name": "a", "windows": [{"low": -1}]}, "model.json: windows[0].low: expected a number from 0 to 100, received -1.0"),
        ([1], "model.json: expected a mapping with low, high, received [1]"),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused_in_one_line(values: Any, message: str) -> None:
    with pytest.raises(RequestError) as caught:
        from_mapping(Card if isinstance(values, dict) else Window, values, "model.json")
    assert str(caught.value) == message


def test_every_mistake_of_a_mapping_is_told_in_the_error_that_is_asked_for() -> None:
    with pytest.raises(InputError, match=r"^a: unknown field 'x'; field 'name' is missing: .*; size: .* received 1$"):
        from_mapping(Card, {"x": 1, "size": 1}, "a", error=InputError)


def test_fields_with_a_default_may_be_missing_unless_all_are_wanted() -> None:
    assert from_mapping(Window, {"low": 2}, "a") == Window(2.0)
    with pytest.raises(RequestError, match=r"^a: field 'high' is missing: expected a number from 0 to 100$"):
        from_mapping(Window, {"low": 2}, "a", complete=True)


def test_an_error_of_the_dataclass_itself_names_the_file() -> None:
    @dataclass
    class Picky:
        """Refuses everything."""

        value: int

        def __post_init__(self) -> None:
            raise RequestError("expected another day")

    with pytest.raises(RequestError, match=r"^b: expected another day$"):
        from_mapping(Picky, {"value": 1}, "b")


def test_leaves_are_named_by_their_path() -> None:
    assert dict(leaves(Card("a")))["window.high"] == 99.0
    names = [name for name, _ in leaf_hints(Card)]
    assert names == [name for name, _ in leaves(Card("a"))]
    assert expectation(dict(leaf_hints(Card))["window.low"]) == "a number from 0 to 100"
