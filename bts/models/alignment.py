"""Position in the picture at which a cell of the last maps is centred.

A map of 7 x 7 cells over 224 pixels is usually drawn as if cell j looked at the middle of the j-th 32 pixels. It does not: a
halving convolution or pooling with one pixel of padding on either side is centred on every second pixel, counted from the
first, so that after five halvings a ResNet's cell looks 15.5 pixels up and left of that middle. TensorFlow's padding moves it
as far down and right, a network that cuts patches not at all. On a scan of 512 pixels that is 35 pixels: a tumour's width.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from bts.models.encoders import Encoder

SPREAD = 0.4
"""Deviation in pixels of the kernels of the measuring copy: narrow, so that the picture's border stays out of sight."""


def cell_offset_px(encoder: Encoder, *, size: int) -> float:
    """Return by how many pixels of the network's square a cell looks down and right of its even place; negative is up and left.

    The geometry alone is measured: in a copy whose kernels are equal, positive and symmetric, the centre of gravity of the
    gradient of one cell with respect to the picture is the centre of what the cell sees. The middle cell is asked.

    Args:
        encoder: any; its weights don't matter and are left alone.
        size: side of the square in pixels, a multiple of 32.
    """
    even = _with_even_kernels(encoder)
    picture = torch.full((1, 1, size, size), 1e-3, dtype=torch.float64, requires_grad=True)
    with torch.enable_grad():
        maps = even.last(even(picture))  # (1, C, h, w)
        middle = maps.shape[-1] // 2
        (seen,) = torch.autograd.grad(maps[..., middle, middle].sum(), picture)
    weights, place = seen[0, 0].abs(), torch.arange(size, dtype=torch.float64)
    if not weights.sum() > 0:  # layer norms over equal channels pass no gradient: such networks cut the picture into patches
        return 0.0
    centres = [float((weights.sum(axis) * place).sum() / weights.sum()) for axis in (0, 1)]  # column, row
    return sum(centres) / 2 - ((middle + 0.5) * size / maps.shape[-1] - 0.5)


def _with_even_kernels(encoder: Encoder) -> Encoder:
    even = copy.deepcopy(encoder).eval().double().cpu().requires_grad_(False)
    for module in list(even.modules()):
        for name, parameter in module.named_parameters(recurse=False):
            parameter.copy_(_kernel(parameter) if parameter.ndim > 1 else torch.full_like(parameter, float("bias" not in name)))
        for name, child in module.named_children():
            if isinstance(child, nn.MaxPool2d):  # where all pixels are equal the largest would be the first
                setattr(module, name, nn.AvgPool2d(child.kernel_size, child.stride, child.padding))
    return even


def _kernel(parameter: Tensor) -> Tensor:
    """Return weights of the parameter's shape: a narrow bell over the last two axes of a convolution, else all equal."""
    bells = torch.ones((), dtype=parameter.dtype)
    if parameter.ndim == 4:
        rows, columns = (torch.arange(side, dtype=parameter.dtype) - (side - 1) / 2 for side in parameter.shape[2:])
        bells = torch.exp(-(rows[:, None] ** 2 + columns[None, :] ** 2) / (2 * SPREAD**2))  # (kh, kw)
    weights = bells.expand(parameter.shape)
    return weights / weights[0].sum()
