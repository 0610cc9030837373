"""Architectures: their limits, and the way through a model card."""

from __future__ import annotations

import json
import re

import pytest

from bts.errors import RequestError
from bts.fields import hints, leaf_hints, leaves
from bts.models.architecture import Architecture
from bts.settings import SETTINGS


def test_an_architecture_survives_json() -> None:
    before = Architecture(
        "joint", "mobilenetv2_100", size=192, num_classes=4, channels=(8, 7, 6, 5, 4), input_mean=0.5, input_std=0.5
    )
    assert Architecture.from_dict(json.loads(json.dumps(before.to_dict()))) == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "seq"}, "task: expected 'seg', 'cls' or 'joint', received 'seq' (did you mean 'seg'?)"),
        ({"attention": "aditive"}, "attention: expected 'additive' or 'none', received 'aditive' (did you mean 'additive'?)"),
        ({"size": 200}, "size: expected a multiple of 32 from 32 to 1024, received 200"),
        (
            {"channels": (4, 4)},
            "channels: expected a list of length 3 to 5, each item a whole number from 1 to 1024, received (4, 4)",
        ),
        ({"task": "cls", "num_classes": 1}, "num_classes: expected 2 or more for task cls, received 1"),
        ({"dropout": 1.0}, "dropout: expected a number from 0 to below 1, received 1.0"),
        ({"input_std": 0.0}, "input_std: expected a number above 0, or null, received 0.0"),
        ({"mask_dilation_px": 6}, "mask_dilation_px: expected a multiple of 4 from 0 to 256, received 6"),
        ({"mask_dilation_px": -4}, "mask_dilation_px: expected a multiple of 4 from 0 to 256, received -4"),
        ({"slice_dropout": 1.0}, "slice_dropout: expected a number from 0 to below 1, received 1.0"),
        ({"in_channels": 2}, "in_channels: expected 1 or 3, received 2"),
        ({"hidden": [0]}, "hidden[0]: expected a whole number from 1 to 8192, received 0"),
        ({"encodr": "resnet50"}, "unknown field 'encodr' (did you mean 'encoder'?)"),
    ],
)
def test_a_wrong_architecture_is_refused_with_field_rule_and_value(values: dict, message: str) -> None:
    with pytest.raises(RequestError, match=rf"^architecture: {re.escape(message)}$"):
        Architecture.from_dict({**Architecture("seg").to_dict(), **values})


def test_an_architecture_with_a_missing_field_is_refused() -> None:
    values = Architecture("seg").to_dict()
    del values["mask_dilation_px"]
    with pytest.raises(RequestError, match=r"^architecture: field 'mask_dilation_px' is missing"):
        Architecture.from_dict(values)


@pytest.mark.parametrize("task", SETTINGS)
def test_names_limits_and_defaults_are_those_of_the_settings(task: str) -> None:
    settings = SETTINGS[task]()  # type: ignore[index]
    limits = dict(leaf_hints(type(settings)))
    own = Architecture(task, num_classes=3)  # type: ignore[arg-type]
    for name, hint in hints(Architecture).items():
        key = "data.size" if name == "size" else f"model.{name}"
        if key in limits:
            assert hint == limits[key], key
            assert getattr(own, name) == dict(leaves(settings))[key], key
