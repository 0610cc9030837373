"""Encoders: feature maps by any network of segmentation-models-pytorch or timm."""

from __future__ import annotations

import warnings
from collections import OrderedDict

import segmentation_models_pytorch as smp
import timm
from torch import Tensor, nn

from bts.errors import RequestError
from bts.models.encoder_bodies import encoder_bodies
from bts.registry import is_import_path, suggestion

TIMM = "tu-"
"""Prefix of timm's networks in segmentation-models-pytorch."""
STRIDES = 5
"""Number of times that an encoder halves the picture."""


class Encoder(nn.Module):
    """Backbone with maps at strides 1 to 32 (`cnn_scratch`: to 8), and the last maps for a class head.

    The EfficientNet family, which includes MobileNetV2, has one more 1x1 convolution before its pooling. A U-Net does not need
    it; a class head does, as the pretrained classifier sits on top of it. `top=True` keeps it.

    Attributes:
        channels: channels of the six maps; a transformer has none (0) at stride 2.
        last_channels: channels of `last`.
    """

    def __init__(self, name: str, *, top: bool, in_channels: int = 1) -> None:
        super().__init__()
        self.name = resolve(name)
        self.body = _build_body(self.name, in_channels=in_channels)
        self.top: nn.Module = _build_top(self.name, self.body) if top else nn.Identity()
        self.channels: tuple[int, ...] = tuple(getattr(self.body, "out_channels"))  # noqa: B009  mypy takes it for a module
        convolution = getattr(self.top, "conv_head", None)
        self.last_channels: int = self.channels[-1] if convolution is None else convolution.out_channels

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the maps of `x (B, C, H, W)`: (B, channels[i], H / 2^i, W / 2^i) for i = 0 to 5; the first is unused."""
        return self.body(x)

    def last(self, maps: list[Tensor]) -> Tensor:
        """Return (B, last_channels, H/32, W/32): the maps after the last convolution before the pooling."""
        return self.top(maps[-1])


def resolve(name: str) -> str:
    """Return the name of an encoder of this package, or in segmentation-models-pytorch, whose names come before timm's.

    Raises:
        RequestError: none has it, and the nearest name is suggested; or the import path of a class that is not trusted.
    """
    if name in encoder_bodies:
        return name
    native = [known for known in smp.encoders.get_encoder_names() if not known.startswith("timm-")]
    if name in native:
        return name
    plain = name.removeprefix(TIMM)
    if timm.is_model(plain):
        _check_tag(plain)
        return TIMM + plain
    if is_import_path(name):
        encoder_bodies.load(name)
        return name
    near = suggestion(plain, [*encoder_bodies, *native, *timm.list_models()])
    raise RequestError(f"unknown encoder '{name}'{near}: use any encoder of segmentation-models-pytorch or timm")


def is_own_class(name: str) -> bool:
    """Return whether an encoder's name is the import path of a user's class, not a name of timm with its tag."""
    return is_import_path(name) and not timm.is_model(name)


def adopt_encoder(name: str) -> None:
    """Refuse an unknown encoder as `resolve` does; a class at an import path that the user gives is registered under it."""
    if is_own_class(name):
        encoder_bodies.adopt(name)
    resolve(name)


def _check_tag(name: str) -> None:
    """Refuse a tag of pretrained weights (resnet50.a1_in1k) that timm does not have."""
    architecture, _, tag = name.partition(".")
    known = timm.list_pretrained(f"{architecture}.*") if tag else []
    if tag and name not in known:
        there = ", ".join(known) or f"none, write '{architecture}'"
        raise RequestError(f"unknown tag '{tag}' of encoder '{architecture}'{suggestion(name, known)}: there are {there}")


def _build_body(name: str, *, in_channels: int) -> nn.Module:
    if name in encoder_bodies:
        return encoder_bodies[name](in_channels=in_channels)
    try:
        with warnings.catch_warnings():
            # timm announces renamed models and modules; the user cannot act on it
            warnings.simplefilter("ignore")
            body = smp.encoders.get_encoder(name, in_channels=in_channels, depth=STRIDES, weights=None)
    except (ValueError, RuntimeError, AssertionError, NotImplementedError, TypeError, AttributeError, IndexError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RequestError(
            f"encoder '{name}' can't be used: it must give five maps at strides 2, 4, 8, 16, 32 ({reason}); "
            "resnet50, efficientnet_b0, mobilenetv2_100 or convnext_tiny do"
        ) from error
    if len(body.out_channels) != STRIDES + 1:
        raise RequestError(f"encoder '{name}' gives {len(body.out_channels) - 1} maps, {STRIDES} are needed (strides 2 to 32)")
    return body


def _build_top(name: str, body: nn.Module) -> nn.Module:
    inner = getattr(body, "model", None)
    if type(inner).__name__ != "EfficientNetFeatures":
        return nn.Identity()
    whole = timm.create_model(name.removeprefix(TIMM), in_chans=1)
    parts = dict(whole.named_children())
    return nn.Sequential(OrderedDict(conv_head=parts["conv_head"], bn2=parts["bn2"]))
