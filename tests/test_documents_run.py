"""The documents' Python blocks run unchanged, each in a folder that holds what the text assumes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_models import write_model
from PIL import Image
from web_server import serving

import bts
from bts.data.phantom_scan import draw_slices
from bts.inference.predictor import Predictor
from bts.models import bundled_model

ROOT = Path(__file__).resolve().parents[1]
PAGE = "http://127.0.0.1:7860"
"""Where the documents' page answers; a test's own page answers elsewhere."""


def python_blocks() -> Iterator[tuple[str, str]]:
    """Yield where each block stands and what it says; those of the page are run by the page's own test below."""
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]):
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.DOTALL)):
            yield f"{path.relative_to(ROOT).as_posix()}-{number}", block


BLOCKS = dict(python_blocks())


@pytest.fixture(scope="module")
def workplace(exported_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the documents assume it: a scan, two runs of their own name, and an exported joint model."""
    folder = tmp_path_factory.mktemp("documents")
    image, _ = next(draw_slices(label="glioma", n_slices=1, side=128, seed=(1,)))
    Image.fromarray((255 * (image / image.max())).clip(0, 255).astype(np.uint8)).save(folder / "scan.png")
    for task in ("seg", "cls"):
        write_model(folder / "runs" / task / "my-run" / "model", task)
    shutil.copy(exported_models["joint"] / "model.onnx", folder / "model.onnx")
    return folder


def test_there_are_python_blocks() -> None:
    assert {name.rsplit("-", 1)[0] for name in BLOCKS} >= {"README.md", "docs/how_to.md", "docs/reference/inference.md"}


@pytest.fixture
def package_model(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model that comes with the package, which other tests don't see."""
    box = Path(bts.__file__).parent / "bundled"
    monkeypatch.setattr(bundled_model, "BUNDLED", box)
    return box / "joint-mobilenetv2"


@pytest.mark.usefixtures("package_model")
@pytest.mark.parametrize("name", [name for name, block in BLOCKS.items() if PAGE not in block])
def test_a_python_block_runs(
    name: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    exec(compile(BLOCKS[name], name, "exec"), {"__name__": "__main__"})
    if "print(" in BLOCKS[name]:
        assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("name", [name for name, block in BLOCKS.items() if PAGE in block])
def test_a_python_block_for_the_page_runs(
    name: str, workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gradio_client", reason="the page needs Gradio: pip install 'bts[app]'")
    monkeypatch.chdir(workplace)
    (workplace / "served").mkdir(exist_ok=True)
    with serving(workplace / "served") as page:
        exec(compile(BLOCKS[name].replace(PAGE, page.url), name, "exec"), {"__name__": "__main__"})
    assert "glioma" in capsys.readouterr().out  # the test's page always says so


def test_the_packages_model_is_whole_and_small_and_answers_alike_by_either_file(package_model: Path, workplace: Path) -> None:
    bundled_model.check_sums(package_model)
    assert sum(file.stat().st_size for file in package_model.iterdir()) < 25e6
    pytest.importorskip("onnxruntime", reason="the second file needs ONNX Runtime: pip install 'bts[onnx]'")
    by_torch, by_onnx = (
        Predictor.load(joint=package_model, runtime=runtime).predict(workplace / "scan.png") for runtime in ("torch", "onnx")
    )
    assert by_torch.label == by_onnx.label
    np.testing.assert_allclose(by_torch.class_prob, by_onnx.class_prob, atol=1e-3)
    assert (by_torch.mask != by_onnx.mask).mean() < 1e-3
