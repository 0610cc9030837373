"""Which numbers say exactly what a network is? What the model card keeps, and what builds the network anew."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from bts.errors import RequestError
from bts.glossary import TASKS, Task
from bts.registry import suggestion

Attention = Literal["additive", "scse", "none"]
Conv1 = Literal["mean", "sum"]
Normalisation = Literal["weights", "unit", "symmetric", "imagenet", "zscore"]
STRIDE = 32
"""Every encoder halves the picture five times, so that its sides are multiples of this."""
LARGEST_SIDE, MOST_CLASSES, MOST_CHANNELS, MOST_HIDDEN, LARGEST_MAP = 1024, 1000, 1024, (8, 8192), 2**26
"""Limits far above any published network: side in pixels, classes, channels of a decoder block, number and width of dense
layers, values in one map of the decoder. A model folder of a stranger can't ask for gigabytes with a few digits."""


@dataclass(frozen=True)
class Architecture:
    """A network in plain numbers.

    Attributes:
        task: `seg` (attention U-Net), `cls` (classifier) or `joint` (both on one encoder).
        encoder: name of an encoder of segmentation-models-pytorch or timm.
        size: side of the square input in pixels, a multiple of 32.
        classes: number of classes; 0 for `seg`.
        attention: what weighs the skip connections of the decoder.
        channels: channels of the five decoder blocks, from deep to shallow.
        dropout: share of the pooled features dropped before the linear head.
        conv1: how pretrained RGB kernels become grey.
        in_channels: what the encoder sees: 1, the grey picture, or 3, the same picture three times.
        normalisation: of the picture in [0, 1]: `weights` (input_mean and input_std), `unit` (as it is), `symmetric` (to
            [-1, 1]), `imagenet` (its mean and deviation, of each channel where there are three), `zscore` (the picture's own).
        hidden: widths of dense layers between the pooled features and the classes, each with a ReLU and the dropout behind it.
        head_norm: whether a batch norm comes before the first dense layer and one before the classes.
        rim_px: of `joint`, by how many pixels of the network's picture the mask grows before the class is averaged over it; a
            multiple of 4. What surrounds a tumour tells its kind too, but the wider, the less of the map lies in the tumour.
            The default here is that of model folders from before there was a choice; `bts.settings` has that of a training.
        slice_dropout: of `joint`, share of the slices in training whose class is told from the average over the mask alone; the
            higher, the more of the class, and of its map, is the tumour's.
        input_mean: subtracted from the input in [0, 1]; None takes what the weights were trained with.
        input_std: divides after that; None as above.
    """

    task: Task
    encoder: str = "resnet50"
    size: int = 224
    classes: int = 0
    attention: Attention = "additive"
    channels: tuple[int, ...] = (256, 128, 64, 32, 16)
    dropout: float = 0.2
    conv1: Conv1 = "sum"
    input_mean: float | None = None
    input_std: float | None = None
    in_channels: int = 1
    normalisation: Normalisation = "weights"
    hidden: tuple[int, ...] = ()
    head_norm: bool = False
    rim_px: int = 8
    slice_dropout: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "channels", tuple(int(channel) for channel in self.channels))
        object.__setattr__(self, "hidden", tuple(int(width) for width in self.hidden))
        _one_of("task", self.task, TASKS)
        _one_of("attention", self.attention, get_args(Attention))
        _one_of("conv1", self.conv1, get_args(Conv1))
        _one_of("normalisation", self.normalisation, get_args(Normalisation))
        if self.size < STRIDE or self.size % STRIDE:
            raise RequestError(f"size {self.size}: the side must be a multiple of {STRIDE}, {_nearest(self.size)} would do")
        if len(self.channels) != 5 or min(self.channels) < 1:
            raise RequestError(
                f"channels {self.channels}: five positive numbers are needed, one a decoder block, deep to shallow"
            )
        if self.task != "seg" and self.classes < 2:
            raise RequestError(f"{self.classes} classes for task '{self.task}': at least 2 are needed")
        if not 0 <= self.dropout < 1:
            raise RequestError(f"dropout {self.dropout:g}: a share from 0 to under 1 is needed")
        if not 0 <= self.slice_dropout < 1:
            raise RequestError(f"slice_dropout {self.slice_dropout:g}: a share from 0 to under 1 is needed")
        if self.in_channels not in (1, 3):
            raise RequestError(f"in_channels {self.in_channels}: 1 (grey) or 3 (grey, three times) is needed")
        if self.hidden and min(self.hidden) < 1:
            raise RequestError(f"hidden {list(self.hidden)}: widths above 0 are needed, such as [512, 128]")
        if self.rim_px < 0 or self.rim_px % 4:
            raise RequestError(f"rim_px {self.rim_px}: 0 or a multiple of 4 pixels is needed")
        if self.input_std is not None and not self.input_std > 0:
            raise RequestError(f"input_std {self.input_std:g}: a positive number is needed")
        _refuse_large(self)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        return {**asdict(self), "channels": list(self.channels), "hidden": list(self.hidden)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Architecture:
        """Return the architecture of a model card; a field that this version does not know is refused."""
        known = [field.name for field in fields(cls)]
        unknown = [name for name in values if name not in known]
        if unknown or "task" not in values:
            what = f"unknown field '{unknown[0]}'{suggestion(unknown[0], known)}" if unknown else "no field 'task'"
            raise RequestError(f"architecture: {what}: it was written by another version, or by hand")
        return cls(**values)


def _refuse_large(architecture: Architecture) -> None:
    """Refuse a network so large that building or running it would take the machine's memory."""
    if not re.fullmatch(r"[A-Za-z0-9_.\-]{1,100}", architecture.encoder):
        raise RequestError(f"encoder {architecture.encoder[:100]!r}: a name of letters, digits, _ . and - is needed")
    count, width = MOST_HIDDEN
    maps = [channels * (architecture.size >> (4 - i)) ** 2 for i, channels in enumerate(architecture.channels)]
    for what, value, most in (
        ("size", architecture.size, LARGEST_SIDE),
        ("classes", architecture.classes, MOST_CLASSES),
        ("channels", max(architecture.channels), MOST_CHANNELS),
        ("channels times the pixels of a decoder block", max(maps), LARGEST_MAP),
        ("number of hidden layers", len(architecture.hidden), count),
        ("width of a hidden layer", max(architecture.hidden, default=0), width),
        ("rim_px", architecture.rim_px, architecture.size),
    ):
        if value > most:
            raise RequestError(f"{what} {value:,}: at most {most:,} is allowed")


def _one_of(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise RequestError(f"unknown {what} '{name}'{suggestion(name, known)}: choose one of {', '.join(known)}")


def _nearest(size: int) -> str:
    below, above = size // STRIDE * STRIDE, (size // STRIDE + 1) * STRIDE
    return f"{below} or {above}" if below else str(above)
