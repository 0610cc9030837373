"""Lightning data module of the training and validation part."""

from __future__ import annotations

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from bts.data.arrays import Arrays
from bts.data.augment import Augmenter
from bts.data.counterfactual import CounterfactualAugmenter
from bts.data.dataset import EpochSampler, SliceDataset

Loader = DataLoader[dict[str, torch.Tensor]]


class SliceData(pl.LightningDataModule):
    """Batches of the training and the validation part.

    The order of the slices and their augmentation depend on (seed, epoch, index) alone, not on the number of workers or on
    where a run was interrupted. With several devices each takes its own share of every epoch.

    Args:
        train: training slices.
        val: validation slices, which select the best epoch; never augmented.
        augmenter: random augmentation of the training slices.
        counterfactuals: removes and pastes tumours in the training slices, before the augmentation.
        batch_size: slices per step and device.
        workers: number of loader processes.
        seed: seed of the order.
        pin_memory: whether batches are page-locked, for GPUs.
    """

    def __init__(
        self,
        train: Arrays,
        val: Arrays,
        *,
        augmenter: Augmenter | None,
        counterfactuals: CounterfactualAugmenter | None = None,
        batch_size: int,
        workers: int = 0,
        seed: int = 0,
        pin_memory: bool = False,
    ) -> None:
        super().__init__()
        self.train, self.val, self.augmenter, self.counterfactuals = train, val, augmenter, counterfactuals
        self.batch_size, self.workers, self.seed, self.pin_memory = batch_size, workers, seed, pin_memory

    def train_dataloader(self) -> Loader:
        """Return shuffled, augmented batches; an incomplete last one is dropped if there are others."""
        return self._loader(self.train, learn=True)

    def val_dataloader(self) -> Loader:
        """Return the validation slices in their order, each once, over all devices."""
        return self._loader(self.val, learn=False)

    def _loader(self, arrays: Arrays, *, learn: bool) -> Loader:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        count = len(arrays.labels)
        sampler = EpochSampler(count, seed=self.seed, shuffle=learn, rank=rank, world=world)
        drop_last = learn and count >= self.batch_size * world
        return DataLoader(
            SliceDataset(arrays, self.augmenter, self.counterfactuals) if learn else SliceDataset(arrays),
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            pin_memory=self.pin_memory,
            # a generator of its own: making an iterator draws a number, which must not move the global random state
            generator=torch.Generator().manual_seed(self.seed),
        )


def choose_workers(workers: int | None, *, device: str, cores: int) -> int:
    """Return the number of loader processes: 0 on a CPU, which they would have to share, and up to 8 with a GPU."""
    if workers is not None:
        return workers
    return min(8, max(1, cores - 1)) if device == "gpu" else 0
