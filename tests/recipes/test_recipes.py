"""Every shipped recipe loads, builds its network, and trains end to end when shrunk."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from recipe_data import RECIPES, shipped, shrunk_recipe, task_of_recipe

from bts.models.folder import read_card
from bts.models.networks import build_network
from bts.training.fit import fit
from bts.training.tasks import build_architecture

NAMES = [
    "brisc_resnet18_cls",
    "brisc_resnet18_seg",
    "figshare_unet_resnet50_cls",
    "figshare_unet_resnet50_seg",
    "kaggle_backbones_efficientnetb0",
    "kaggle_backbones_mobilenetv2",
    "kaggle_backbones_resnet50",
    "kaggle_resnet50_clahe",
    "npz_cnn_scratch",
    "npz_mobilenetv2",
]


def test_every_recipe_is_found() -> None:
    assert [path.stem for path in RECIPES] == NAMES


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_says_what_it_is_and_loads(recipe: Path) -> None:
    head = recipe.read_text(encoding="utf-8")
    assert head.startswith("# Recipe: ")
    script = f"train_{task_of_recipe(recipe)}.py --config configs/recipes/{recipe.name}"
    assert f"# Command: python {script}" in head
    assert "# Published: " in head
    settings = shipped(recipe)
    assert settings.optim.lr_random is not None  # where pretrained weights can't be had
    assert not settings.data.crop_brain  # no published one crops to the head


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_s_network_can_be_built(recipe: Path) -> None:
    settings = copy.deepcopy(shipped(recipe))
    settings.data.size = 64
    architecture = build_architecture(settings, ("a", "b", "c", "d"))
    network = build_network(architecture)
    assert network.architecture.encoder == settings.model.encoder  # type: ignore[attr-defined]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_trains_from_its_data_to_a_model_folder(
    recipe: Path, roots: dict[str, Path], weights: Path, tmp_path: Path
) -> None:
    settings = shrunk_recipe(recipe, roots, runs=tmp_path / "runs", weights=weights)
    run = fit(settings)
    card = read_card(run.model, expect=task_of_recipe(recipe))
    log = run.log.read_text(encoding="utf-8")
    assert card.preprocessing.get("clahe_clip_limit", 0.0) == settings.data.clahe_clip_limit
    assert ("stage 1:" in log) == (settings.freeze.epochs > 0)
    assert (f"the learning rate is {settings.optim.lr_random:g} in place of" in card.trained_on) == ("scratch" in recipe.stem)
