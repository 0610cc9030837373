"""Which sides does a split file name? Read leniently: a file that leaks is what the audit is for, `Split.read` refuses it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

from bts.audit.pictures import AuditSet
from bts.data.sources.labels import part_name
from bts.errors import RequestError
from bts.glossary import Part


def read_sides(each: AuditSet, file: Path) -> AuditSet:
    """Return the set with the parts, and where the file has them the patients, of a CSV with `path, part` and `patient`.

    Raises:
        RequestError: with the path in front: not readable, a missing column, an unknown part, a slice named twice.
    """
    parts: dict[str, Part] = {}
    patients: dict[str, str] = {}
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            missing = [name for name in ("path", "part") if name not in (reader.fieldnames or ())]
            if missing:
                raise RequestError(f"a split to audit needs the columns path and part; {', '.join(missing)} is missing")
            for cells in reader:
                path, part = cells["path"].strip(), part_name(cells["part"] or "")
                if part is None:
                    raise RequestError(f"line {reader.line_num}: part '{cells['part']}': expected train, val or test")
                if path in parts:
                    raise RequestError(f"line {reader.line_num}: slice {path} is named twice: name each slice once")
                parts[path] = part
                if (cells.get("patient") or "").strip():
                    patients[path] = cells["patient"].strip()
    except RequestError as error:
        raise error.at(file) from error
    except OSError as error:
        raise RequestError(
            f"{file}: the split can't be read ({error.strerror}): give a CSV with path, part, patient"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestError(f"{file}: no CSV in UTF-8 ({error}): give a text file with path, part, patient") from error
    return replace(each, parts=parts, patients=patients)
