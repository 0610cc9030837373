"""Exported files of the recipes' networks equal PyTorch: channels, normalisation, deep heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from fake_models import make_card
from torch import nn

from bts.export.formats import export_model
from bts.inference.runtimes.exported import outputs_of
from bts.models.architecture import Architecture
from bts.models.folder import load_network, write_model_folder
from bts.models.networks import build_network


@pytest.mark.parametrize(
    "values",
    [
        {"encoder": "cnn_scratch", "hidden": (16,), "in_channels": 3, "normalisation": "imagenet"},
        {"encoder": "test_resnet", "hidden": (16, 8), "head_norm": True, "normalisation": "unit"},
    ],
    ids=["small CNN, three channels", "z-scores, batch norms in the head"],
)
def test_an_exported_recipe_answers_as_the_network_does(values: dict[str, object], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_network(Architecture("cls", size=64, num_classes=3, **values))  # type: ignore[arg-type]
    for step in network.class_head:
        if isinstance(step, nn.BatchNorm1d):
            step.running_mean.normal_()
            step.running_var.uniform_(0.5, 2.0)
    architecture = network.architecture.to_dict()
    write_model_folder(tmp_path / "model", make_card("cls", size=64, architecture=architecture), network.state_dict())
    written = export_model(tmp_path / "model", format="onnx").path
    x = np.random.default_rng(0).random((3, 1, 64, 64), dtype=np.float32)
    loaded, _ = load_network(tmp_path / "model")
    with torch.no_grad():
        truth = loaded(torch.from_numpy(x))
    session = onnxruntime.InferenceSession(written, providers=["CPUExecutionProvider"])
    found = dict(zip(outputs_of("cls"), session.run(None, {"image": x}), strict=True))
    np.testing.assert_allclose(found["class_logits"], truth.class_logits, rtol=1e-4, atol=1e-5)
    assert found["cam"].shape == (3, 3, *truth.features.shape[2:])
