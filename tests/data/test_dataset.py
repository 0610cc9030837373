from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from bts.data.arrays import Arrays
from bts.data.augment import Augmenter
from bts.data.dataset import EpochSampler, SliceDataset
from bts.errors import RequestError
from bts.settings import AugmentSettings

N, SIDE = 10, 32


@pytest.fixture
def arrays() -> Arrays:
    random = np.random.default_rng(0)
    has_mask = np.arange(N) % 3 != 0
    return Arrays(
        images=random.integers(0, 256, (N, SIDE, SIDE)).astype(np.uint8),
        masks=((random.random((N, SIDE, SIDE)) > 0.8) & has_mask[:, None, None]).astype(np.uint8),
        has_mask=has_mask,
        labels=np.arange(N) % 4 - 1,
        paths=[f"{i}.mat" for i in range(N)],
        patients=[f"P{i // 2}" for i in range(N)],
    )


# ---- items


def test_an_item_holds_the_slice_as_tensors(arrays: Arrays) -> None:
    item = SliceDataset(arrays)[4]
    assert {name: (tuple(value.shape), value.dtype) for name, value in item.items()} == {
        "image": ((1, SIDE, SIDE), torch.float32),
        "mask": ((1, SIDE, SIDE), torch.float32),
        "has_mask": ((), torch.bool),
        "label": ((), torch.int64),
        "index": ((), torch.int64),
    }
    np.testing.assert_allclose(item["image"][0].numpy() * 255, arrays.images[4], rtol=1e-6)
    assert (item["mask"][0].numpy() == arrays.masks[4]).all()
    assert (bool(item["has_mask"]), int(item["label"]), int(item["index"])) == (True, -1, 4)


def test_black_is_0_and_white_is_1(arrays: Arrays) -> None:
    arrays.images[0] = 0
    arrays.images[1] = 255
    dataset = SliceDataset(arrays)
    assert dataset[0]["image"].max() == 0.0
    assert dataset[1]["image"].min() == 1.0


def test_changing_an_item_leaves_the_arrays(arrays: Arrays) -> None:
    before = arrays.images.copy(), arrays.masks.copy()
    item = SliceDataset(arrays)[2]
    item["image"].zero_()
    item["mask"].fill_(1)
    assert (arrays.images == before[0]).all()
    assert (arrays.masks == before[1]).all()


def test_a_plain_index_is_epoch_0(arrays: Arrays) -> None:
    dataset = SliceDataset(arrays, Augmenter(AugmentSettings(share=1.0), seed=0))
    assert torch.equal(dataset[3]["image"], dataset[(0, 3)]["image"])
    assert not torch.equal(dataset[3]["image"], dataset[(1, 3)]["image"])


def test_without_augmenter_the_epoch_changes_nothing(arrays: Arrays) -> None:
    dataset = SliceDataset(arrays)
    assert torch.equal(dataset[(0, 3)]["image"], dataset[(9, 3)]["image"])


def test_a_counterfactual_sets_image_mask_and_label(arrays: Arrays) -> None:
    class Healed:
        def __call__(self, *, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray, int]:
            return np.full((SIDE, SIDE), epoch, np.uint8), np.zeros((SIDE, SIDE), np.uint8), 3

    item = SliceDataset(arrays, counterfactuals=Healed())[(51, 4)]  # type: ignore[arg-type]
    assert float(item["image"].max()) == pytest.approx(0.2)
    assert not item["mask"].any()
    assert int(item["label"]) == 3


def test_a_pasted_tumour_counts_as_a_mask_also_where_the_slice_had_none(arrays: Arrays) -> None:
    class Pasted:
        def __call__(self, *, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray, int]:
            return np.zeros((SIDE, SIDE), np.uint8), np.ones((SIDE, SIDE), np.uint8), 0

    assert not SliceDataset(arrays)[0]["has_mask"]
    assert SliceDataset(arrays, counterfactuals=Pasted())[0]["has_mask"]  # type: ignore[arg-type]


def _epoch(arrays: Arrays, *, workers: int, epoch: int) -> list[dict[str, torch.Tensor]]:
    dataset = SliceDataset(arrays, Augmenter(AugmentSettings(share=0.7, scale=0.1, brightness=0.1), seed=5))
    sampler = EpochSampler(len(dataset), seed=5, shuffle=True)
    sampler.set_epoch(epoch)
    return list(DataLoader(dataset, batch_size=4, sampler=sampler, num_workers=workers))


def test_any_number_of_workers_gives_the_same_epoch(arrays: Arrays) -> None:
    alone, two = (_epoch(arrays, workers=workers, epoch=3) for workers in (0, 2))
    assert len(alone) == len(two) == 3
    for one, other in zip(alone, two, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_the_next_epoch_has_another_order_and_other_pictures(arrays: Arrays) -> None:
    first, second = (_epoch(arrays, workers=0, epoch=epoch) for epoch in (0, 1))
    order = [torch.cat([batch["index"] for batch in epoch]) for epoch in (first, second)]
    assert not torch.equal(*order)
    pictures = [
        torch.cat([batch["image"] for batch in epoch])[o.argsort()] for epoch, o in zip((first, second), order, strict=True)
    ]
    assert (pictures[0] != pictures[1]).flatten(1).any(dim=1).sum() >= N / 2


# ---- order


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize(("n", "world"), [(10, 1), (10, 2), (10, 3), (10, 4), (1, 1), (7, 7)])
def test_ranks_share_all_slices(n: int, world: int, shuffle: bool) -> None:
    samplers = [EpochSampler(n, seed=0, shuffle=shuffle, rank=rank, world=world) for rank in range(world)]
    shares = [[i for _, i in sampler] for sampler in samplers]
    assert [len(share) for share in shares] == [len(sampler) for sampler in samplers]
    taken = Counter(i for share in shares for i in share)
    assert set(taken) == set(range(n))
    if shuffle:  # equal numbers, for the ranks wait for each other: a few slices are taken twice
        assert len({len(share) for share in shares}) == 1
        assert sum(taken.values()) - n == -n % world
        assert max(taken.values()) <= 2
    else:  # a slice counted twice would bend a score
        assert set(taken.values()) == {1}


def test_ranks_may_outnumber_the_slices() -> None:
    training = [list(EpochSampler(2, seed=0, shuffle=True, rank=rank, world=5)) for rank in range(5)]
    assert [len(share) for share in training] == [1] * 5
    evaluation = [list(EpochSampler(2, seed=0, shuffle=False, rank=rank, world=5)) for rank in range(5)]
    assert [len(share) for share in evaluation] == [1, 1, 0, 0, 0]


def test_without_shuffle_the_order_is_the_arrays_order() -> None:
    assert list(EpochSampler(4, seed=0, shuffle=False)) == [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_the_order_follows_from_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[tuple[int, int]]:
        sampler = EpochSampler(50, seed=seed, shuffle=True)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(1, 2) == order(1, 2)
    assert [i for _, i in order(1, 2)] != [i for _, i in order(1, 3)]
    assert [i for _, i in order(1, 2)] != [i for _, i in order(2, 2)]
    assert {epoch for epoch, _ in order(1, 2)} == {2}


def test_a_second_pass_without_a_new_epoch_is_the_same() -> None:
    sampler = EpochSampler(20, seed=0, shuffle=True)
    assert list(sampler) == list(sampler)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n": 0}, "the part of the split is empty"),
        ({"seed": -1}, "seed -1: expected 0 or more"),
        ({"rank": 2, "world": 2}, "rank 2 of 2"),
        ({"rank": -1}, "rank -1 of 1"),
    ],
)
def test_a_sampler_of_nothing_or_of_a_wrong_rank_is_refused(values: dict[str, int], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        EpochSampler(**{"n": 4, "seed": 0, "shuffle": True, **values})
