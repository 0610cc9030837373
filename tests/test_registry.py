"""Names are found, counted and corrected."""

from __future__ import annotations

import pytest

from bts.errors import RequestError
from bts.registry import Registry, suggestion


@pytest.fixture
def shapes():
    found: Registry[type] = Registry("shape")
    for name in ("square", "circle"):
        found.register(name)(type(name, (), {}))
    return found


def test_what_was_registered_is_found_under_its_name(shapes):
    assert shapes["circle"].__name__ == "circle"


def test_names_come_sorted_and_are_counted(shapes):
    assert list(shapes) == ["circle", "square"]
    assert len(shapes) == 2


def test_unknown_name_gives_the_nearest_and_all(shapes):
    with pytest.raises(RequestError, match=r"unknown shape 'sqare' \(did you mean 'square'\?\): choose one of circle, square"):
        shapes["sqare"]


def test_name_like_none_gives_no_suggestion(shapes):
    with pytest.raises(RequestError, match="unknown shape 'xyz': choose one of circle, square"):
        shapes["xyz"]
    assert suggestion("xyz", ["circle"]) == ""


def test_a_name_is_taken_once(shapes):
    with pytest.raises(ValueError, match="shape 'square' is registered twice"):
        shapes.register("square")(int)
