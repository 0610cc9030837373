"""Charts: atomic writing, colours of the page, and missing data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bts.data.split import Split, SplitRow
from bts.errors import RequestError
from bts.report.charts import place_features
from bts.report.figures import INK, chart, draw_curves, draw_split, split_table


def test_a_chart_is_a_png_and_an_svg_in_the_colour_of_the_page(tmp_path: Path) -> None:
    with chart(tmp_path / "new" / "one.png") as drawn:
        drawn.axis.plot([0, 1], [0, 1])
        drawn.axis.set_title("a title")
    assert drawn.svg.startswith("<svg")
    assert "currentColor" in drawn.svg
    assert INK not in drawn.svg
    assert "a title" in drawn.svg
    with Image.open(tmp_path / "new" / "one.png") as picture:
        assert picture.size[0] > 300


def test_the_same_numbers_give_the_same_svg(tmp_path: Path) -> None:
    def draw() -> str:
        with chart(tmp_path / "one.png") as drawn:
            drawn.axis.plot([0, 1], [0, 1])
        return drawn.svg

    assert draw() == draw()


def test_a_place_that_can_not_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RequestError, match="can't be written"), chart(tmp_path / "file" / "one.png"):
        pass


def test_the_split_is_counted_by_slices_and_patients(tmp_path: Path) -> None:
    rows = [("1", "7", "glioma", "train"), ("2", "7", "glioma", "train"), ("3", "8", "glioma", "val"), ("4", "9", "x", "test")]
    split = Split(tuple(SplitRow(*row) for row in rows))  # type: ignore[arg-type]
    table = split_table(split).set_index(["part", "label"])
    assert tuple(table.loc[("train", "glioma")]) == (2, 1)
    assert tuple(table.loc[("test", "glioma")]) == (0, 0)
    assert split.fingerprint in draw_split(split, tmp_path / "split.png").svg


@pytest.mark.parametrize("content", [None, "", "epoch,stage,lr\n"])
def test_without_an_epoch_there_are_no_curves(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "curves.csv").write_text(content)
    assert draw_curves(tmp_path / "curves.csv", tmp_path / "curves.png") is None
    assert not (tmp_path / "curves.png").exists()


def test_curves_survive_columns_that_are_partly_empty(tmp_path: Path) -> None:
    (tmp_path / "curves.csv").write_text("epoch,stage,lr,train_loss,dice,epoch_s\n1,1,0.1,2,,90\n2,2,0.1,1,0.5,80\n")
    drawn = draw_curves(tmp_path / "curves.csv", tmp_path / "curves.png")
    assert drawn is not None
    assert "dice" in drawn.svg
    assert "epoch_s" not in drawn.svg  # a time beside scores would flatten them


def test_features_of_two_groups_lie_in_two_groups() -> None:
    rng = np.random.default_rng(0)
    features = np.vstack([rng.normal(0, 1, (30, 12)), rng.normal(12, 1, (30, 12))])
    places = place_features(features)
    assert places is not None
    gap = np.linalg.norm(places[:30].mean(axis=0) - places[30:].mean(axis=0))
    assert gap > places[:30].std() + places[30:].std()
    assert (place_features(features) == places).all()
    assert place_features(features[:5]) is None
    assert place_features(np.ones((20, 3))) is None
