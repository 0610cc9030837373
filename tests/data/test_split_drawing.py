from __future__ import annotations

import itertools

import numpy as np
import pytest

from bts.data.split_drawing import draw_parts


def _counts(n: int, seed: int = 0) -> np.ndarray:
    """People of three classes with 1 to 40 slices each, a few of them with two classes."""
    random = np.random.default_rng(seed)
    counts = np.zeros((n, 3))
    counts[np.arange(n), random.integers(3, size=n)] = random.integers(1, 41, size=n)
    counts[: n // 10, 0] += 3
    return counts


def test_every_person_gets_a_part() -> None:
    parts = draw_parts(_counts(50), (0.7, 0.15, 0.15), seed=(0,))
    assert parts.shape == (50,)
    assert set(parts) == {0, 1, 2}


def test_equal_seeds_give_equal_parts_and_others_don_t() -> None:
    first, again, other = (draw_parts(_counts(60), (0.5, 0.5), seed=seed) for seed in ((3, 1), (3, 1), (3, 2)))
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shares", [(0.7, 0.15, 0.15), (0.2,) * 5, (0.9, 0.1)])
def test_each_part_has_its_share_of_slices_of_classes_and_of_patients(shares: tuple[float, ...], seed: int) -> None:
    counts = _counts(200, seed)
    parts = draw_parts(counts, shares, seed=(seed,))
    for part, share in enumerate(shares):
        mine = counts[parts == part]
        assert mine.sum() / counts.sum() == pytest.approx(share, abs=0.01)
        assert len(mine) / len(counts) == pytest.approx(share, abs=0.02)
        np.testing.assert_allclose(mine.sum(axis=0) / mine.sum(), counts.sum(axis=0) / counts.sum(), atol=0.03)


@pytest.mark.parametrize("seed", range(10))
def test_no_part_is_empty_with_just_enough_patients(seed: int) -> None:
    counts = np.array([[1, 0], [90, 0], [0, 30]])
    assert sorted(draw_parts(counts, (0.98, 0.01, 0.01), seed=(seed,))) == [0, 1, 2]


@pytest.mark.parametrize("seed", range(10))
def test_a_rare_class_reaches_every_part_where_there_are_patients_enough(seed: int) -> None:
    counts = np.zeros((33, 2))
    counts[:30, 0] = 20
    counts[30:, 1] = (50, 1, 1)
    parts = draw_parts(counts, (0.7, 0.15, 0.15), seed=(seed,))
    assert sorted(parts[30:]) == [0, 1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_a_small_draw_is_nearly_as_even_as_the_best_of_all(seed: int) -> None:
    """Nine patients of one class in two halves: compare with all 512 draws."""
    sizes = np.random.default_rng(seed).integers(1, 30, size=9)
    parts = draw_parts(sizes[:, None], (0.5, 0.5), seed=(seed,))

    def cost(where: np.ndarray) -> float:
        return (sizes[where == 0].sum() / sizes.sum() - 0.5) ** 2 + ((where == 0).mean() - 0.5) ** 2

    best = min(cost(np.array(where)) for where in itertools.product((0, 1), repeat=9))
    assert cost(parts) <= best + 0.01


def test_the_person_with_most_slices_lands_in_every_part_in_turn() -> None:
    """Largest first would put this one into training every time, and no test would ever hold such a patient."""
    counts = _counts(100)
    counts[17] = (0, 50, 0)
    assert counts.sum(axis=1).argmax() == 17
    seen = {int(draw_parts(counts, (0.6, 0.2, 0.2), seed=(seed,))[17]) for seed in range(40)}
    assert seen == {0, 1, 2}
