"""Architecture of a network in plain numbers: what a model folder keeps, and what builds the network again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from bts.errors import RequestError
from bts.fields import Conflict, Range, from_mapping, problems
from bts.glossary import Task
from bts.settings import (
    Attention,
    BelowOne,
    Channels,
    ClassName,
    ClsModelSettings,
    DataSettings,
    EncoderName,
    EncoderSettings,
    Fraction,
    Hidden,
    InChannels,
    JointModelSettings,
    MaskDilation,
    Normalisation,
    Positive,
    SegModelSettings,
    Size,
)

STRIDE = 32
"""Every encoder halves the picture five times, so its sides are multiples of this."""
MOST_CLASSES, LARGEST_MAP = 1000, 2**26
"""Limits far above any published network: classes, and values in one map of the decoder. A model folder from elsewhere cannot
ask for gigabytes with a few digits."""


@dataclass(frozen=True)
class Architecture:
    """A network in plain numbers.

    Names, limits and defaults are those of the settings: `size` of `bts.settings.DataSettings`, the others of
    `SegModelSettings`, `ClsModelSettings` and `JointModelSettings`. A task ignores what its network does not have.

    Attributes:
        task: `seg` (attention U-Net), `cls` (classifier) or `joint` (both on one encoder).
        num_classes: number of classes; 0 for `seg`.
    """

    task: Task
    encoder: EncoderName = EncoderSettings.encoder
    size: Size = DataSettings.size
    num_classes: Annotated[int, Range(0, MOST_CLASSES)] = 0
    in_channels: InChannels = EncoderSettings.in_channels
    normalisation: Normalisation = EncoderSettings.normalisation
    input_mean: Fraction | None = EncoderSettings.input_mean
    input_std: Positive | None = EncoderSettings.input_std
    decoder: ClassName = SegModelSettings.decoder
    attention: Attention = SegModelSettings.attention
    channels: Channels = SegModelSettings.channels
    dropout: BelowOne = ClsModelSettings.dropout
    hidden: Hidden = ClsModelSettings.hidden
    head_norm: bool = ClsModelSettings.head_norm
    mask_dilation_px: MaskDilation = JointModelSettings.mask_dilation_px
    slice_dropout: BelowOne = JointModelSettings.slice_dropout

    def __post_init__(self) -> None:
        if found := problems(self):
            raise RequestError("; ".join(found))

    def conflicts(self) -> Iterator[Conflict]:
        """Yield values that do not go together."""
        if self.task != "seg" and self.num_classes < 2:
            yield ("num_classes",), f"expected 2 or more for task {self.task}, received {self.num_classes}"
        largest = max(channels * (self.size >> (4 - i)) ** 2 for i, channels in enumerate(self.channels))
        if largest > LARGEST_MAP:
            yield ("channels", "size"), f"expected maps of the decoder of {LARGEST_MAP:,} values or fewer, received {largest:,}"
        if self.mask_dilation_px > self.size:
            yield ("mask_dilation_px",), f"expected {self.size} or less at size {self.size}, received {self.mask_dilation_px}"

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain JSON types."""
        return {**asdict(self), "channels": list(self.channels), "hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Architecture:
        """Return what `to_dict` wrote; raises `RequestError` for unknown, missing and wrong fields."""
        return from_mapping(cls, values, "architecture", complete=True)
