import pytest
import torch

from bts.models.alignment import cell_offset_px
from bts.models.encoders import Encoder


@pytest.mark.parametrize(
    ("name", "offset"),
    [
        ("resnet18", -15.5),  # five halvings, each centred on every second pixel from the first: (32 - 1) / 2 up and left
        ("mobilenetv2_050", -15.5),
        ("tf_efficientnet_lite0", 15.5),  # TensorFlow pads the far side first: as far the other way
        ("convnext_atto", 0.0),  # patches do not overlap
        ("test_convnext", 0.0),  # the same, where the layer norms of the copy pass no gradient
    ],
)
def test_a_cell_looks_where_the_padding_puts_it(name, offset):
    assert cell_offset_px(Encoder(name, top=True), size=224) == pytest.approx(offset, abs=0.01)


def test_measuring_leaves_the_encoder_as_it_was():
    encoder = Encoder("resnet10t", top=True)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    cell_offset_px(encoder, size=64)
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    assert all(parameter.requires_grad for parameter in encoder.parameters())
