"""Texts of a model card never reach what the parser of a MONAI bundle evaluates."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bts.errors import RequestError
from bts.export import bundle as exporting
from bts.export.base import Trained
from bts.export.bundle import write_bundle
from bts.export.bundle_configs import evaluated, inference_of, metadata_of, refuse_foreign
from bts.export.formats import export_model
from bts.models.card import ModelCard
from bts.models.folder import load_network

WAYS: tuple[tuple[Any, ...], ...] = (
    ("name",),
    ("classes", 0),
    ("trained_on",),
    ("licence",),
    ("intended_use",),
    ("architecture", "input_mean"),
    ("architecture", "head_norm"),
    ("preprocessing", "crop_brain"),
    ("operating_point", "threshold"),
    ("operating_point", "flip"),
    ("operating_point", "min_area"),
    ("scores", "dice"),
    ("temperature",),
)


@pytest.fixture
def folder(exported_models: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported_models["joint"], tmp_path / "model"))


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    """File that the code in the card would write."""
    return tmp_path / "owned"


def code(witness: Path) -> str:
    return f"$__import__('pathlib').Path({str(witness)!r}).write_text('owned')"


def put(folder: Path, way: tuple[Any, ...], value: Any) -> None:
    values = json.loads((folder / "model.json").read_text())
    inner = values
    for step in way[:-1]:
        inner = inner[step]
    inner[way[-1]] = value
    if way == ("architecture", "input_mean"):
        values["architecture"]["normalisation"] = "unit"  # the mean is then kept and not used
    (folder / "model.json").write_text(json.dumps(values))


def run_everything(bundle: Path) -> None:
    """Let MONAI evaluate all that the two files of a bundle hold, but the engines."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser.read_meta(str(bundle / "configs" / "metadata.json"))
    parser["bundle_root"] = str(bundle)
    for name in ("imports", "_meta_", "preprocessing", "network_def", "postprocessing", "classifier_postprocessing"):
        parser.get_parsed_content(name)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: ".".join(map(str, way)))
def test_code_in_a_card_reaches_no_bundle(way: tuple[Any, ...], folder: Path, witness: Path) -> None:
    put(folder, way, code(witness))
    with pytest.raises(RequestError, match=r"model\.json: .*would evaluate") as caught:
        run_everything(export_model(folder, format="monai-bundle").path)
    assert "\n" not in str(caught.value)
    assert not witness.exists()
    assert not folder.with_name("model_bundle").exists()


def test_code_in_a_key_reaches_no_bundle(folder: Path, witness: Path) -> None:
    put(folder, ("scores", code(witness)), 1)
    with pytest.raises(RequestError, match=r"model\.json: scores: key "):
        run_everything(export_model(folder, format="monai-bundle").path)
    put(folder, ("scores",), {"_target_": "pathlib.Path", "_mode_": "callable"})
    with pytest.raises(RequestError, match=r"model\.json: scores: key '_target_'"):
        run_everything(export_model(folder, format="monai-bundle").path)
    assert not witness.exists()


HOSTILE: tuple[Callable[[ModelCard, str], ModelCard], ...] = (
    lambda card, text: replace(card, name=text),
    lambda card, text: replace(card, classes=[text, *card.classes[1:]]),
    lambda card, text: replace(card, trained_on=text),
    lambda card, text: replace(card, intended_use=text),
    lambda card, text: replace(card, scores={text: 1}),
    lambda card, text: replace(card, scores={"a": [{"b": text}]}),
    lambda card, text: replace(card, scores={"_target_": "os.system", "command": "true"}),
)


@pytest.mark.parametrize("spoil", HOSTILE)
@pytest.mark.parametrize("text", ["$__import__('os')", "@network_def", "%other.json::key", "a $b"])
def test_the_export_refuses_a_card_that_was_not_read_from_a_folder(
    spoil: Callable[[ModelCard, str], ModelCard], text: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, card = load_network(folder)
    hostile = Trained(folder, network, spoil(card, text))
    with pytest.raises(RequestError, match=r"model\.json: "):
        write_bundle(hostile, None)
    monkeypatch.setattr(exporting, "check_card", lambda *_: None)  # and where the first check would fail one day
    with pytest.raises(RequestError, match=r"of the bundle would evaluate"):
        write_bundle(hostile, None)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_an_honest_card_adds_nothing_that_is_evaluated(folder: Path) -> None:
    card = load_network(folder)[1]
    refuse_foreign(card)
    assert list(evaluated(metadata_of(card))) == []
    odd = replace(card, temperature=1.5, operating_point={"threshold": 0.1, "min_area": 0.25, "flip": False})
    refuse_foreign(odd)
    assert "1.5" not in "".join(evaluated(inference_of(odd)))


def test_a_bundle_s_read_me_shows_texts_as_they_are(folder: Path) -> None:
    from bts.export.bundle import readme

    card = replace(load_network(folder)[1], classes=["<img src=x onerror=alert(1)>", "[a](http://b)", "c"], trained_on="# *x*")
    text = readme(card)
    assert "<img" not in text
    assert "](http" not in text
    assert "# *x*" not in text
