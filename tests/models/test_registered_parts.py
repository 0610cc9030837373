"""Contracts of every registered decoder, loss and encoder of this package."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bts.data.preprocess import Preprocessing
from bts.errors import RequestError
from bts.models.architecture import Architecture
from bts.models.decoders import build_decoder, decoders
from bts.models.encoder_bodies import encoder_bodies
from bts.models.encoders import Encoder
from bts.models.folder import ModelCard, load_network, write_model_folder
from bts.models.losses import class_losses, mask_losses
from bts.models.networks import build_network

MAPS = (1, 4, 6, 8, 10, 12)
"""Channels of an encoder's maps at strides 1 to 32."""


def maps_of(side: int, channels: tuple[int, ...] = MAPS) -> list[torch.Tensor]:
    return [torch.rand(2, count, side >> i, side >> i) for i, count in enumerate(channels)]


@pytest.mark.parametrize("attention", ["additive", "none"])
@pytest.mark.parametrize("channels", [(16, 8, 8, 4, 3), (16, 8, 8, 5), (16, 8, 5)])
@pytest.mark.parametrize("name", decoders)
def test_a_decoder_gives_maps_at_full_half_or_quarter_resolution_and_learns_in_every_parameter(
    name: str, channels: tuple[int, ...], attention: str
) -> None:
    decoder = build_decoder(name, encoder_channels=MAPS, channels=channels, attention=attention)
    found = decoder(maps_of(64))
    assert found.shape[:2] == (2, decoder.out_channels)
    assert found.shape[2:] in ((64, 64), (32, 32), (16, 16))
    (found**2).sum().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


@pytest.mark.parametrize("name", decoders)
def test_a_decoder_takes_a_transformers_empty_map_and_refuses_too_few_maps(name: str) -> None:
    channels = (1, 0, *MAPS[2:])
    decoder = build_decoder(name, encoder_channels=channels, channels=(8, 8, 8, 8), attention="additive")
    assert torch.isfinite(decoder(maps_of(64, channels))).all()
    with pytest.raises(RequestError, match="halves the picture 3 times"):
        build_decoder(name, encoder_channels=MAPS[:4], channels=(8, 8, 8, 8), attention="none")


@pytest.mark.parametrize("task", ["seg", "joint"])
@pytest.mark.parametrize("name", decoders)
def test_a_network_with_a_decoder_comes_back_from_its_folder(name: str, task: str, tmp_path: Path) -> None:
    classes = 3 if task == "joint" else 0
    architecture = Architecture(task, "test_resnet", size=64, num_classes=classes, channels=(8, 8, 8, 4), decoder=name)  # type: ignore[arg-type]
    network = build_network(architecture).eval()
    names = [str(i) for i in range(classes)]
    card = ModelCard(
        task, "small", network.architecture.to_dict(), Preprocessing(size=64, crop_brain=False).to_dict(), classes=names
    )  # type: ignore[arg-type]
    write_model_folder(tmp_path / "model", card, network.state_dict())
    again, read = load_network(tmp_path / "model")
    assert read.architecture["decoder"] == name
    x = torch.rand(1, 1, 64, 64)
    assert torch.equal(network(x).mask_logits, again(x).mask_logits)
    assert again(x).mask_logits.shape == (1, 1, 64, 64)


@pytest.mark.parametrize("name", mask_losses)
def test_a_loss_of_masks_falls_with_a_better_mask_and_counts_slices_with_a_mask_only(name: str) -> None:
    loss = mask_losses[name](dice_weight=2.0, bce_weight=0.5)
    truth = torch.zeros(3, 1, 8, 8)
    truth[:, :, 2:6, 2:6] = 1
    totals = [float(loss((truth - 0.5) * scale, truth)[0]) for scale in (-4.0, 0.0, 4.0)]
    assert totals == sorted(totals, reverse=True)
    assert min(totals) >= 0
    logits = torch.randn(3, 1, 8, 8, requires_grad=True)
    known = torch.tensor([True, False, True])
    total, parts = loss(logits, truth, known)
    torch.testing.assert_close(total, loss(logits[known], truth[known])[0])
    total.backward()
    assert logits.grad[1].abs().max() == 0
    assert all(torch.isfinite(value) for value in parts.values())
    nothing, _ = loss(logits, truth, torch.tensor([False, False, False]))
    assert nothing.item() == 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(logits.detach().bfloat16(), truth)[0].dtype == torch.float32


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
@pytest.mark.parametrize("name", class_losses)
def test_a_loss_of_classes_falls_with_a_better_answer_and_counts_slices_with_a_label_only(
    name: str, weights: list[float] | None
) -> None:
    loss = class_losses[name](class_weights=weights)
    labels = torch.tensor([0, 2, 1])
    right = torch.nn.functional.one_hot(labels, 3).float()
    totals = [float(loss(right * scale, labels)[0]) for scale in (-4.0, 0.0, 4.0)]
    assert totals == sorted(totals, reverse=True)
    assert min(totals) >= 0
    logits = torch.randn(3, 3, requires_grad=True)
    total, _ = loss(logits, torch.tensor([0, -1, 1]))
    torch.testing.assert_close(total, loss(logits[[0, 2]], torch.tensor([0, 1]))[0])
    total.backward()
    assert logits.grad[1].abs().max() == 0
    assert loss(logits, torch.full((3,), -1))[0].item() == 0
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(logits.detach().bfloat16(), labels)[0].dtype == torch.float32


@pytest.mark.parametrize("in_channels", [1, 3])
@pytest.mark.parametrize("name", encoder_bodies)
def test_an_encoder_of_this_package_halves_the_picture_and_tells_its_channels(name: str, in_channels: int) -> None:
    encoder = Encoder(name, top=True, in_channels=in_channels).eval()
    maps = encoder(torch.rand(2, in_channels, 64, 64))
    assert [tuple(each.shape) for each in maps] == [(2, count, 64 >> i, 64 >> i) for i, count in enumerate(encoder.channels)]
    assert encoder.channels[0] == in_channels
    assert encoder.last(maps).shape[1] == encoder.last_channels


def test_every_registry_has_what_the_settings_name_by_default() -> None:
    from bts.settings import JointSettings

    settings = JointSettings()
    assert settings.model.decoder in decoders
    assert settings.loss.mask_loss in mask_losses
    assert settings.loss.class_loss in class_losses
    assert "cnn_scratch" in encoder_bodies
