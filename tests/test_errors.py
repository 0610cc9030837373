"""One root class, one line, and a path that is put in front once."""

from __future__ import annotations

import pytest

from bts.errors import BtsError, InputError, RequestError


@pytest.mark.parametrize(("kind", "status"), [(RequestError, 2), (InputError, 1)])
def test_each_kind_has_its_exit_status_and_the_common_root(kind, status):
    assert issubclass(kind, BtsError)
    assert kind("x").exit_status == status


@pytest.mark.parametrize("kind", [RequestError, InputError])
def test_the_place_is_put_in_front_and_the_kind_stays(kind):
    placed = kind("no label").at("a/1.mat")
    assert type(placed) is kind
    assert str(placed) == "a/1.mat: no label"


def test_the_place_is_put_in_front_once():
    placed = InputError("no label").at("a/1.mat")
    assert placed.at("a/1.mat") is placed
    assert str(placed.at("slice 3")) == "slice 3: a/1.mat: no label"
