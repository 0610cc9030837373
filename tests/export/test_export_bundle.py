"""A MONAI bundle: MONAI's own command runs it as it is, and it answers as the Predictor does."""

from __future__ import annotations

import csv
import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from forked import start
from PIL import Image

from bts.errors import RequestError
from bts.export import bundle as exporting
from bts.export.bundle_configs import metadata_of
from bts.export.bundle_parts import BundleNetwork, MirrorInferer
from bts.export.formats import export_model
from bts.inference.predictor import Predictor
from bts.models.folder import load_network, read_card, update_card

ROOT = Path(__file__).parents[2]
SPECIFIED = {
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
}
TENSOR = {
    "type",
    "format",
    "modality",
    "num_channels",
    "spatial_shape",
    "dtype",
    "value_range",
    "is_patch_data",
    "channel_def",
}
"""What MONAI's specification of a bundle asks for, docs/source/mb_specification.rst."""


@pytest.fixture(scope="module")
def model(exported_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A joint model whose operating point leaves nothing at its default."""
    folder = Path(shutil.copytree(exported_models["joint"], tmp_path_factory.mktemp("bundle") / "model"))
    update_card(folder, operating_point={"threshold": 0.6, "min_area": 0.002, "flip": True})
    return folder


@pytest.fixture(scope="module")
def bundle(model: Path) -> Path:
    return export_model(model, format="monai-bundle").path


def run_monai_bundle(words: list[str]) -> int:
    """Do as `python -m monai.bundle` does."""
    sys.argv[1:] = words
    runpy.run_module("monai.bundle", run_name="__main__")
    return 0


def test_a_bundle_has_every_file_of_the_specification(bundle: Path, model: Path) -> None:
    assert bundle == model.with_name("model_bundle")
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert files == {
        "LICENSE",
        "configs/metadata.json",
        "configs/inference.json",
        "data/phantom.png",
        "docs/README.md",
        "models/model.pt",
        "models/model.json",
    }
    assert "Apache License" in (bundle / "LICENSE").read_text()
    assert "not a medical device" in (bundle / "docs" / "README.md").read_text()


def test_monai_runs_it_as_it_is_and_it_answers_as_the_predictor_does(bundle: Path, model: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    (folder / "data" / "more").mkdir()
    random = np.random.default_rng(0)
    for name, shape in (("tall.png", (90, 50)), ("more/wide.png", (40, 80))):
        Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(folder / "data" / name)
    log = tmp_path / "log.txt"
    process = start(run_monai_bundle, ["run", "--config_file", "configs/inference.json"], log=log, temporary=folder, copy=True)
    process.join(300)
    assert process.exitcode == 0, log.read_text(encoding="utf-8")
    predictor = Predictor.load(joint=model, device="cpu")
    with (folder / "eval" / "predictions.csv").open() as file:
        probabilities = {Path(row[0]).name: [float(value) for value in row[1:]] for row in csv.reader(file)}
    assert set(probabilities) == {"phantom.png", "tall.png", "wide.png"}
    for name in ("phantom", "tall", "more/wide"):
        truth = predictor.predict(folder / "data" / f"{name}.png")
        with Image.open(folder / "eval" / f"{name}_mask.png") as picture:
            found = np.asarray(picture) > 0
        assert found.shape == truth.mask.shape
        assert truth.mask.any()
        assert (found != truth.mask).mean() < 0.001, "but for a pixel at the very threshold"
        assert probabilities[Path(f"{name}.png").name] == pytest.approx(truth.class_prob, abs=1e-5)


@pytest.mark.parametrize("task", ["seg", "cls"])
def test_monai_s_own_check_accepts_network_and_metadata(exported_models: dict[str, Path], tmp_path: Path, task: str) -> None:
    written = export_model(exported_models[task], format="monai-bundle", out=tmp_path / "bundle")
    assert "accepted by verify_net_in_out" in written.notes[0]
    from monai.bundle import verify_net_in_out

    configs = written.path / "configs"
    network, metadata = str(configs / "inference.json"), json.loads((configs / "metadata.json").read_text())
    verify_net_in_out("network_def", meta_file=str(configs / "metadata.json"), config_file=network, device="cpu")
    metadata["network_data_format"]["outputs"]["pred"]["num_channels"] = 7
    (tmp_path / "wrong.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="doesn't match"):
        verify_net_in_out("network_def", meta_file=str(tmp_path / "wrong.json"), config_file=network, device="cpu")


def test_metadata_say_what_the_specification_asks_for(bundle: Path, model: Path) -> None:
    found = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert set(found) >= SPECIFIED
    assert "not a medical device" in found["description"]
    assert found["intended_use"] == read_card(model).intended_use
    for name in ("network_data_format", "classifier_data_format"):  # a joint model has two networks
        tensors = [found[name]["inputs"]["image"], found[name]["outputs"]["pred"]]
        assert all(set(tensor) == TENSOR for tensor in tensors)
        assert tensors[0]["spatial_shape"] == [64, 64]
    named = found["classifier_data_format"]["outputs"]["pred"]["channel_def"].values()
    assert [name.split(",")[0] for name in named] == read_card(model).classes


def test_a_phantom_model_says_so(model: Path) -> None:
    from dataclasses import replace

    card = replace(read_card(model), synthetic=True)
    assert "synthetic phantoms" in metadata_of(card)["description"]
    assert "synthetic phantoms" in exporting.readme(card)


def test_the_weights_are_a_plain_state_dict(bundle: Path, model: Path) -> None:
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    network, card = load_network(model)
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    part = BundleNetwork(card.architecture, "classes")
    part.load_state_dict(weights)
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(part.eval()(x), network(x).class_logits, atol=1e-6)


def test_the_mirror_image_is_averaged_where_it_belongs() -> None:
    def bright(x: torch.Tensor) -> torch.Tensor:
        return 4 * x - 2

    def left(x: torch.Tensor) -> torch.Tensor:
        return x[..., :1].mean((1, 2, 3))[:, None]

    x = torch.rand(2, 1, 4, 4)
    assert torch.allclose(MirrorInferer()(x, bright), bright(x), atol=1e-5)
    assert torch.allclose(MirrorInferer()(x, left), (left(x) + left(x.flip(-1))) / 2)


def test_a_bundle_is_replaced_and_anything_else_is_not(exported_models: dict[str, Path], tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    for _ in range(2):
        export_model(exported_models["cls"], format="monai-bundle", out=out)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(RequestError, match="mine: holds something other than a bundle: name another --out"):
        export_model(exported_models["cls"], format="monai-bundle", out=tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_a_bundle_that_monai_refuses_is_not_left_behind(
    exported_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(card: object) -> dict:
        found = metadata_of(card)
        found["network_data_format"]["outputs"]["pred"]["num_channels"] = 7
        return found

    monkeypatch.setattr(exporting, "metadata_of", wrong)
    with pytest.raises(
        RequestError, match=r"MONAI does not accept the bundle \(output channel number .*\): nothing was written"
    ):
        export_model(exported_models["cls"], format="monai-bundle", out=tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_the_licence_is_named_where_it_is_not_ours() -> None:
    assert exporting.licence_text("CC-BY-4.0") == "SPDX-License-Identifier: CC-BY-4.0\n"
