"""Bundling the model of a finished run: files, agreement, refusals, and predictions of the bundled model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_models import make_card
from made_runs import made_run

import bts
from bts.apps import cli
from bts.data.sources.catalogue import open_source
from bts.errors import RequestError
from bts.inference.predictor import Predictor
from bts.models import bundled_model
from bts.models.card import to_json
from bts.models.folder import read_card
from bts.runs import Run
from bts.training.run_data import read_run
from tools import __main__ as tools_main
from tools import bundle as bundling
from tools.bundle import bundle_run, compare_on_slices
from tools.documents import read_block
from tools.readme import FOLDS, HOME, main_scores, pooled_scores


@pytest.fixture
def run(finished_runs: Any) -> Run:
    return finished_runs["joint"]


@pytest.fixture
def folder(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package's own place with the run's model in it, without ONNX."""
    monkeypatch.setattr(bundling, "NEEDED", ("a library that is not installed",))
    bundle_run(run.path, name="small", place=tmp_path / "bundled", slices=0)
    monkeypatch.setattr(bundled_model, "BUNDLED", tmp_path / "bundled")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "bundled"


def test_the_bundled_model_answers_where_none_is_named_and_bears_its_name(folder: Path, mixed_set: Path) -> None:
    source = open_source("figshare", mixed_set)
    predictor = Predictor.load(device="cpu")
    prediction = predictor.predict(source.read(source.records()[0]))
    assert [mark.name for mark in prediction.models] == ["small"]
    assert "bundled model" in predictor.notes[0]


def test_the_command_bundles_with_onnx_and_tells_how_the_two_agree(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme, elsewhere = tmp_path / "README.md", tmp_path / "elsewhere.md"
    readme.write_text("before\n<!-- bundled:begin -->\n<!-- bundled:end -->\nafter\n")
    elsewhere.write_text("<!-- elsewhere:begin -->\n| slices | score |\n|---|---|\n| a | 0.5 |\n<!-- elsewhere:end -->\n")
    more = ["--elsewhere", str(elsewhere), "--readme", str(readme)]
    assert tools_main.main(["bundle", str(run.path), "--name", "trial", "--folder", str(tmp_path / "bundled"), *more]) == 0
    told = capsys.readouterr().out
    card = read_card(tmp_path / "bundled" / "trial")
    block = main_scores(tmp_path / "bundled" / "trial")
    assert f"<!-- bundled:begin -->\n{block}\n<!-- bundled:end -->" in readme.read_text()
    for key in HOME:
        assert f"{card.scores[key]['value']:.3f} [" in block
    page = (tmp_path / "bundled" / "trial" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "## On slices of other publishers\n\n| slices | score |\n|---|---|\n| a | 0.5 |\n" in page
    assert f"{tmp_path / 'bundled' / 'trial'}: " in told
    assert "Dice between the masks" in told
    assert sorted(file.name for file in (tmp_path / "bundled").iterdir()) == ["trial"]
    assert "Known failures" in (tmp_path / "bundled" / "trial" / "MODEL_CARD.md").read_text(encoding="utf-8")
    files = sorted(file.name for file in (tmp_path / "bundled" / "trial").iterdir())
    assert {"MODEL_CARD.md", "SHA256SUMS", "model.json", "model.onnx", "model.safetensors"} <= set(files)


def test_the_readme_states_the_scores_of_the_bundled_model() -> None:
    (folder,) = bundled_model.bundled_models(Path(bts.__file__).parent / "bundled")
    block = main_scores(folder)
    assert block == read_block(Path(bts.__file__).parents[1] / "README.md", "bundled")
    assert len([line for line in block.splitlines() if line.startswith("|")]) == 2 + 6


def test_the_readme_states_the_scores_of_the_pooled_folds() -> None:
    root = Path(bts.__file__).parents[1]
    block = pooled_scores(root / "docs" / "results.md")
    assert block == read_block(root / "README.md", "folds")
    assert len([line for line in block.splitlines() if line.startswith("|")]) == 2 + len(FOLDS)


def test_the_scores_of_pooled_folds_are_those_of_the_results(tmp_path: Path) -> None:
    results = tmp_path / "results.md"
    rows = "".join(f"| {name} | 0.{n} | 0.1 to 0.9 | 7 | 8{n} |\n" for n, name in enumerate(FOLDS))
    results.write_text(
        f"### one run\n\n| accuracy per slice | 0.5 | 0 to 1 | 1 | 2 |\n\n### joint: 5 folds, out of fold\n\n{rows}"
    )
    assert "| class right | 0.0 [0.1, 0.9] | 80 slices of 7 patients |" in pooled_scores(results).splitlines()
    results.write_text(results.read_text().replace("| accuracy on slices not referred |", "| another |"))
    with pytest.raises(RequestError, match="no pooled folds with 'accuracy on slices not referred'"):
        pooled_scores(results)


def test_the_rows_of_other_publishers_are_those_of_the_models_own_column(folder: Path) -> None:
    page = folder / "small" / "MODEL_CARD.md"
    page.write_text(
        """| fingerprint | `abc1` (of the run's weights) |

| slices | score | before | new one | n |
|---|---|---|---|---|
| tumours of other publishers, held out | class right | 0.1 [0.0, 0.2] | 0.8 [0.7, 0.9] | 64 (60 clusters) |
|  | called a tumour | 0.2 | 0.9 | 64 (60 clusters) |
| TCGA-LGG, T1 after contrast | tumour-free slices with a mask | 0.3 | 0.4 [0.3, 0.5] | 413 (58) |

Written by it. before: fingerprint `abc0`, trained. new one: fingerprint `abc1`, trained.
""",
        encoding="utf-8",
    )
    rows = main_scores(folder / "small").splitlines()
    assert (
        "| unseen publishers | slices with a tumour: class right | 0.8 [0.7, 0.9] | 64 slices of 60 patients or clusters |"
        in rows
    )
    assert "|  | tumour-free slices of TCGA-LGG: a false mask | 0.4 [0.3, 0.5] | 413 slices of 58 patients |" in rows


def test_a_card_without_a_main_score_is_refused(tmp_path: Path) -> None:
    (tmp_path / "MODEL_CARD.md").write_text("")
    (tmp_path / "model.json").write_text(to_json(make_card("joint")))
    with pytest.raises(RequestError, match=r"no score classification\.tumour\.accuracy in its card"):
        main_scores(tmp_path)


def test_a_table_that_is_not_there_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"name the file that `python -m tools elsewhere` wrote"):
        bundle_run(run.path, name="small", place=tmp_path, elsewhere=tmp_path / "gone.md")


def test_two_equal_models_agree_wholly(run: Run) -> None:
    agreement = compare_on_slices(read_run(run), run.model, slices=3)
    assert agreement.slices == min(3, len(read_run(run).records("test")))
    assert (agreement.other_class, agreement.largest_probability) == (0, 0.0)
    assert agreement.mean_dice == agreement.least_dice == 1.0


def test_models_are_listed_with_what_they_were_trained_on(folder: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "broken").mkdir()
    (folder / "broken" / "model.json").write_text("{}")
    assert cli.main(["models", "--runs", str(run.path.parents[1])]) == 0
    told = capsys.readouterr().out
    assert f"{folder / 'small'}\n  joint, classes meningioma, glioma, pituitary, no_tumour; name small" in told
    assert f"{run.model}\n  joint" in told
    assert "trained on phantoms only, nothing: random weights" in told
    assert f"{folder / 'broken'}\n  can't be used: " in told
    assert "used by default:" in told
    assert "Dice per slice" in told


def test_bundling_again_replaces_the_model_and_leaves_nothing_behind(folder: Path, run: Run) -> None:
    (folder / "small" / "old").write_text("left over")
    bundle_run(run.path, name="small", place=folder / ".." / "bundled", slices=0)
    assert sorted(file.name for file in folder.iterdir()) == ["small"]
    assert not (folder / "small" / "old").exists()


def test_a_model_of_phantoms_is_none_for_the_package(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundled_model, "BUNDLED", tmp_path)
    with pytest.raises(RequestError, match="trained on phantoms: no model for the package; name another --folder to try"):
        bundle_run(run.path, name="small")


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path, mixed_set: Path) -> None:
    made = made_run(tmp_path, "joint", data=mixed_set)
    with pytest.raises(RequestError, match="the run is not finished"):
        bundle_run(made.path, name="small", place=tmp_path / "bundled")


@pytest.mark.parametrize("name", ["", "a/b", ".hidden"])
def test_a_name_that_is_no_folder_s_is_refused(run: Run, tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match="expected one word that can be a folder's name"):
        bundle_run(run.path, name=name, place=tmp_path / "bundled")


def test_a_model_that_is_too_large_is_refused_and_the_old_one_stays(
    folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = np.frombuffer((folder / "small" / "model.safetensors").read_bytes(), np.uint8)
    monkeypatch.setattr(bundling, "LARGEST_MB", 0.001)
    with pytest.raises(RequestError, match=r"MB, at most 0\.001 fit into the package"):
        bundle_run(run.path, name="small", place=folder / ".." / "bundled", slices=0)
    after = np.frombuffer((folder / "small" / "model.safetensors").read_bytes(), np.uint8)
    np.testing.assert_array_equal(before, after)
    assert read_card(folder / "small").name == "small"
