"""Pretrained weights: loaded unchanged, and refused where they do not fit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bts.errors import RequestError
from bts.models.architecture import Architecture
from bts.models.base import INPUT_MEAN, INPUT_STD
from bts.models.encoders import Encoder
from bts.models.networks import build_network
from bts.models.weights import load_encoder

ROOT = Path(__file__).resolve().parents[2]
MOBILENET = Path(os.environ.get("BTS_SHARED", ROOT.parent / "shared")) / "weights" / "mobilenetv2_100_imagenet.safetensors"
needs_mobilenet = pytest.mark.skipif(not MOBILENET.is_file(), reason="the shared MobileNetV2 weights are not on this machine")


def rgb_network(name: str) -> torch.nn.Module:
    """A network for RGB with random weights and random batch norms, as a file would hold it."""
    torch.manual_seed(0)
    network = timm.create_model(name)
    for key, value in network.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            value.copy_(torch.rand_like(value) + 0.5)
    return network.eval()


def built(task: str, encoder: str, weights: Path, **values: object) -> torch.nn.Module:
    classes = 0 if task == "seg" else 3
    return build_network(Architecture(task, encoder, size=64, num_classes=classes, **values), weights=weights).eval()  # type: ignore[arg-type]


@needs_mobilenet
def test_a_grey_picture_gives_what_the_rgb_network_gives_on_it_three_times() -> None:
    rgb = timm.create_model("mobilenetv2_100")
    rgb.load_state_dict({key: value.float() for key, value in load_file(MOBILENET).items()}, strict=False)
    ours = built("cls", "mobilenetv2_100", MOBILENET)
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        expected = rgb.eval().forward_features((x.expand(-1, 3, -1, -1) - 0.5) / 0.5)
        found = ours(x).features
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@needs_mobilenet
@pytest.mark.parametrize("task", ["seg", "joint"])
def test_the_shared_weights_fit_every_task_and_bring_their_normalisation(task: str) -> None:
    network = built(task, "mobilenetv2_100", MOBILENET)
    assert (network.architecture.input_mean, network.architecture.input_std) == (0.5, 0.5)
    assert (float(network.input_mean), float(network.input_std)) == (0.5, 0.5)
    assert "mean 0.5 and deviation 0.5 (a known file)" in network.weights_note


def test_the_first_kernels_are_summed_over_rgb() -> None:
    state = rgb_network("resnet18").state_dict()
    encoder = Encoder("resnet18", top=False)
    note = load_encoder(encoder, dict(state), where="here")
    assert note.endswith("first kernels summed over RGB")
    red, green, blue = state["conv1.weight"].unbind(1)
    torch.testing.assert_close(encoder.state_dict()["body.conv1.weight"][:, 0], red + green + blue)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("resnet50", "resnet50"),
        ("tu-resnet18", "resnet18"),
        ("test_convnext", "test_convnext"),
        ("mobilenetv2_035", "mobilenetv2_035"),
    ],
)
def test_an_encoder_takes_timms_own_keys(ours: str, theirs: str) -> None:
    rgb, encoder = rgb_network(theirs), Encoder(ours, top=False).eval()
    load_encoder(encoder, dict(rgb.state_dict()), where="here")
    x = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        expected = timm_maps(rgb, x.expand(-1, 3, -1, -1))
        torch.testing.assert_close(encoder(x)[-1], expected, rtol=1e-3, atol=1e-4)


def timm_maps(network: torch.nn.Module, x: Tensor) -> Tensor:
    """timm's own last maps before its pooling (and before the family's last convolution)."""
    return network.forward_intermediates(x, indices=1, intermediates_only=True)[-1]


def test_a_grey_first_convolution_is_taken_as_it_is() -> None:
    state = timm.create_model("resnet18", in_chans=1).state_dict()
    encoder = Encoder("resnet18", top=False)
    note = load_encoder(encoder, dict(state), where="here")
    assert "RGB" not in note
    assert torch.equal(encoder.state_dict()["body.conv1.weight"], state["conv1.weight"])


@pytest.mark.parametrize("wrap", ["plain", "state_dict", "module", "encoder"])
def test_a_checkpoint_is_read_through_its_wrapping(wrap: str, tmp_path: Path) -> None:
    state = rgb_network("test_resnet").state_dict()
    prefix = {"module": "module.", "encoder": "encoder.model."}.get(wrap, "")
    saved = {prefix + key: value for key, value in state.items()}
    torch.save({"state_dict": saved} if wrap == "state_dict" else saved, tmp_path / "w.pth")
    network = built("cls", "test_resnet", tmp_path / "w.pth")
    assert torch.equal(network.encoder.state_dict()["body.model.layer4.0.conv1.weight"], state["layer4.0.conv1.weight"])


def test_a_file_states_its_normalisation_and_the_settings_have_the_last_word(tmp_path: Path) -> None:
    state = rgb_network("test_resnet").state_dict()
    save_file(state, tmp_path / "said.safetensors", metadata={"input_mean": "0.25", "input_std": "0.75"})
    save_file(state, tmp_path / "silent.safetensors")
    said = built("cls", "test_resnet", tmp_path / "said.safetensors").architecture
    told = built("cls", "test_resnet", tmp_path / "said.safetensors", input_mean=0.5, input_std=0.25).architecture
    silent = built("cls", "resnet18", save_as(tmp_path, rgb_network("resnet18"))).architecture
    assert (said.input_mean, said.input_std) == (0.25, 0.75)
    assert (told.input_mean, told.input_std) == (0.5, 0.25)
    assert (silent.input_mean, silent.input_std) == pytest.approx((INPUT_MEAN, INPUT_STD), abs=1e-3)


def save_as(folder: Path, network: torch.nn.Module) -> Path:
    save_file(network.state_dict(), folder / "network.safetensors")
    return folder / "network.safetensors"


def test_another_encoders_weights_are_refused_naming_what_is_missing() -> None:
    state = rgb_network("test_resnet").state_dict()
    with pytest.raises(
        RequestError, match=r"file: the weights do not fit encoder 'resnet18': \d+ \(.*, \.\.\.\) missing, \d+ \("
    ):
        load_encoder(Encoder("resnet18", top=False), dict(state), where="file")


def test_an_unknown_and_a_missing_key_are_counted_and_named() -> None:
    state = dict(rgb_network("resnet18").state_dict())
    del state["layer1.0.conv1.weight"]
    state["extra.weight"] = torch.zeros(1)
    with pytest.raises(
        RequestError, match=r"1 \(body.layer1.0.conv1.weight\) missing, 1 \(extra_weight\) unknown; name the encoder"
    ):
        load_encoder(Encoder("resnet18", top=False), state, where="file")


def test_a_tensor_of_another_shape_is_named() -> None:
    state = dict(rgb_network("resnet18").state_dict())
    state["layer1.0.conv1.weight"] = torch.zeros(64, 64, 1, 1)
    with pytest.raises(
        RequestError, match=r"'body.layer1.0.conv1.weight' has shape \(64, 64, 1, 1\), the encoder needs \(64, 64, 3, 3\)"
    ):
        load_encoder(Encoder("resnet18", top=False), state, where="file")


class Malice:
    """Would run code when unpickled."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.witness),)


def test_code_in_a_weights_file_is_never_run(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Malice(tmp_path / "ran")}, tmp_path / "w.pth")
    with pytest.raises(RequestError, match=r"w.pth: not readable as a plain state dict .* code from a file is never run"):
        built("cls", "test_resnet", tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "w.safetensors",
            b"\x10\x00\x00\x00\x00\x00\x00\x00{",
            r"w.safetensors: not a readable safetensors file .* damaged or cut short",
        ),
        ("w.pth", b"nothing", r"w.pth: not readable as a plain state dict"),
        ("w.h5", b"nothing", r"w.h5: weights are read from .safetensors, .pt or .pth, not from '.h5'"),
        ("w.pt", None, r"w.pt: no such weights file; give a file, `imagenet` or `none`"),
    ],
)
def test_a_file_that_holds_no_weights_is_refused_in_one_line(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=message) as caught:
        built("cls", "test_resnet", tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_file_of_something_else_than_tensors_is_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(1)], tmp_path / "w.pt")
    with pytest.raises(RequestError, match=r"expected a state dict \(names and tensors\), found list"):
        built("cls", "test_resnet", tmp_path / "w.pt")
