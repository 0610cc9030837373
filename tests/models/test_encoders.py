"""Encoders: feature maps as decoder and class head expect them."""

from __future__ import annotations

import pytest
import torch

from bts.errors import RequestError
from bts.models.encoders import Encoder, resolve

KINDS = [
    "resnet18",
    "test_resnet",
    "mobilenetv2_035",
    "efficientnet_b0",
    "test_convnext",
    "vgg11",
    "densenet121",
    "mobilenet_v2",
]


@pytest.mark.parametrize("name", KINDS)
def test_an_encoder_halves_the_picture_five_times(name: str) -> None:
    encoder = Encoder(name, top=True).eval()
    with torch.no_grad():
        maps = encoder(torch.rand(2, 1, 64, 64))
        last = encoder.last(maps)
    assert [tuple(one.shape[1:]) for one in maps[1:]] == [(encoder.channels[i], 64 >> i, 64 >> i) for i in range(1, 6)]
    assert last.shape == (2, encoder.last_channels, 2, 2)


def test_the_librarys_own_names_go_before_timms_and_a_plain_timm_name_is_found() -> None:
    assert [resolve(name) for name in ("resnet50", "tu-resnet50", "mobilenetv2_100")] == [
        "resnet50",
        "tu-resnet50",
        "tu-mobilenetv2_100",
    ]


def test_the_efficientnet_family_keeps_its_last_convolution_for_the_class_head_only() -> None:
    assert Encoder("mobilenetv2_100", top=True).last_channels == 1280
    assert Encoder("mobilenetv2_100", top=False).last_channels == 320


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5O", r"unknown encoder 'resnet5O' \(did you mean 'resnet50'\?\)"),
        ("convnext_tny", r"unknown encoder 'convnext_tny' \(did you mean 'convnext_tiny'\?\)"),
        ("tu-nothing_like_it", r"unknown encoder 'tu-nothing_like_it': use any encoder of"),
        ("resnet18.a1_in2k", r"unknown tag 'a1_in2k' of encoder 'resnet18' \(did you mean 'resnet18.a1_in1k'\?\)"),
        (
            "vit_tiny_patch16_224",
            r"encoder 'tu-vit_tiny_patch16_224' can't be used: it must give five maps at strides 2, 4, 8, 16, 32",
        ),
        ("hrnet_w18_none", r"unknown encoder 'hrnet_w18_none'"),
    ],
)
def test_an_encoder_that_is_none_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(RequestError, match=message) as caught:
        Encoder(name, top=False)
    assert "\n" not in str(caught.value)
