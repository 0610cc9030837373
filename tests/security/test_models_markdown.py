"""Texts of strangers are shown in Markdown pages as they are, in whatever way the page is rendered."""

from __future__ import annotations

import html
import re

import pandas as pd
import pytest

from bts.data.split import Split, SplitRow
from bts.markup import escape
from bts.report.card import failure_rows, group_table, parts_table
from bts.report.rendering import table

HOSTILE = (
    "<script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "[click](javascript:alert(1))",
    "![](http://example.org/x.png)",
    "<http://example.org>",
    "http://example.org and www.example.org",
    "a | b |",
    "`code` **bold** _emphasis_ ~~gone~~",
    "# heading",
    "- list",
    "+ list",
    "1. list",
    "12) list",
    "===",
    "> quote",
    "back\\slash \\<b>",
    "a\n\n<b>second block</b>",
    "&lt;b&gt; &amp;",
    ":::note",
    "mail@example.org",
)
HARMLESS = (
    "no_tumour",
    "glioma grade 4",
    "T2/FLAIR (late)",
    "2167 figshare + 756 brisc slices, 12 epochs (best 12)",
    "méningiome",
)


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_texts_stay_readable(text: str) -> None:
    assert escape(text) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_no_markup(text: str) -> None:
    written = escape(text)
    assert not re.search(r"[<>`*\[\]|\\]|://|^[#+\-=>]|\n", written)
    assert html.unescape(written) == " ".join(text.split())


@pytest.mark.parametrize("text", HOSTILE)
def test_two_renderers_show_the_text_itself(text: str) -> None:
    markdown_it = pytest.importorskip("markdown_it")
    markdown = pytest.importorskip("markdown")
    page = f"{escape(text)}\n\n{table(['class', 'n'], [[text, 1]])}\n"
    for shown in (
        markdown_it.MarkdownIt("commonmark").enable("table").render(page),
        markdown.markdown(page, extensions=["tables"]),
    ):
        tags = re.findall(r"</?([a-z0-9]+)", shown)
        assert set(tags) <= {"p", "table", "thead", "tbody", "tr", "th", "td"}
        assert html.unescape(re.sub(r"<[^>]*>", "", shown)).count(" ".join(text.split())) == 2


def test_class_names_are_escaped_in_every_table_of_the_card() -> None:
    name = "<img src=x onerror=alert(1)>"
    rows = (SplitRow("1", "a", name, "train"), SplitRow("2", "b", name, "val"), SplitRow("3", "c", name, "test"))
    score = {"value": 0.5, "low": 0.4, "high": 0.6, "n_patients": 1, "n_slices": 1, "seed": 0, "draws": 9, "unit": "patient"}
    from bts.evaluation.results import with_intervals

    summary = with_intervals({"segmentation": {"class": {name: {"dice": score}}}})
    cases = pd.DataFrame({"label": [name, name], "predicted": [name + "2", name]})
    for text in (parts_table(Split(rows)), group_table(summary, "class"), table(["what"], failure_rows(cases))):
        assert "<" not in text
        assert "&#60;img src=x onerror=alert(1)&#62;" in text
