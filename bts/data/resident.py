"""How do slices that lie on the device as bytes become batches there, varied all at once? No loader, no copies, no waiting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import BatchSampler

from bts.data.arrays import Arrays
from bts.data.augment import refuse_bad
from bts.data.dataset import EpochSampler
from bts.data.variation import Variations, backward_matrices, draw_variations
from bts.settings import AugmentSettings

Fill = Literal["black", "nearest"]


class BatchAugmenter:
    """Random variation of slices on the device they lie on; the counterpart of `bts.data.augment.Augmenter`."""

    def __init__(self, settings: AugmentSettings, *, seed: int) -> None:
        refuse_bad(settings, seed)
        self.settings, self.seed = settings, seed

    def __call__(self, image: np.ndarray, mask: np.ndarray, *, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return picture (S, S) uint8 and mask (S, S) uint8 of 0 and 1 as slice `index` is seen in `epoch`."""
        numbers = self.numbers(index + 1, size=len(image), epoch=epoch)[index:]
        images, masks = vary(torch.tensor(image[None]), torch.tensor(mask[None]), numbers, fill=self.settings.fill)
        return images[0].to(torch.uint8).numpy(), masks[0].to(torch.uint8).numpy()

    def numbers(self, count: int, *, size: int, epoch: int) -> Tensor:
        """Return how `count` slices are varied in an epoch, as `vary` takes it."""
        return as_tensor(draw_variations(self.settings, count, size=size, seed=self.seed, epoch=epoch), size=size)


def as_tensor(how: Variations, *, size: int) -> Tensor:
    """Return (N, 13) float32: backward matrix by rows, crop, flips, contrast, brightness."""
    matrices = backward_matrices(how, size=size).reshape(-1, 6)
    columns = (matrices, how.crop_px, how.flip, how.flip_vertical, how.contrast, how.brightness)
    return torch.from_numpy(np.column_stack(columns)).float()


def vary(images: Tensor, masks: Tensor, numbers: Tensor, *, fill: Fill) -> tuple[Tensor, Tensor]:
    """Return varied pictures (B, S, S) float32 of whole grey values from 0 to 255, and masks (B, S, S) float32 of 0 and 1.

    All of the geometry is one bilinear look-up, so edges are softened once. What a crop has taken away stays away: a rotation
    after it shows black, or the crop's nearest pixel, not the picture beyond. Values are rounded to bytes where
    `bts.data.augment.Augmenter` has bytes; numbers that change nothing therefore give the very pictures back.

    Args:
        images: (B, S, S) uint8.
        masks: (B, S, S) uint8 of 0 and 1; interpolated like the picture and cut at a half.
        numbers: (B, 13) of `as_tensor`.
        fill: what lies beyond the picture.
    """
    grid, inside = _look_up(numbers, images.shape[-1])
    pair = torch.stack([images, masks * 255], dim=1).float()  # (B, 2, S, S)
    pair = F.grid_sample(pair, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if fill == "black":
        pair = pair * inside[:, None]
    picture, mask = pair.round().unbind(1)
    contrast, brightness = numbers[:, 11, None, None], numbers[:, 12, None, None]
    picture = picture * contrast + brightness * picture.mean(dim=(1, 2), keepdim=True)
    return picture.clamp(0, 255).floor(), (mask >= 128).float()


def _look_up(numbers: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return the grid (B, S, S, 2) of `grid_sample`, and how much of each pixel (B, S, S) lies in the cropped picture."""
    line = torch.arange(size, device=numbers.device, dtype=numbers.dtype)
    y, x = torch.meshgrid(line, line, indexing="ij")
    matrix = numbers[:, :6].reshape(-1, 2, 3)
    at = torch.einsum("bij,jhw->bhwi", matrix, torch.stack([x, y, torch.ones_like(x)]))  # in the cropped picture
    # bilinear against black: the share falls from 1 at the outermost pixel to 0 where the next would lie
    inside = torch.minimum(at + 1, size - at).clamp(0, 1).prod(dim=-1)
    corner, side = numbers[:, None, None, 6:8], numbers[:, None, None, 8:9]
    at = (at.clamp(0, size - 1) + 0.5) * (side / size) - 0.5
    at = corner + torch.minimum(at.clamp(min=0), side - 1)  # a crop is resized from its own pixels alone
    at = torch.where(numbers[:, None, None, 9:11] > 0.5, size - 1 - at, at)
    return (2 * at + 1) / size - 1, inside


class ResidentLoader:
    """Batches of slices that lie on `device`, as `bts.data.dataset.SliceDataset` and a loader would give them.

    Args:
        arrays: slices; pictures and masks lie on the device as bytes.
        augmenter: how they are varied; None leaves them as they are.
        sampler: order and share of this process; the loop tells it the epoch.
        batch_size: slices a batch.
        drop_last: whether an incomplete batch is left out.
        device: where to.
    """

    def __init__(
        self,
        arrays: Arrays,
        augmenter: BatchAugmenter | None,
        *,
        sampler: EpochSampler,
        batch_size: int,
        drop_last: bool,
        device: torch.device,
    ) -> None:
        self.augmenter, self._sampler, self.device = augmenter, sampler, device
        # Lightning looks here for whom to tell the epoch; what is sampled is (epoch, index), not a bare index
        self.batch_sampler = BatchSampler(sampler, batch_size, drop_last)  # type: ignore[arg-type]
        self.images, self.masks, self.has_mask, self.labels = (
            torch.tensor(values, device=device) for values in (arrays.images, arrays.masks, arrays.has_mask, arrays.labels)
        )

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        # order and numbers of the whole epoch cross over at once, so that no step copies or waits
        batches = cast(Iterable[list[tuple[int, int]]], self.batch_sampler)
        order = torch.tensor([i for batch in batches for _, i in batch], dtype=torch.int64, device=self.device)
        numbers = None
        if self.augmenter:
            count, size = self.images.shape[:2]
            numbers = self.augmenter.numbers(count, size=size, epoch=self._sampler.epoch).to(self.device)
        size = self.batch_sampler.batch_size
        for start in range(0, len(order), size):
            yield self._batch(order[start : start + size], numbers)

    def _batch(self, index: Tensor, numbers: Tensor | None) -> dict[str, Tensor]:
        image, mask = self.images[index], self.masks[index]
        if numbers is None or self.augmenter is None:
            image, mask = image.float(), mask.float()
        else:
            image, mask = vary(image, mask, numbers[index], fill=self.augmenter.settings.fill)
        truth = {"has_mask": self.has_mask[index], "label": self.labels[index], "index": index}
        return {"image": image[:, None].div(255), "mask": mask[:, None], **truth}
