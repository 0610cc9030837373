"""One tiny data set and one file of weights for every test of the recipes."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from recipe_data import write_all
from safetensors.torch import save_file


@pytest.fixture(scope="session")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Root of each source's made data."""
    return write_all(tmp_path_factory.mktemp("recipes"))


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights for the tiny encoder, so that what freezes a pretrained network is trained too."""
    path = tmp_path_factory.mktemp("weights") / "test_resnet.safetensors"
    torch.manual_seed(0)
    save_file({key: value.contiguous() for key, value in timm.create_model("test_resnet").state_dict().items()}, path)
    return path
