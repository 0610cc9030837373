import subprocess
import sys

import pytest

import bts.inference

HEAVY = ("torch", "monai", "timm", "lightning", "matplotlib", "pandas")


def loaded_by(code):
    """Return which heavy packages a fresh process has imported after the code."""
    script = f"{code}\nimport sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()


def test_importing_the_package_imports_nothing():
    assert loaded_by("import bts.inference") == []


@pytest.mark.parametrize("name", ["Predictor", "Prediction", "write_prediction", "write_volume"])
def test_every_public_name_is_there(name):
    assert getattr(bts.inference, name).__module__.startswith("bts.inference.")
    assert name in bts.inference.__all__


def test_all_but_the_torch_runtime_works_without_torch():
    code = """
import bts.inference.predictor, bts.inference.write, bts.inference.volume, bts.inference.inputs
import bts.inference.runtimes.catalogue, bts.inference.drawing
from bts.inference.predictor import Predictor
from bts.errors import RequestError
try:
    Predictor.load(seg='gone')
except RequestError:
    pass
"""
    assert loaded_by(code) == []


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Predicto'"):
        bts.inference.Predicto  # noqa: B018
