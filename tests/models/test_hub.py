"""ImageNet weights from the hub, and one line where it cannot be reached."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import timm
import torch
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from bts.errors import RequestError
from bts.models import hub
from bts.models.architecture import Architecture
from bts.models.networks import build_network

BOTH_WAYS_OUT = r"give a file \(--model.weights FILE\) or start from random weights \(--model.weights none\)"


@pytest.fixture
def deaf_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A hub that refuses the connection at once, and an empty local cache."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def classifier(encoder: str) -> torch.nn.Module:
    return build_network(Architecture("cls", encoder, size=64, num_classes=3), weights="imagenet")


@pytest.mark.usefixtures("deaf_hub")
@pytest.mark.parametrize("encoder", ["resnet18", "mobilenetv2_100"])
def test_without_a_network_one_line_names_both_ways_out_within_seconds(encoder: str) -> None:
    start = time.monotonic()
    with pytest.raises(RequestError, match=rf"can't be downloaded, the hub does not respond: {BOTH_WAYS_OUT}") as caught:
        classifier(encoder)
    assert time.monotonic() - start < 15
    assert "\n" not in str(caught.value)
    assert constants.HF_HUB_OFFLINE is False


def test_the_hub_is_not_asked_when_the_user_said_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.utils.get_session", lambda: pytest.fail("asked"))
    with pytest.raises(RequestError, match=BOTH_WAYS_OUT):
        classifier("resnet18")


def raises(error: Exception) -> Callable[[str], dict[str, torch.Tensor]]:
    def download(name: str) -> dict[str, torch.Tensor]:
        raise error

    return download


def client_error() -> Exception:
    """What the HTTP client of the installed hub raises; it is no OSError."""
    return hub.no_answer()[1]("cut off") if len(hub.no_answer()) > 1 else OSError("cut off")


@pytest.mark.usefixtures("deaf_hub")
@pytest.mark.parametrize(
    "error",
    [
        URLError("no route"),
        TimeoutError(),
        LocalEntryNotFoundError("nothing cached"),
        OfflineModeIsEnabled("offline"),
        client_error(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_the_hub_dies_of_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "download_state", raises(error))
    with pytest.raises(RequestError, match=BOTH_WAYS_OUT):
        classifier("resnet18")


def test_an_encoder_that_was_never_pretrained_says_so() -> None:
    with pytest.raises(RequestError, match=rf"there are no ImageNet weights for encoder 'tu-mobilenetv2_035': {BOTH_WAYS_OUT}"):
        classifier("mobilenetv2_035")


@pytest.mark.usefixtures("deaf_hub")
def test_weights_that_arrive_are_loaded_with_their_normalisation(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    state = timm.create_model("mobilenetv2_100").state_dict()
    monkeypatch.setattr(hub, "download_state", lambda name: dict(state))
    network = classifier("mobilenetv2_100")
    assert torch.equal(network.encoder.state_dict()["top.conv_head.weight"], state["conv_head.weight"])
    assert network.architecture.input_mean == pytest.approx((0.485 + 0.456 + 0.406) / 3)
    assert network.architecture.input_std == pytest.approx((0.229 + 0.224 + 0.225) / 3)
    assert network.weights_note.startswith("ImageNet weights of tu-mobilenetv2_100")
