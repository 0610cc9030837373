"""A user's own data source, selected by its import path."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from bts.data.sources.base import Record
from bts.data.sources.catalogue import open_source
from bts.errors import RequestError

MODULE = '''
import numpy as np
from bts.data.slice import Slice
from bts.data.sources.base import Record, Source


class Noise(Source):
    """Four patients of noise."""

    name = "noise"
    classes = ("meningioma", "glioma")
    synthetic = True

    def __init__(self, root):
        self.root = root

    def records(self):
        return [Record(path=f"{i}.png", label=self.classes[i % 2], patient=str(i // 2)) for i in range(8)]

    def read(self, record):
        return Slice(image=np.arange(64.0).reshape(8, 8), label=record.label, source=self.name, path=record.path)


class Greedy(Noise):
    def __init__(self, root, more):
        pass


class Silent(Source):
    def __init__(self, root):
        self.root = root


class Other:
    def records(self): ...
    def read(self, record): ...


instance = Noise("here")
'''


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("own_sources", "own_broken", "own_missing"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    (tmp_path / "own_sources.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "own_broken.py").write_text("raise ValueError('not today')\n", encoding="utf-8")
    (tmp_path / "own_missing.py").write_text("import a_library_that_is_not_there\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)


def test_an_import_path_opens_the_class(tmp_path: Path) -> None:
    source = open_source("own_sources.Noise", tmp_path)
    assert (type(source).__name__, source.root, source.classes) == ("Noise", tmp_path, ("meningioma", "glioma"))
    first = source.records()[0]
    assert first == Record(path="0.png", label="meningioma", patient="0")
    assert np.array_equal(source.read(first).image, np.arange(64.0).reshape(8, 8))


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such.Source", r"'no_such.Source': no module named 'no_such': install it, or add its folder to PYTHONPATH"),
        ("own_missing.Source", "no module named 'a_library_that_is_not_there': install it"),
        ("own_broken.Source", r"importing 'own_broken' failed \(ValueError: not today\)"),
        ("own_sources.Noisy", r"module 'own_sources' has no 'Noisy' \(did you mean 'Noise'\?\)"),
        ("own_sources.Other", r"expected a class that inherits from bts.data.sources.base.Source, found <class"),
        ("own_sources.instance", r"expected a class that inherits from bts.data.sources.base.Source, found <own_sources"),
        ("os.system", "expected a class that inherits from bts.data.sources.base.Source, found <built-in function system>"),
        ("own_sources.Greedy", r"opening .* failed \(TypeError: .*'more'\)"),
        ("own_sources.Silent", r"the class does not set name, classes, synthetic: see bts.data.sources.base.Source"),
        ("../own_sources.Noise", r"unknown data source '../own_sources.Noise': choose one of"),
    ],
)
def test_a_path_that_leads_to_no_source_is_one_line(path: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        open_source(path, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_training_reads_the_class_that_the_settings_name(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from bts.runs import Run
    from bts.settings import ClsSettings
    from bts.training.prepare import prepare

    settings = ClsSettings()
    settings.data.source, settings.data.root, settings.data.cache = "own_sources.Noise", str(tmp_path), ""
    settings.data.size = 32
    settings.split.train = settings.split.val = 0.34
    training_data = prepare(settings, "cls", Run(tmp_path))
    assert training_data.source.name == "noise"
    assert len(training_data.train) == 4
    assert set(training_data.train.patients).isdisjoint(training_data.val.patients)
