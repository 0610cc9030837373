"""Contents of wheel and sdist, and an editable install, on a copy of the sources with a made-up bundled model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import bts

pytest.importorskip("setuptools", reason="setuptools is not installed: pip install setuptools")

ROOT = Path(__file__).resolve().parents[1]
BUILD_FILES = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "setup.py")
BUNDLED = ("model.json", "model.safetensors", "model.onnx", "MODEL_CARD.md", "SHA256SUMS")
ASK = """
import json, os, warnings
from setuptools import Distribution
warnings.simplefilter("ignore")
made = Distribution({"script_name": "setup.py"})
made.parse_config_files()
made.run_command("egg_info")
build = made.get_command_obj("build_py")
build.ensure_finalized()
lines = {name: open(f"bts.egg-info/{name}.txt").read().split("\\n") for name in ("SOURCES", "entry_points")}
data = [f"{where}/{name}" for _, where, _, names in build.data_files for name in names]
wheel, sdist = ([os.path.normpath(name) for name in names] for names in (build.get_source_files() + data, lines["SOURCES"]))
print(json.dumps({"wheel": wheel, "sdist": sdist, "commands": lines["entry_points"]}))
"""


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What setuptools would take, by kind."""
    copy = tmp_path_factory.mktemp("sources")
    for name in BUILD_FILES:
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "configs", copy / "configs")
    shutil.copytree(ROOT / "bts", copy / "bts", ignore=shutil.ignore_patterns("__pycache__", "bundled"))
    (copy / "tests").mkdir()
    (copy / "tests" / "test_one.py").touch()
    (copy / "bts" / "bundled" / "made-up").mkdir(parents=True)
    for name in BUNDLED:
        (copy / "bts" / "bundled" / "made-up" / name).write_text("made up")
    said = subprocess.run([sys.executable, "-c", ASK], cwd=copy, check=True, capture_output=True, text=True).stdout
    found: dict[str, list[str]] = json.loads(said.strip().splitlines()[-1])
    return found


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_every_source_file_template_and_table_is_packed(packed: dict[str, list[str]], kind: str) -> None:
    files = [path.relative_to(ROOT) for path in (ROOT / "bts").rglob("*") if path.is_file()]
    sources = {path.as_posix() for path in files if not {"__pycache__", "bundled"} & set(path.parts)}
    assert {".py", ".html", ".css", ".js", ".md", ".csv", ".typed"} <= {Path(name).suffix for name in sources}
    assert len(sources) > 100
    assert sources <= set(packed[kind])


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_the_bundled_model_is_packed_whole(packed: dict[str, list[str]], kind: str) -> None:
    assert {f"bts/bundled/made-up/{name}" for name in BUNDLED} <= set(packed[kind])


def test_the_sdist_holds_what_a_build_needs_and_no_tests(packed: dict[str, list[str]]) -> None:
    assert {"setup.cfg", "pyproject.toml", "README.md", "LICENSE", "configs/seg.yaml"} <= set(packed["sdist"])
    assert not [name for name in packed["sdist"] if name.startswith("tests")]


def test_the_wheel_holds_nothing_beside_the_package(packed: dict[str, list[str]]) -> None:
    assert {name.split("/")[0] for name in packed["wheel"]} == {"bts"}


def test_an_installed_package_trains_with_the_settings_files_of_the_clone(tmp_path: Path) -> None:
    clone, site = tmp_path / "clone", tmp_path / "site"
    clone.mkdir()
    for name in BUILD_FILES:
        shutil.copy(ROOT / name, clone)
    for name in ("bts", "configs"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__", "bundled"))
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('wheels'))"
    said = subprocess.run([sys.executable, "-W", "ignore", "-c", build], cwd=clone, check=True, capture_output=True, text=True)
    with zipfile.ZipFile(clone / "wheels" / said.stdout.strip().splitlines()[-1]) as wheel:
        wheel.extractall(site)
    shutil.rmtree(clone)
    shipped = {
        path.relative_to(site / "bts").as_posix(): path.read_bytes() for path in (site / "bts" / "configs").rglob("*.yaml")
    }
    own = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in (ROOT / "configs").rglob("*.yaml")}
    assert shipped == own
    ask = (
        "from pathlib import Path; from bts.apps.settings_parser import shipped_config; print(shipped_config(Path('seg.yaml')))"
    )
    found = subprocess.run([sys.executable, "-c", ask], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(site)}, check=True,
                           capture_output=True, text=True)  # fmt: skip
    assert found.stdout.strip() == str(site / "bts" / "configs" / "seg.yaml")


def test_the_command_comes_along(packed: dict[str, list[str]]) -> None:
    assert packed["commands"][:2] == ["[console_scripts]", "bts = bts.apps.cli:run"]


def test_an_editable_install_serves_a_script_beside_a_clone_that_is_called_bts(tmp_path: Path) -> None:
    clone, site = tmp_path / "bts", tmp_path / "site"
    clone.mkdir()
    for name in BUILD_FILES:
        shutil.copy(ROOT / name, clone)
    shutil.copytree(ROOT / "bts", clone / "bts", ignore=shutil.ignore_patterns("__pycache__", "bundled"))
    (clone / "data").mkdir()  # where data sets go; no package
    build = "from setuptools.build_meta import build_editable; print(build_editable('wheels'))"
    said = subprocess.run([sys.executable, "-W", "ignore", "-c", build], cwd=clone, check=True, capture_output=True, text=True)
    with zipfile.ZipFile(clone / "wheels" / said.stdout.strip().splitlines()[-1]) as wheel:
        wheel.extractall(site)
    script = tmp_path / "script.py"
    lines = [f"import site; site.addsitedir({str(site)!r})", "import bts, bts.data", "print(bts.__file__, bts.data.__file__)"]
    script.write_text("\n".join(lines))
    found = subprocess.run([sys.executable, "-S", "-E", script.name], cwd=tmp_path, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == [str(clone / "bts" / "__init__.py"), str(clone / "bts" / "data" / "__init__.py")]


def test_the_image_is_built_from_files_that_exist_and_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY ") for name in line.split()[1:-1]]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert copied, "no file is copied into the image"
    assert [name for name in copied if not (ROOT / name).exists() or f"!{name.removeprefix('./')}" not in ignored] == []
    assert set(BUILD_FILES) <= set(copied)
    user = next(line.split()[1] for line in lines if line.startswith("USER "))
    assert user != "root"
    assert lines.index(f"USER {user}") < next(i for i, line in enumerate(lines) if line.startswith("ENTRYPOINT"))


def test_the_citation_names_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == bts.__version__
    assert citation["license"] == "Apache-2.0"
    assert f"## [{citation['version']}] - {citation['date-released']}" in (ROOT / "CHANGELOG.md").read_text()
