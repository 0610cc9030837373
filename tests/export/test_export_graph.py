"""The graph that is exported: maps by the chain rule are the maps that autograd gives, for any head."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bts.errors import RequestError
from bts.export.graph import SLOPES, cam_of_every_class, head_jacobian
from bts.inference.gradcam import cam_from_head
from bts.models.networks import Architecture, build_network


def with_statistics(head: nn.Sequential) -> nn.Sequential:
    """Let the batch norms of a head have seen something."""
    with torch.no_grad():
        for step in head:
            if isinstance(step, nn.BatchNorm1d):
                for values in (step.weight, step.running_var):
                    values.uniform_(0.5, 2.0)
                step.running_mean.normal_()
    return head


HEADS = {
    "linear": lambda inputs: nn.Sequential(nn.Dropout(0.5), nn.Linear(inputs, 3)),
    "one layer without a wrapper": lambda inputs: nn.Linear(inputs, 3),
    "two linear layers": lambda inputs: nn.Sequential(nn.Linear(inputs, 5), nn.Dropout(0.5), nn.Linear(5, 3)),
    "an activation first": lambda inputs: nn.Sequential(nn.Tanh(), nn.Linear(inputs, 3)),
    "nested": lambda inputs: nn.Sequential(nn.Sequential(nn.Linear(inputs, 5), nn.SiLU()), nn.Identity(), nn.Linear(5, 3)),
    "batch norms": lambda inputs: with_statistics(
        nn.Sequential(nn.BatchNorm1d(inputs), nn.Linear(inputs, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 3))
    ),
    **{
        kind.__name__: lambda inputs, kind=kind: nn.Sequential(nn.Linear(inputs, 5), kind(), nn.Linear(5, 3), kind())
        for kind in SLOPES
    },
}


def network_with(task: str, head: str) -> nn.Module:
    torch.manual_seed(1)
    network = build_network(Architecture(task=task, encoder="test_resnet", size=64, num_classes=3, channels=(16, 16, 8, 8, 8)))
    network.class_head = HEADS[head](network.pools * network.encoder.last_channels)
    return network.eval()


@pytest.mark.parametrize("head", HEADS)
def test_the_chain_rule_gives_the_jacobian_of_autograd(head: str) -> None:
    torch.manual_seed(0)
    made = HEADS[head](7).eval()
    pooled = torch.randn(4, 7)
    truth = torch.stack([torch.autograd.functional.jacobian(made, row[None])[0, :, 0] for row in pooled])  # (B, K, inputs)
    assert torch.allclose(head_jacobian(made, pooled).expand(4, 3, 7), truth, atol=1e-6)


@pytest.mark.parametrize("task", ["cls", "joint"])
@pytest.mark.parametrize("head", ["linear", "GELU", "batch norms"])
def test_the_map_of_every_class_is_the_one_that_autograd_gives(task: str, head: str) -> None:
    network = network_with(task, head)
    features = torch.rand(4, network.encoder.last_channels, 2, 2)
    mask = torch.randn(4, 1, 64, 64) * 3 if task == "joint" else None
    found = cam_of_every_class(network, features, mask)
    for chosen in range(3):
        truth = cam_from_head(lambda maps: network.head(maps, mask), features, class_index=torch.full((4,), chosen))
        assert torch.allclose(found[:, chosen], truth, rtol=1e-4, atol=1e-7)
    assert (found > 0).any(), "a map of zeros would prove nothing"


@pytest.mark.parametrize("step", [nn.Softplus(), nn.GELU(approximate="tanh")])
def test_a_step_whose_derivative_is_not_known_is_named(step: nn.Module) -> None:
    with pytest.raises(RequestError, match=rf"has a step '{type(step).__name__}' without a known derivative: .* Linear, ReLU"):
        head_jacobian(nn.Sequential(nn.Linear(7, 3), step), torch.rand(2, 7))


def test_an_empty_head_is_refused() -> None:
    with pytest.raises(RequestError, match="the class head is empty"):
        head_jacobian(nn.Sequential(nn.Dropout(0.1)), torch.rand(2, 7))
