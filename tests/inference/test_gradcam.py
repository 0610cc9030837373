"""Class activation maps: equality with MONAI's Grad-CAM, HiResCAM of joint networks, and where cells look."""

import copy
import gc

import numpy as np
import pytest
import torch
from fake_models import make_card, make_slice, write_model
from monai.visualize import GradCAM
from torch import nn

from bts.errors import RequestError
from bts.export.graph import cam_of_every_class
from bts.inference.gradcam import GradCam, cam_from_head, head_cam_obstacle, last_convolution
from bts.inference.predictor import Predictor
from bts.inference.runtimes.pytorch import TorchRuntime
from bts.models.base import Output
from bts.models.networks import Architecture, build_network


class Logits(nn.Module):
    """A network as MONAI wants it: class scores and nothing else, no ReLU in place."""

    def __init__(self, network):
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(True)
        for module in self.modules():
            if hasattr(module, "inplace"):
                module.inplace = False

    def forward(self, x):
        return self.network(x).class_logits


class SmallNet(nn.Module):
    """A network of somebody else: class scores only, a ReLU in place right behind its last convolution."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU(inplace=True))
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Sigmoid())
        self.end = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.LazyLinear(5), nn.Tanh(), nn.Linear(5, 3))

    def forward(self, x):
        maps = self.body(x)
        return Output(mask_logits=None, class_logits=self.end(maps * self.gate(maps)), features=None)


class HeadedNet(nn.Module):
    """Last maps and a head that is not linear."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 5, stride=4), nn.ReLU())
        self.end = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3))

    def head(self, features):
        return self.end(features.mean((2, 3)) + features.amax((2, 3)))

    def forward(self, x):
        features = self.body(x)
        return Output(mask_logits=None, class_logits=self.head(features), features=features)


def network_of(task, encoder):
    torch.manual_seed(0)
    architecture = Architecture(task=task, encoder=encoder, size=64, num_classes=3, channels=(16, 16, 8, 8, 8))
    network = build_network(architecture)
    for module in network.modules():  # fresh batch norms make the last maps nearly the same everywhere
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias, 0.1, 0.3)
    nn.init.normal_(network.class_head[1].weight, 0.02, 0.1)
    return network.eval().requires_grad_(False)


def small(kind):
    torch.manual_seed(0)
    network = kind().eval()
    network(torch.zeros(1, 1, 64, 64))
    return network.requires_grad_(False)


def pictures(count=3):
    return torch.rand(count, 1, 64, 64, generator=torch.Generator().manual_seed(1))


def monai_raw(network, x, *, layer, cam_class):
    return (
        GradCAM(Logits(network), target_layers=f"network.{layer}")
        .compute_map(x.requires_grad_(), class_idx=cam_class)[:, 0]
        .detach()
    )


@pytest.mark.parametrize(
    ("task", "encoder", "layer"),
    [
        ("cls", "resnet10t", "encoder.top"),
        ("cls", "resnet10t", "encoder.body.model.layer4"),
        ("cls", "mobilenetv2_035", "encoder.top"),
        ("joint", "resnet10t", "encoder.top"),
        ("joint", "mobilenetv2_035", "encoder.top"),
    ],
)
@pytest.mark.parametrize("cam_class", [0, 2])
def test_the_map_of_the_forward_pass_equals_monai(task, encoder, layer, cam_class):
    network = network_of(task, encoder)
    gradcam = GradCam(network, example=pictures(1))
    assert gradcam.layer is None, gradcam.how
    _, cam = gradcam(pictures(), cam_class=cam_class)
    expected = monai_raw(network, pictures(), layer=layer, cam_class=cam_class)
    assert expected.max() > 0
    assert torch.allclose(cam, expected, rtol=1e-4, atol=1e-6 * float(expected.max()))


@pytest.mark.parametrize("hidden", [(), (7,)])
def test_the_joint_network_s_own_map_is_that_of_its_places_and_the_class_asked_for(hidden):
    torch.manual_seed(0)
    network = build_network(
        Architecture("joint", "resnet10t", size=64, num_classes=3, channels=(16, 16, 8, 8, 8), hidden=hidden)
    )
    network = network.eval().requires_grad_(False)
    for layer in (network.mask_head, *network.class_head):
        if hasattr(layer, "weight"):
            nn.init.normal_(layer.weight)
    gradcam = GradCam(network, example=pictures(1), offset_px=-15.5)
    assert gradcam.how.startswith("class map: HiResCAM")
    output, cam = gradcam(pictures())
    assert cam.shape == (3, 16, 16)
    every = cam_of_every_class(network, output.features, output.mask_logits, offset_px=-15.5)
    assert torch.allclose(cam, every[torch.arange(3), output.class_logits.argmax(1)], rtol=1e-4, atol=1e-7)
    assert torch.allclose(gradcam(pictures(), cam_class=2)[1], every[:, 2], rtol=1e-4, atol=1e-7)
    assert (every > 0).any(), "a map of zeros would prove nothing"
    assert output.mask_logits.max() > 0, "an empty mask would take no part"


def test_for_a_classifier_gradient_times_activation_place_by_place_is_grad_cam():
    network = network_of("cls", "resnet10t")
    output, cam = GradCam(network, example=pictures(1), offset_px=None)(pictures(), cam_class=1)
    features = output.features.clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(network.head(features)[:, 1].sum(), features)
    assert torch.allclose(cam, torch.relu((gradient * features).sum(1)).detach(), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("cam_class", [0, 1, 2])
def test_the_map_behind_a_head_that_is_not_linear_equals_monai(cam_class):
    network = small(HeadedNet)
    gradcam = GradCam(network, example=pictures(1))
    assert gradcam.layer is None
    _, cam = gradcam(pictures(), cam_class=cam_class)
    assert torch.allclose(cam, monai_raw(network, pictures(), layer="body", cam_class=cam_class), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("cam_class", [0, 1, 2])
def test_the_map_by_autograd_equals_monai_and_says_why_it_was_taken(cam_class):
    network = small(SmallNet)
    gradcam = GradCam(network, example=pictures(1))
    assert gradcam.layer == "body.2"
    assert gradcam.how == (
        "class map: Grad-CAM by autograd at 'body.2', as the network does not return its last maps or has no separate head"
    )
    output, cam = gradcam(pictures(), cam_class=cam_class)
    assert torch.allclose(cam, monai_raw(network, pictures(), layer="body.2", cam_class=cam_class), rtol=1e-4, atol=1e-7)
    assert torch.allclose(output.class_logits, network(pictures()).class_logits)
    assert not output.class_logits.requires_grad


@pytest.mark.parametrize("build", [lambda: network_of("cls", "resnet10t"), lambda: small(SmallNet)])
def test_without_a_class_each_map_is_of_its_own_picture_s_class(build):
    network = build()
    x = torch.cat([pictures(6), 1 - pictures(6), torch.zeros(1, 1, 64, 64)])
    gradcam = GradCam(network, example=x[:1])
    output, cam = gradcam(x)
    for row, cam_class in enumerate(output.class_logits.argmax(1).tolist()):
        _, alone = gradcam(x[row : row + 1], cam_class=cam_class)
        assert torch.allclose(cam[row], alone[0], rtol=1e-3, atol=1e-6)


def test_a_head_that_gives_other_scores_than_the_network_is_not_trusted():
    class Other(HeadedNet):
        def forward(self, x):
            output = super().forward(x)
            return output._replace(class_logits=output.class_logits + x.mean((1, 2, 3))[:, None])

    network = small(Other)
    assert head_cam_obstacle(network, pictures(1)) == "the head alone does not reproduce the class scores"
    assert GradCam(network, example=pictures(1)).layer == "body.0"


def test_a_network_without_convolution_gives_classes_and_no_map():
    network = small(lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(3)))
    inner = network.forward
    network.forward = lambda x: Output(None, inner(x), None)
    gradcam = GradCam(network, example=pictures(1))
    output, cam = gradcam(pictures())
    assert cam is None
    assert output.class_logits.shape == (3, 3)
    assert gradcam.how == "no class map: the network has no convolution before its class scores"


def test_convolutions_that_see_one_pixel_are_not_the_last_convolution():
    assert last_convolution(small(SmallNet), pictures(1)) == "body.2"


def test_the_linear_head_s_map_is_the_class_weights_times_the_last_maps():
    features = torch.rand(2, 4, 3, 3)
    weight = torch.randn(3, 4)
    cam = cam_from_head(lambda maps: maps.mean((2, 3)) @ weight.T, features, class_index=torch.tensor([2, 0]))
    by_hand = torch.stack([torch.einsum("k,khw->hw", weight[c], maps) / 9 for c, maps in zip((2, 0), features, strict=True)])
    assert torch.allclose(cam, by_hand.relu(), atol=1e-6)


@pytest.mark.parametrize("build", [lambda: network_of("cls", "resnet10t"), lambda: small(SmallNet)])
def test_ten_calls_leave_no_hook_no_tensor_and_the_grad_mode_as_it_was(build):
    network = build()
    gradcam = GradCam(network, example=pictures(1))

    def tensors():
        gc.collect()
        return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())

    gc.freeze()  # what exists so far is not searched, which takes seconds
    try:
        gradcam(pictures(1))
        before = tensors()
        for _ in range(10):
            gradcam(pictures(1))
        assert tensors() <= before
    finally:
        gc.unfreeze()
    assert not any(module._forward_hooks or module._backward_hooks for module in network.modules())
    assert torch.is_grad_enabled()
    assert all(parameter.grad is None for parameter in network.parameters())
    with torch.no_grad():
        assert gradcam(pictures(1))[1] is not None
        assert not torch.is_grad_enabled()


def test_hooks_go_also_when_the_network_fails():
    network = small(SmallNet)
    gradcam = GradCam(network, example=pictures(1))
    with pytest.raises(RuntimeError):
        gradcam(torch.rand(1, 2, 64, 64))
    assert not any(module._forward_hooks for module in network.modules())


class BrightNet(nn.Module):
    """Made by hand: class 1 where something is bright, class 0 else; a bright place is all that it looks at."""

    def __init__(self, *, by_head):
        super().__init__()
        self.by_head = by_head
        self.body = nn.Sequential(nn.Conv2d(1, 1, 8, stride=8), nn.ReLU())
        self.end = nn.Linear(1, 2)
        self.load_state_dict({
            "body.0.weight": torch.full((1, 1, 8, 8), 1 / 64),
            "body.0.bias": torch.tensor([-0.5]),
            "end.weight": torch.tensor([[0.0], [100.0]]),
            "end.bias": torch.tensor([0.2, 0.0]),
        })  # fmt: skip

    def head(self, features):
        return self.end(features.mean((2, 3)))

    def forward(self, x):
        features = self.body(x)
        return Output(None, self.head(features), features if self.by_head else None)


ORIENTATIONS = [
    lambda a, turns=turns, mirror=mirror: np.rot90(a[:, ::-1] if mirror else a, turns)
    for turns in range(4)
    for mirror in (False, True)
]


@pytest.mark.parametrize("by_head", [True, False])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("orient", ORIENTATIONS)
def test_the_energy_lies_in_the_corner_that_decides_the_class_in_every_orientation(orient, flip, by_head):
    image = np.random.default_rng(0).uniform(0, 0.3, size=(60, 80))
    image[4:20, 6:24] = 1.0
    corner = np.zeros(image.shape)
    corner[:30, :40] = 1
    runtime = TorchRuntime(BrightNet(by_head=by_head), make_card(classes=["dark", "bright"], size=64), device="cpu")
    predictor = Predictor([runtime], flip=flip)
    found = predictor.predict(make_slice(np.ascontiguousarray(orient(image))))
    assert found.label == found.cam_class == "bright"
    assert found.cam.shape == orient(image).shape
    inside = orient(corner).astype(bool)
    assert found.cam[inside].sum() / found.cam.sum() > (0.95 if by_head else 0.9)
    assert inside[np.unravel_index(found.cam.argmax(), found.cam.shape)]


@pytest.mark.parametrize(
    "architecture",
    [
        {"encoder": "cnn_scratch", "hidden": (256,)},
        {"encoder": "resnet18", "hidden": (16, 8), "head_norm": True},
        {"encoder": "resnet50"},
        {"encoder": "mobilenetv2_100"},
        {"encoder": "efficientnet_b0", "in_channels": 3, "normalisation": "imagenet"},
    ],
)
def test_the_recipes_networks_have_a_map_in_the_forward_pass_equal_to_autograd_s(architecture):
    torch.manual_seed(0)
    network = build_network(Architecture("cls", size=64, num_classes=3, **architecture)).eval()
    x = torch.rand(1, 1, 64, 64)
    found = GradCam(network, example=x)
    assert found.layer is None
    output, cam = found(x)
    with torch.enable_grad():
        features = network.encoder.last(network.encode(x)).detach().requires_grad_()
        (gradient,) = torch.autograd.grad(network.head(features).max(), features)
    expected = torch.relu((gradient.mean((2, 3), keepdim=True) * features).sum(1))
    torch.testing.assert_close(cam, expected.detach(), rtol=1e-3, atol=1e-6)
    assert cam.shape[1:] == output.features.shape[2:]


@pytest.mark.parametrize(
    ("encoder", "layer"),
    [
        ("cnn_scratch", "encoder.body.blocks.2.0"),
        ("resnet18", "encoder.body.layer4.1.conv2"),
        ("resnet50", "encoder.body.layer4.2.conv3"),
        ("mobilenetv2_100", "encoder.top.conv_head"),
        ("efficientnet_b0", "encoder.top.conv_head"),
    ],
)
def test_the_last_convolution_of_the_recipes_encoders_is_found(encoder, layer):
    network = build_network(Architecture("cls", encoder, size=64, num_classes=3)).eval()
    assert last_convolution(network, torch.rand(1, 1, 64, 64)) == layer


@pytest.mark.parametrize("cam_class", [0, 2])
def test_hirescam_by_autograd_is_gradient_times_activation_in_each_place(cam_class):
    network = small(SmallNet)
    gradcam = GradCam(network, example=pictures(1), by_place=True)
    assert gradcam.how.startswith("class map: HiResCAM by autograd at 'body.2'")
    _, cam = gradcam(pictures(), cam_class=cam_class)
    maps = network.body[:3](pictures()).detach().requires_grad_()
    with torch.enable_grad():
        behind = network.body[3](maps.clone())
        (gradient,) = torch.autograd.grad(network.end(behind * network.gate(behind))[:, cam_class].sum(), maps)
    assert torch.allclose(cam, torch.relu((gradient * maps).sum(1)).detach(), rtol=1e-4, atol=1e-8)
    _, mean = GradCam(network, example=pictures(1))(pictures(), cam_class=cam_class)
    assert not torch.allclose(cam, mean, rtol=1e-2)


def test_grad_cam_of_a_joint_model_has_a_cell_per_place_of_the_last_maps(tmp_path):
    folder = write_model(tmp_path / "joint", "joint", cell_offset_px=-15.5, cam_offset_px=0.0)
    own, other = (TorchRuntime.open(folder, device="cpu", cam_method=method) for method in (None, "gradcam"))
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8)
    assert own.run(images).cam.shape == (2, 16, 16)
    assert other.run(images).cam.shape == (2, 2, 2)
    assert (other.card.cam_offset_px, other.card.cam_scale) == (-15.5, None)
    folder = write_model(tmp_path / "old", "joint", cell_offset_px=None)
    with pytest.raises(RequestError, match="no cell_offset_px, which HiResCAM of a joint model needs: finish its run again"):
        TorchRuntime.open(folder, device="cpu", cam_method="hirescam")
