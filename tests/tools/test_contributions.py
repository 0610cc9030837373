"""Paired contributions of the parts of a recipe."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bts.glossary import NO_TUMOUR
from tools.contributions import SCORES, contributions


def tables(*, better: float) -> dict[str, pd.DataFrame]:
    """Return cases of 40 patients with 2 slices each, of which the share `better` of the tumours is found."""
    rows = []
    for i in range(80):
        healthy = i % 4 >= 2
        found = not healthy and (i % 40) < 40 * better
        rows.append(
            {
                "path": f"{i}.png",
                "patient": f"p{i // 2}",
                "label": NO_TUMOUR if healthy else "glioma",
                "predicted": "glioma" if found else NO_TUMOUR,
                "right": int(found != healthy),
                "dice": 0.8 if found else np.nan if healthy else 0.0,
                "predicted_area_px": 50 if found else 0,
                f"prob_{NO_TUMOUR}": 0.2 if found else 0.6 + 0.001 * i,
                "kind": "removed" if healthy else "pasted",
            }
        )
    return dict.fromkeys(("home", "changed", "lgg"), pd.DataFrame(rows))


def test_equal_models_differ_by_nothing_and_a_worse_one_by_what_it_misses() -> None:
    text = contributions(["all", "same", "worse"], [tables(better=1.0), tables(better=1.0), tables(better=0.5)])
    rows = {
        cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in map(_cells, text.splitlines()) if len(cells) > 3
    }
    assert [score.name in rows for score in SCORES] == [True] * len(SCORES)
    name = "home, tumour slices: class right"
    assert rows[name][0] == "1.000"
    assert rows[name][1].startswith("0.000 [0.000, 0.000]")
    assert rows[name][3] == "40"
    assert rows[name][2].startswith("-0.500 [")
    assert rows["home, tumour slices: Dice"][2].startswith("-0.400 [")
    assert rows["TCGA-LGG: area under the curve of the tumour probability"][0] == "1.000"
    difference, low, high = _numbers(rows["TCGA-LGG: area under the curve of the tumour probability"][2])
    assert low < difference < high < 0


def _cells(line: str) -> list[str]:
    return line.strip().strip("|").split("|")


def _numbers(cell: str) -> list[float]:
    return [float(part) for part in cell.replace("[", "").replace("]", "").replace(",", "").split()]
