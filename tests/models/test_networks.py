"""Contract of all networks: grey in [0, 1] in, `Output` out, at every size and after saving."""

from __future__ import annotations

import pytest
import torch

from bts.errors import RequestError
from bts.models.architecture import Architecture
from bts.models.networks import NETWORKS, build_network

TINY = (8, 8, 8, 4, 4)


def tiny(task: str, encoder: str = "test_resnet", **values: object) -> Architecture:
    return Architecture(task, encoder, size=64, num_classes=0 if task == "seg" else 3, channels=TINY, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize("encoder", ["resnet18", "mobilenetv2_035", "test_convnext"])
@pytest.mark.parametrize("task", list(NETWORKS))
def test_a_network_gives_what_its_task_says(task: str, encoder: str) -> None:
    network = build_network(tiny(task, encoder)).eval()
    with torch.no_grad():
        output = network(torch.rand(2, 1, 64, 96))
    assert (output.mask_logits is None) == (task == "cls")
    assert (output.class_logits is None) == (task == "seg")
    assert output.mask_logits is None or output.mask_logits.shape == (2, 1, 64, 96)
    assert output.class_logits is None or output.class_logits.shape == (2, 3)
    assert output.features.shape == (2, output.features.shape[1], 2, 3)


@pytest.mark.parametrize("task", ["cls", "joint"])
def test_the_head_alone_gives_the_class_scores_again(task: str) -> None:
    network = build_network(tiny(task)).eval()
    with torch.no_grad():
        output = network(torch.rand(2, 1, 64, 64))
        again = network.head(output.features, output.mask_logits)
    assert torch.equal(again, output.class_logits)


@pytest.mark.parametrize("task", list(NETWORKS))
def test_every_parameter_learns_from_one_step(task: str) -> None:
    network = build_network(tiny(task)).train()
    output = network(torch.rand(2, 1, 64, 64))
    torch.stack([part.square().sum() for part in output[:2] if part is not None]).sum().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


def test_the_input_is_normalised_inside_as_the_architecture_says() -> None:
    torch.manual_seed(0)
    plain = build_network(tiny("cls", input_mean=0.0, input_std=1.0)).eval()
    torch.manual_seed(0)
    scaled = build_network(tiny("cls", input_mean=0.25, input_std=0.5)).eval()
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(scaled(x).class_logits, plain((x - 0.25) / 0.5).class_logits)


def test_random_weights_say_so_and_the_built_architecture_knows_its_normalisation() -> None:
    network = build_network(tiny("seg"))
    assert network.weights_note == "random weights"
    assert network.architecture.input_mean == pytest.approx(float(network.input_mean))
    assert network.architecture.input_std == pytest.approx(float(network.input_std))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 100, 64), r"a picture of 100 x 64: both sides must be multiples of 32, 128 x 64 would do"),
        ((1, 3, 64, 64), r"expected a grey batch \(B, 1, H, W\), received \(1, 3, 64, 64\)"),
        ((1, 64, 64), r"expected a grey batch \(B, 1, H, W\), received \(1, 64, 64\)"),
    ],
)
def test_a_picture_of_another_shape_is_refused_with_the_fix(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build_network(tiny("seg"))(torch.zeros(shape))


@pytest.mark.parametrize(
    ("encoder", "size", "message"),
    [
        (
            "inception_v3",
            96,
            r"encoder 'tu-inception_v3' gives maps of sides \[.*\] at 96 x 96, \[48, 24, 12, 6, 3\] are needed",
        ),
        ("test_vit3", 160, r"encoder 'tu-test_vit3' can't be used"),
        ("swin_tiny_patch4_window7_224", 64, r"encoder 'tu-swin_tiny_patch4_window7_224' can't be used at 64 x 64 \(.*224"),
    ],
)
def test_an_encoder_that_can_not_do_the_size_is_refused_when_it_is_built(encoder: str, size: int, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        build_network(Architecture("cls", encoder, size=size, num_classes=3))
    assert "\n" not in str(caught.value)


def test_a_network_is_one_graph_with_a_free_batch() -> None:
    network = build_network(tiny("joint")).eval()
    program = torch.export.export(network, (torch.rand(2, 1, 64, 64),), dynamic_shapes={"x": {0: torch.export.Dim("batch")}})
    x = torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        for ours, exported in zip(network(x), program.module()(x), strict=True):
            torch.testing.assert_close(exported, ours, rtol=1e-4, atol=1e-5)
