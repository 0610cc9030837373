"""Bundled model: when it is used, by which name, and how a damaged package is reported."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from fake_models import make_card
from PIL import Image

import bts
from bts.apps.models import command as list_models
from bts.data.readers.catalogue import read_slice
from bts.errors import RequestError
from bts.inference.model_selection import model_folder, select_models
from bts.inference.predictor import load_model
from bts.models import bundled_model
from bts.models.bundled_model import bundled_models, check_sums, write_sums
from bts.runs import Run
from tools.figure import CAPTIONS, caption

NONE = {"seg": None, "cls": None, "joint": None}


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one joint model, in an empty working folder; weights play no part in the choice."""
    monkeypatch.setattr(bundled_model, "BUNDLED", tmp_path / "box")
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "box" / "small", "joint", name="the bundled one")
    return tmp_path / "box"


def put(folder: Path, task: str, **changes: object) -> None:
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(json.dumps(asdict(make_card(task, **changes))))
    (folder / "model.safetensors").write_bytes(b"weights" * 100)
    write_sums(folder)


def write_run(runs: Path, task: str, name: str, *, synthetic: bool) -> Run:
    run = Run(runs / task / name)
    run.model.mkdir(parents=True)
    (run.model / "model.json").write_text(json.dumps(asdict(make_card(task, name=name, synthetic=synthetic))))
    run.finished.write_text(json.dumps({"task": task, "synthetic": synthetic, "time": name}))
    return run


def chosen(runs: str | Path = "runs", **named: object) -> tuple[list[str], str]:
    models, notes = select_models(**(NONE | named), runs=runs)
    return [model.card.name for model in models], "\n".join(notes)


def test_without_any_run_the_bundled_model_answers_and_is_told(box: Path) -> None:
    names, notes = chosen()
    assert names == ["the bundled one"]
    assert notes == f"mask and class: {box / 'small'} (bundled model, trained on nothing)"


def test_models_are_listed_with_their_scores_or_with_what_is_wrong(box: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score = {"value": 0.8, "low": 0.7, "high": 0.9}
    put(box / "scored", "seg", scores={"segmentation.slice.dice": score, "odd": 3})
    put(box / "torn", "seg")
    (box / "torn" / "model.safetensors").write_bytes(b"other")
    assert list_models([]) == 0
    told = capsys.readouterr().out
    assert f"{box / 'small'}\n  joint, classes meningioma" in told
    assert "not scored; model.safetensors" in told
    assert "Dice per slice 0.800 [0.700, 0.900]; model.safetensors" in told
    assert f"{box / 'torn'}\n  can't be used: " in told
    assert "used by default:\n  " in told


def test_a_run_on_real_data_goes_before_the_bundled_model_and_that_before_phantoms(box: Path) -> None:
    write_run(Path("runs"), "seg", "phantom", synthetic=True)
    names, notes = chosen()
    assert names == ["the bundled one"]
    assert "seg/phantom/model is left out: it was trained on phantoms" in notes
    write_run(Path("runs"), "seg", "real", synthetic=False)
    assert chosen()[0] == ["real"]


def test_phantoms_in_a_folder_that_is_named_answer_before_the_bundled_model(box: Path) -> None:
    write_run(Path("demo"), "seg", "phantom", synthetic=True)
    assert chosen("demo")[0] == ["phantom"]
    assert chosen("nowhere")[0] == ["the bundled one"]


def test_of_several_bundled_models_a_joint_one_answers(box: Path) -> None:
    put(box / "a-first-by-name", "seg", name="a segmenter")
    assert [folder.name for folder in bundled_models()] == ["a-first-by-name", "small"]
    assert chosen()[0] == ["the bundled one"]


def test_a_bundled_model_is_asked_by_its_name(box: Path) -> None:
    assert chosen(joint="small")[0] == ["the bundled one"]
    assert model_folder("small") == box / "small"
    with pytest.raises(RequestError, match="a model for task 'joint', one for 'seg' is needed here"):
        chosen(seg="small")


def test_a_path_that_is_there_goes_before_a_name_in_the_package(box: Path) -> None:
    put(Path("small"), "joint", name="the one here")
    assert chosen(joint="small")[0] == ["the one here"]


def test_a_package_without_a_model_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled_model, "BUNDLED", tmp_path / "gone")
    assert bundled_models() == []
    with pytest.raises(RequestError, match="no finished run in"):
        chosen(tmp_path)


@pytest.mark.parametrize("asked", [{}, {"joint": "small"}])
@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"weights"),
            "7 bytes with another SHA-256 than in SHA256SUMS",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "no such file, though SHA256SUMS lists it"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "no readable SHA256SUMS in it: the package is incomplete"),
    ],
)
def test_a_damaged_package_is_told_in_one_line(box: Path, harm: object, message: str, asked: dict[str, str]) -> None:
    harm(box / "small")  # type: ignore[operator]
    with pytest.raises(RequestError, match=message) as caught:
        chosen(**asked)
    assert "\n" not in str(caught.value)
    assert "install bts again, or name another model" in str(caught.value)


def test_a_bundled_model_of_a_later_version_is_told_in_one_line(box: Path) -> None:
    card = json.loads((box / "small" / "model.json").read_text()) | {"format": 99}
    (box / "small" / "model.json").write_text(json.dumps(card))
    write_sums(box / "small")
    with pytest.raises(
        RequestError, match=r"model\.json: model card of format 99, expected format 3: install the version of bts that wrote it"
    ):
        chosen()


def test_the_sums_are_those_of_all_files(box: Path) -> None:
    check_sums(box / "small")
    (box / "small" / "more").write_text("x")
    write_sums(box / "small")
    assert [line.split("  ")[1] for line in (box / "small" / "SHA256SUMS").read_text().splitlines()] == [
        "model.json",
        "model.safetensors",
        "more",
    ]
    check_sums(box / "small")


def test_the_bundled_model_is_right_on_the_examples_of_the_clone_and_answers_as_the_picture_of_the_readme_says() -> None:
    (folder,) = bundled_models(Path(bts.__file__).parent / "bundled")
    model = load_model(folder, device="cpu", runtime="onnx")
    clone = Path(bts.__file__).parents[1]
    examples = sorted((clone / "examples").glob("*.png"))
    found = [model.predict(read_slice(file)) for file in examples]
    assert [each.label for each in found] == [file.stem for file in examples]
    assert len(found) == 4
    assert [bool(each.mask.any()) for each in found if each.mask is not None] == [file.stem != "no_tumour" for file in examples]
    assert not any(each.refer for each in found)
    with Image.open(clone / "docs" / "images" / "phantoms.png") as picture:
        columns = picture.info[CAPTIONS].splitlines()
    assert [column.split("; ")[1] for column in columns] == [caption(each)[1] for each in found]
