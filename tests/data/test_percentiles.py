import numpy as np
import pytest

from bts.data import percentiles as module
from bts.data.percentiles import percentiles

WANTED = [0, 0.5, 2.5, 50, 99.5, 100]
PICTURES = {
    "bytes": lambda random: random.integers(0, 256, (61, 53)),
    "a scanner's numbers": lambda random: random.gamma(2, 300, (512, 512)).round(),
    "below zero": lambda random: random.normal(-1000, 200, (40, 40)).round(),
    "mostly ground": lambda random: (random.random((90, 90)) > 0.995) * 77,
    "two values": lambda random: np.arange(4).reshape(2, 2) > 1,
    "fractions": lambda random: random.normal(0, 1, (50, 50)),
    "a wide range": lambda random: random.integers(0, 10**6, (50, 50)),
    "huge numbers": lambda random: random.integers(0, 9, (50, 50)) * 2.0**40,
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("seed", range(5))
def test_they_are_numpys_to_the_last_bit(name, seed):
    picture = np.asarray(PICTURES[name](np.random.default_rng(seed)), np.float32)
    for each in (picture, picture[::2, ::2], picture.T):
        assert np.array_equal(percentiles(each, WANTED), np.percentile(each, WANTED))


def test_whole_numbers_are_counted_and_not_sorted(monkeypatch):
    monkeypatch.setattr(module.np, "percentile", lambda *_: pytest.fail("sorted"))
    assert percentiles(np.array([[3, 1], [2, 5]], np.float32), [0, 100]).tolist() == [1, 5]
