"""Generated blocks of documents: replacement between markers, and rows of earlier runs that stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from bts.errors import RequestError
from tools.documents import NOT_MEASURED, keep_lines, markers, write_block, write_table

BEGIN, END = markers("results")
HEAD = "| recipe | published |\n|---|---|"


def test_a_block_replaces_only_what_is_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    write_block(page, "new", "results")
    write_block(page, "newer", "results")
    assert page.read_text() == f"above\n{BEGIN}\nnewer\n{END}\nbelow\n"


@pytest.mark.parametrize("text", ["no markers", BEGIN, END])
def test_a_document_without_both_markers_is_refused(text: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(RequestError, match="expected the lines `<!-- results:begin -->` and"):
        write_block(page, "new", "results")
    assert page.read_text() == text


def test_a_missing_document_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="name the document to write into"):
        write_block(tmp_path / "page.md", "new", "results")


def test_a_row_measured_on_one_split_keeps_no_score_of_before() -> None:
    before = f"{HEAD}\n| `one` | said | accuracy | 0.5 | 0.6 | – | short |"
    now = f"{HEAD}\n| `one` | said | accuracy | {NOT_MEASURED} | 0.8 | – | long |"
    assert keep_lines(before, now, measured={"`one`"}) == now
    assert keep_lines(before, now, measured=set()).endswith("| 0.5 | 0.6 | – | short |")


def test_a_row_of_pooled_folds_stays_where_a_single_split_was_measured_now() -> None:
    pooled = "| a | 0.9 | 209 patients, every fold once (cvind, 5) | no |"
    again = "| a | 0.8 | every fold once (folds, 3) | no |"
    single = "| a | 0.95 | 31 patients, split `ratios` | yes |"
    assert keep_lines(pooled, single) == pooled
    assert keep_lines(pooled, again) == again
    assert keep_lines(single, pooled) == pooled


def test_a_table_makes_a_new_file_that_takes_it_again_and_overwrites_no_document(tmp_path: Path) -> None:
    new, other = tmp_path / "new.md", tmp_path / "other.md"
    for text in ("first", "second"):
        write_table(new, text, "elsewhere")
        assert new.read_text(encoding="utf-8") == "\n".join([markers("elsewhere")[0], text, markers("elsewhere")[1]]) + "\n"
    other.write_text("a document", encoding="utf-8")
    with pytest.raises(RequestError, match="expected the lines"):
        write_table(other, "first", "elsewhere")
    assert other.read_text(encoding="utf-8") == "a document"
    write_table(None, "first", "elsewhere")
