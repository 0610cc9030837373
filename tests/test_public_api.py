"""The names of `import bts`: all there, loaded on first use, and typed."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bts

HEAVY = ("numpy", "torch", "monai", "timm", "lightning", "matplotlib", "pandas")


def loaded_by(code: str, *, names: tuple[str, ...] = HEAVY) -> list[str]:
    """Return which heavy packages a fresh process has imported after the code."""
    script = f"{code}\nimport sys; print(*[name for name in {names!r} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()


@pytest.mark.parametrize("name", bts.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(bts, name).__doc__
    assert name in dir(bts)


def test_every_public_name_is_typed() -> None:
    tree = ast.parse(Path(bts.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    typed = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(typed) == set(bts.__all__) - {"__version__"}
    for name, module in typed.items():
        assert getattr(bts, name) is getattr(sys.modules[str(module)], name)
    assert (Path(bts.__file__).parent / "py.typed").is_file()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'bts' has no attribute 'Predicto'"):
        bts.Predicto  # noqa: B018


def test_importing_bts_loads_no_library() -> None:
    assert loaded_by("import bts, bts.inference") == []


def test_inference_without_the_torch_runtime_needs_no_torch() -> None:
    code = """
import bts
import bts.inference.inputs, bts.inference.runtimes.catalogue
bts.write_prediction, bts.write_volume
try:
    bts.load_model('gone')
except bts.RequestError:
    pass
"""
    assert loaded_by(code, names=HEAVY[1:]) == []
