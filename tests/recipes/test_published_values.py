"""Published values in the recipes, typed here once more from the publications, not from the recipes.

A wrong rate trains without an error, so nothing else would notice it.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
import timm
from recipe_data import RECIPES, shipped

from bts.models.networks import build_network
from bts.settings import AugmentSettings
from bts.training.run_data import flat_settings
from bts.training.tasks import build_architecture

BY_NAME = {path.stem: path for path in RECIPES}

FIGSHARE = {
    "data.source": "figshare",
    "data.size": 224,
    "model.encoder": "resnet50",
    "model.in_channels": 1,
    "model.normalisation": "unit",  # [0, 1]
    "augment.share": 0.5,  # on half of the images
    "optim.optimizer": "adamw",
    "freeze.trainable": "last_block",
}
NPZ = {
    "data.source": "npz",
    "split.kind": "published",  # a file for training, one for testing
    "model.in_channels": 3,
    "model.normalisation": "imagenet",
    "augment.share": 1.0,
    "augment.rotate": 20.0,
    "optim.optimizer": "adam",
    "optim.lr": 1e-5,
    "optim.schedule": "step",
    "optim.step_epochs": 7,
    "optim.step_factor": 0.1,
    "trainer.monitor": "accuracy",
}
BACKBONES = {
    "data.source": "folders",
    "split.kind": "published",
    "loss.class_weights": "balanced",
    "freeze.trainable": "head",
    "optim.trainable": "last:10",
    "optim.lr": 5e-6,
}
VALUES: dict[str, dict[str, Any]] = {
    "figshare_unet_resnet50_seg": FIGSHARE | {"model.attention": "additive"},
    "figshare_unet_resnet50_cls": FIGSHARE,
    "brisc_resnet18_cls": {
        "data.source": "brisc",
        "split.kind": "published",
        "split.val": 0.2,  # 4,000 and 1,000 of the published 5,000; the other 1,000 are the test part
        "model.encoder": "resnet18",
        "model.weights": "imagenet",
        "augment.rotate": 180.0,  # either way: any angle
        "freeze.trainable": "head",
        "freeze.epochs": 35,
        "optim.trainable": "all",
    },
    "brisc_resnet18_seg": {"data.source": "brisc_seg", "split.kind": "published", "model.encoder": "resnet18"},
    "npz_mobilenetv2": NPZ | {"model.encoder": "mobilenetv2_100", "model.weights": "imagenet"},
    "npz_cnn_scratch": NPZ
    | {
        "model.encoder": "cnn_scratch",
        "model.weights": "none",
        "model.hidden": [256],
        "model.dropout": 0.3,
        "freeze.epochs": 0,
    },
    "kaggle_resnet50_clahe": {
        "data.source": "folders",
        "split.kind": "published",
        "data.size": 224,
        "data.clahe_clip_limit": 0.01,  # near OpenCV's 2.0: tests/data/test_enhance.py compares the two
        "data.clahe_tiles": 8,
        "data.sharpen_amount": 0.5,  # 1.5 of the picture less 0.5 of its blur
        "data.sharpen_sigma_px": 1.5,
        "augment.scale": 0.1,
        "augment.shift": 0.05,
        "augment.shear": 0.05,
        "augment.fill": "nearest",
        "model.encoder": "resnet50",
        "model.hidden": [512, 128],
        "model.dropout": 0.4,
        "model.head_norm": True,
        "freeze.trainable": "head",
        "freeze.lr": 1e-4,
        "freeze.epochs": 30,
        "optim.trainable": "all",
        "optim.lr": 1e-5,
        "optim.epochs": 20,
        "optim.schedule": "plateau",
        "optim.plateau_factor": 0.3,
        "optim.plateau_patience": 5,
        "trainer.patience": 5,
        "trainer.min_delta": 0.001,
        "trainer.monitor": "loss",
        "trainer.histograms": True,
        "loss.class_weights": "balanced",
    },
    "kaggle_backbones_mobilenetv2": BACKBONES | {"model.encoder": "mobilenetv2_100"},
    "kaggle_backbones_resnet50": BACKBONES | {"model.encoder": "resnet50"},
    "kaggle_backbones_efficientnetb0": BACKBONES | {"model.encoder": "efficientnet_b0"},
}
"""Recipe -> what its publication states."""
VARIED: dict[str, set[str]] = {
    "figshare_unet_resnet50_seg": {"rotate", "flip", "crop"},
    "figshare_unet_resnet50_cls": {"rotate", "flip", "crop"},
    "brisc_resnet18_cls": {"rotate", "flip", "flip_vertical", "zoom_out"},
    "npz_mobilenetv2": {"rotate", "flip"},
    "npz_cnn_scratch": {"rotate", "flip"},
    "kaggle_resnet50_clahe": {"scale", "shift", "shear", "flip"},
}
"""Recipe -> the variations that its publication names, and so the only ones."""


def test_every_recipe_is_held_against_its_publication() -> None:
    assert set(VALUES) == set(BY_NAME)


@pytest.mark.parametrize("name", VALUES)
def test_a_recipe_holds_what_was_published(name: str) -> None:
    settings = flat_settings(shipped(BY_NAME[name]))
    assert {key: settings[key] for key in VALUES[name]} == VALUES[name]


@pytest.mark.parametrize("name", VARIED)
def test_a_recipe_varies_pictures_in_the_published_ways_and_no_other(name: str) -> None:
    augment = asdict(shipped(BY_NAME[name]).augment)
    ways = {key for key, value in augment.items() if key not in ("share", "fill") and value not in (0, "none")}
    assert ways == VARIED[name]
    assert set(augment) - {"share", "fill"} >= ways  # a new way of varying is among those looked at
    assert len(augment) == len(asdict(AugmentSettings()))


@pytest.mark.parametrize("name", [name for name in VALUES if name != "npz_cnn_scratch"])
def test_two_stages_are_two_and_training_may_stop_early(name: str) -> None:
    settings = shipped(BY_NAME[name])
    assert settings.trainer.patience > 0
    assert (settings.freeze.epochs > 0) == (name not in ("npz_mobilenetv2", "brisc_resnet18_seg"))


@pytest.mark.parametrize("name", [name for name in VALUES if name.startswith("kaggle_backbones")])
def test_each_backbone_sees_the_size_that_its_weights_were_made_for(name: str) -> None:
    settings = shipped(BY_NAME[name])
    config = timm.get_pretrained_cfg(settings.model.encoder)  # type: ignore[attr-defined]
    assert config is not None
    assert config.input_size == (3, settings.data.size, settings.data.size)


def test_the_small_cnn_has_three_convolutions_of_3x3_with_32_64_and_128_maps() -> None:
    settings = shipped(BY_NAME["npz_cnn_scratch"])
    network = build_network(build_architecture(settings, ("a", "b", "c", "d")))
    shapes = [tuple(value.shape) for value in network.parameters()]
    assert [shape for shape in shapes if len(shape) == 4] == [(32, 3, 3, 3), (64, 32, 3, 3), (128, 64, 3, 3)]
    assert [shape for shape in shapes if len(shape) == 2] == [(256, 128), (4, 256)]
