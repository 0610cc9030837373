"""Do an architecture's numbers hold together, and survive the model card?"""

from __future__ import annotations

import json

import pytest

from bts.errors import RequestError
from bts.models.architecture import Architecture


def test_an_architecture_survives_json() -> None:
    before = Architecture(
        "joint", "mobilenetv2_100", size=192, classes=4, channels=(8, 7, 6, 5, 4), input_mean=0.5, input_std=0.5
    )
    assert Architecture.from_dict(json.loads(json.dumps(before.to_dict()))) == before


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"task": "seq"}, r"unknown task 'seq' \(did you mean 'seg'\?\): choose one of seg, cls, joint"),
        ({"task": "seg", "attention": "aditive"}, r"unknown attention 'aditive' \(did you mean 'additive'\?\)"),
        ({"task": "seg", "conv1": "max"}, r"unknown conv1 'max'.*: choose one of mean, sum"),
        ({"task": "seg", "size": 200}, r"size 200: the side must be a multiple of 32, 192 or 224 would do"),
        ({"task": "seg", "size": 20}, r"size 20: the side must be a multiple of 32, 32 would do"),
        ({"task": "seg", "channels": (4, 4)}, r"channels \(4, 4\): five positive numbers are needed"),
        ({"task": "cls", "classes": 1}, r"1 classes for task 'cls': at least 2 are needed"),
        ({"task": "cls", "classes": 3, "dropout": 1.0}, r"dropout 1: a share from 0 to under 1 is needed"),
        ({"task": "seg", "input_std": 0.0}, r"input_std 0: a positive number is needed"),
        ({"task": "joint", "classes": 3, "rim_px": 6}, r"rim_px 6: 0 or a multiple of 4 pixels is needed"),
        ({"task": "joint", "classes": 3, "rim_px": -4}, r"rim_px -4: 0 or a multiple of 4 pixels is needed"),
        ({"task": "joint", "classes": 3, "slice_dropout": 1.0}, r"slice_dropout 1: a share from 0 to under 1 is needed"),
        ({"task": "seg", "encodr": "resnet50"}, r"unknown field 'encodr' \(did you mean 'encoder'\?\)"),
        ({"encoder": "resnet50"}, r"no field 'task'"),
    ],
)
def test_a_wrong_architecture_is_refused_with_what_to_do(values: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Architecture.from_dict(values)
