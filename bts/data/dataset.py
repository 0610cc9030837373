"""PyTorch dataset of slices in memory, and the sampler of an epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from bts.data.arrays import Arrays
from bts.data.augment import Augmenter
from bts.data.counterfactual import CounterfactualAugmenter
from bts.errors import RequestError

Item = dict[str, torch.Tensor]


class SliceDataset(Dataset[Item]):
    """Slices as tensors, turned into counterfactuals and then augmented if there are augmenters for it."""

    def __init__(
        self,
        arrays: Arrays,
        augmenter: Augmenter | None = None,
        counterfactuals: CounterfactualAugmenter | None = None,
    ) -> None:
        self.arrays = arrays
        self.augmenter = augmenter
        self.counterfactuals = counterfactuals

    def __len__(self) -> int:
        return len(self.arrays)

    def __getitem__(self, which: tuple[int, int] | int) -> Item:
        """Return slice `(epoch, i)`, or slice `i` as in epoch 0.

        image (1, S, S) float32 in [0, 1], mask (1, S, S) float32 of 0 and 1, has_mask bool, label int64 (-1 where not
        known), index int64.
        """
        epoch, i = which if isinstance(which, tuple) else (0, which)
        image, mask, label = self.arrays.images[i], self.arrays.masks[i], int(self.arrays.labels[i])
        if self.counterfactuals:
            image, mask, label = self.counterfactuals(epoch=epoch, index=i)
        if self.augmenter:
            image, mask = self.augmenter(image, mask, epoch=epoch, index=i)
        return {
            "image": torch.tensor(image[None]).float().div_(255),
            "mask": torch.tensor(mask[None]).float(),
            "has_mask": torch.tensor(bool(self.arrays.has_mask[i] or mask.any())),
            "label": torch.tensor(label),
            "index": torch.tensor(int(i)),
        }


class EpochSampler(Sampler[tuple[int, int]]):
    """Yield `(epoch, i)`, so that workers know the epoch, which determines the augmentation, and share slices among ranks.

    With `shuffle` (training) every rank gets the same number, since the others would wait for a rank without a batch: if the
    number does not divide, up to `world - 1` of the first slices are repeated. Without it (evaluation) every slice comes
    exactly once, and the first ranks may have one more.
    """

    def __init__(self, n: int, *, seed: int, shuffle: bool, rank: int = 0, world: int = 1) -> None:
        if n < 1:
            raise RequestError("there is no slice to draw from: the part of the split is empty")
        if seed < 0:
            raise RequestError(f"seed {seed}: expected 0 or more")
        if not 0 <= rank < world:
            raise RequestError(f"rank {rank} of {world}: ranks count from 0")
        self.n, self.seed, self.shuffle, self.rank, self.world = n, seed, shuffle, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass, which determines the order and the augmentation."""
        self.epoch = epoch

    def __len__(self) -> int:
        over = self.world - 1 if self.shuffle else self.world - 1 - self.rank
        return (self.n + over) // self.world

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.arange(self.n)
        if self.shuffle:
            order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n)
            order = np.resize(order, len(self) * self.world)  # repeats from the start if it is too short
        for i in order[self.rank :: self.world]:
            yield self.epoch, int(i)
