"""Runtimes of a user's own package, selected by import path."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from bts.errors import RequestError
from bts.inference.predictor import load_model

MODULE = """
import numpy as np
from bts.inference.runtimes.base import RawOutput, Runtime
from bts.models.folder import read_card

class Brightness(Runtime):
    device, versions, notes = "cpu", {}, ()

    def __init__(self, card, workers):
        self.name, self.card, self.workers = "brightness", card, workers

    @classmethod
    def open(cls, place, device, workers):
        return cls(read_card(place), workers)

    def run(self, images, *, cam_class=None):
        return RawOutput(mask_prob=images / np.float32(255))

class Closed(Runtime): ...

class Other: ...
"""


@pytest.fixture(autouse=True)
def _package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "own_runtimes", raising=False)
    (tmp_path / "own_runtimes.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


def test_an_import_path_selects_the_class(exported_models: dict[str, Path]) -> None:
    model = load_model(exported_models["seg"], runtime="own_runtimes.Brightness")
    assert model.runtimes[0].name == "brightness"
    image = np.zeros((64, 64), np.float32)
    image[16:32, 16:32] = 1
    image[40:, 40:] = 0.4
    prediction = model.predict(image)
    assert prediction.mask is not None
    assert prediction.mask[20:28, 20:28].all()
    assert not prediction.mask[44:, 44:].any()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("own_runtimes.Other", r"expected a class that inherits from bts\.inference\.runtimes\.base\.Runtime"),
        ("own_runtimes.Closed", r"the class has no class method `open\(place, device, workers\)`"),
        ("own_runtimes.Bright", r"module 'own_runtimes' has no 'Bright' \(did you mean 'Brightness'\?\)"),
        ("onxx", r"unknown runtime 'onxx' \(did you mean 'onnx'\?\)"),
    ],
)
def test_a_path_that_leads_to_no_runtime_is_one_line(name: str, message: str, exported_models: dict[str, Path]) -> None:
    with pytest.raises(RequestError, match=message) as error:
        load_model(exported_models["seg"], runtime=name)
    assert "\n" not in str(error.value)
