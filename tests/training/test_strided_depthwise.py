"""Strided depthwise convolutions in float32."""

from __future__ import annotations

import pytest
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from bts.training.strided_depthwise import to_float32


def outcome(network: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return output and gradient of the weights under bf16 autocast."""
    with torch.autocast("cpu", torch.bfloat16):
        answer = network(image)
    (gradient,) = torch.autograd.grad(answer.float().square().sum(), list(network.parameters()))
    return answer, gradient


@pytest.mark.parametrize(
    ("kind", "padding"),
    [(nn.Conv2d, 1), (Conv2dSame, 0)],  # the second is timm's, with TensorFlow's padding
)
def test_output_and_gradient_are_those_of_float32_and_the_type_stays(kind: type[nn.Conv2d], padding: int) -> None:
    torch.manual_seed(0)
    network = kind(8, 8, 3, stride=2, padding=padding, groups=8, bias=False)
    image = torch.randn(4, 8, 17, 17).bfloat16()
    truth = network(image.float())
    (gradient,) = torch.autograd.grad(truth.square().sum(), list(network.parameters()))
    names = list(network.state_dict())
    coarse, _ = outcome(network, image)
    assert to_float32(network) == to_float32(network) == 1
    found, found_gradient = outcome(network, image)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, truth.bfloat16())
    assert not torch.equal(found, coarse)  # else nothing was changed
    torch.testing.assert_close(found_gradient, gradient, rtol=0.02, atol=0.1)
    assert list(network.state_dict()) == names


@pytest.mark.parametrize(
    "other",
    [nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3, stride=2), nn.Conv2d(1, 8, 3, stride=2), nn.Linear(8, 8)],
    ids=["without a stride", "not depthwise", "one channel", "no convolution"],
)
def test_no_other_layer_is_changed(other: nn.Module) -> None:
    kind = type(other)
    assert to_float32(nn.Sequential(other)) == 0
    assert type(other) is kind
