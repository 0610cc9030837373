"""From a finished run to the package: what is refused, what is told, and does the boxed model answer?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_runs import made_run

from bts.apps import cli
from bts.data.sources.catalogue import open_source
from bts.errors import RequestError
from bts.experiments.finish import finish_run
from bts.inference import bundled_model
from bts.inference.predictor import Predictor
from bts.models.folder import read_card
from bts.runs import Run
from bts.training.run_data import read_run
from tools import __main__ as tools_main
from tools import boxing
from tools.boxing import box_run, compare_on_slices


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, mixed_set: Path) -> Run:
    made = made_run(tmp_path_factory.mktemp("runs"), "joint", data=mixed_set)
    finish_run(made, device="cpu")
    return made


@pytest.fixture
def box(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package's own place with the run's model in it, without ONNX."""
    monkeypatch.setattr(boxing, "NEEDED", ("a library that is not installed",))
    box_run(run.path, name="small", box=tmp_path / "box", slices=0)
    monkeypatch.setattr(bundled_model, "BUNDLED", tmp_path / "box")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "box"


def test_the_boxed_model_answers_where_none_is_named_and_bears_its_name(box: Path, mixed_set: Path) -> None:
    source = open_source("figshare", mixed_set)
    predictor = Predictor.load(device="cpu")
    prediction = predictor.predict(source.read(source.records()[0]))
    assert [mark.name for mark in prediction.models] == ["small"]
    assert "bundled model" in predictor.notes[0]


def test_the_command_boxes_with_onnx_and_tells_how_the_two_agree(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tools_main.main(["box", str(run.path), "--name", "trial", "--box", str(tmp_path / "box")]) == 0
    told = capsys.readouterr().out
    assert f"{tmp_path / 'box' / 'trial'}: " in told
    assert "Dice between the masks" in told
    assert sorted(file.name for file in (tmp_path / "box").iterdir()) == ["trial"]
    assert "Known failures" in (tmp_path / "box" / "trial" / "MODEL_CARD.md").read_text(encoding="utf-8")
    files = sorted(file.name for file in (tmp_path / "box" / "trial").iterdir())
    assert {"MODEL_CARD.md", "SHA256SUMS", "model.json", "model.onnx", "model.safetensors"} <= set(files)


def test_two_equal_models_agree_wholly(run: Run) -> None:
    agreement = compare_on_slices(read_run(run), run.model, slices=3)
    assert agreement.slices == min(3, len(read_run(run).records("test")))
    assert (agreement.other_class, agreement.largest_probability) == (0, 0.0)
    assert agreement.mean_dice == agreement.least_dice == 1.0


def test_models_are_listed_with_what_they_were_trained_on(box: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (box / "broken").mkdir()
    (box / "broken" / "model.json").write_text("{}")
    assert cli.main(["models", "--runs", str(run.path.parents[1])]) == 0
    told = capsys.readouterr().out
    assert f"{box / 'small'}\n  joint, classes meningioma, glioma, pituitary, no_tumour; name small" in told
    assert f"{run.model}\n  joint" in told
    assert "trained on phantoms only, nothing: random weights" in told
    assert f"{box / 'broken'}\n  can't be used: " in told
    assert "used if none is named:" in told
    assert "Dice per slice" in told


def test_boxing_again_replaces_the_model_and_leaves_nothing_behind(box: Path, run: Run) -> None:
    (box / "small" / "old").write_text("left over")
    box_run(run.path, name="small", box=box / ".." / "box", slices=0)
    assert sorted(file.name for file in box.iterdir()) == ["small"]
    assert not (box / "small" / "old").exists()


def test_a_model_of_phantoms_is_none_for_the_package(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled_model, "BUNDLED", tmp_path)
    with pytest.raises(RequestError, match="trained on phantoms: no model for the package; name another --box to try"):
        box_run(run.path, name="small")


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path, mixed_set: Path) -> None:
    made = made_run(tmp_path, "joint", data=mixed_set)
    with pytest.raises(RequestError, match="the run is not finished"):
        box_run(made.path, name="small", box=tmp_path / "box")


@pytest.mark.parametrize("name", ["", "a/b", ".hidden"])
def test_a_name_that_is_no_folder_s_is_refused(run: Run, tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match="expected one word that can be a folder's name"):
        box_run(run.path, name=name, box=tmp_path / "box")


def test_a_model_that_is_too_large_is_refused_and_the_old_one_stays(
    box: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = np.frombuffer((box / "small" / "model.safetensors").read_bytes(), np.uint8)
    monkeypatch.setattr(boxing, "LARGEST_MB", 0.001)
    with pytest.raises(RequestError, match=r"MB, at most 0\.001 fit into the package"):
        box_run(run.path, name="small", box=box / ".." / "box", slices=0)
    after = np.frombuffer((box / "small" / "model.safetensors").read_bytes(), np.uint8)
    np.testing.assert_array_equal(before, after)
    assert read_card(box / "small").name == "small"
