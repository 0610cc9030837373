"""What goes into wheel and sdist? Asked of setuptools' own file finder, on a copy of the sources with a made-up boxed model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("setuptools", reason="setuptools is not installed: pip install setuptools")

ROOT = Path(__file__).resolve().parents[1]
BUILD_FILES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
BOXED = ("model.json", "model.safetensors", "model.onnx", "MODEL_CARD.md", "SHA256SUMS")
ASK = """
import json, warnings
from setuptools import Distribution
warnings.simplefilter("ignore")
made = Distribution({"script_name": "setup.py"})
made.parse_config_files()
made.run_command("egg_info")
build = made.get_command_obj("build_py")
build.ensure_finalized()
lines = {name: open(f"bts.egg-info/{name}.txt").read().split("\\n") for name in ("SOURCES", "entry_points")}
data = [f"{where}/{name}" for _, where, _, names in build.data_files for name in names]
print(json.dumps({"wheel": build.get_source_files() + data, "sdist": lines["SOURCES"], "commands": lines["entry_points"]}))
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What setuptools would take, by kind."""
    copy = tmp_path_factory.mktemp("sources")
    for name in BUILD_FILES:
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "bts", copy / "bts", ignore=shutil.ignore_patterns("__pycache__", "bundled"))
    (copy / "tests").mkdir()
    (copy / "tests" / "test_one.py").touch()
    (copy / "bts" / "bundled" / "made-up").mkdir(parents=True)
    for name in BOXED:
        (copy / "bts" / "bundled" / "made-up" / name).write_text("made up")
    said = subprocess.run([sys.executable, "-c", ASK], cwd=copy, check=True, capture_output=True, text=True).stdout
    found: dict[str, list[str]] = json.loads(said.strip().splitlines()[-1])
    return found


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_every_source_file_is_packed(packed: dict[str, list[str]], kind: str) -> None:
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "bts").rglob("*.py")}
    assert len(sources) > 100
    assert sources <= set(packed[kind])


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_the_boxed_model_is_packed_whole(packed: dict[str, list[str]], kind: str) -> None:
    assert {f"bts/bundled/made-up/{name}" for name in BOXED} <= set(packed[kind])


def test_the_sdist_holds_what_a_build_needs_and_no_tests(packed: dict[str, list[str]]) -> None:
    assert {"setup.cfg", "pyproject.toml", "README.md", "LICENSE"} <= set(packed["sdist"])
    assert not [name for name in packed["sdist"] if name.startswith("tests")]


def test_the_wheel_holds_nothing_beside_the_package(packed: dict[str, list[str]]) -> None:
    assert {name.split("/")[0] for name in packed["wheel"]} == {"bts"}


def test_the_command_comes_along(packed: dict[str, list[str]]) -> None:
    assert packed["commands"][:2] == ["[console_scripts]", "bts = bts.apps.cli:main"]
