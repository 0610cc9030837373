"""Losses and scores of each epoch as one CSV in the run, whole after every epoch."""

from __future__ import annotations

from pathlib import Path

from bts.atomic import replacing
from bts.csv_files import dict_reader, dict_writer

Row = dict[str, float | int | str]


class Curves:
    """Rows of `curves.csv`, one an epoch: `epoch` (from 1, over both stages), `stage`, then losses and scores by name."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []
        if path.is_file():
            with path.open(encoding="utf-8", newline="") as file:
                self.rows = list(dict_reader(file))

    def cut(self, epoch: int) -> None:
        """Forget what came after `epoch`: a resumed run does it again."""
        self.rows = [row for row in self.rows if int(row["epoch"]) <= epoch]

    def append(self, row: Row) -> None:
        """Add an epoch and write the file anew, atomically."""
        written = {name: f"{value:.6g}" if isinstance(value, float) else str(value) for name, value in row.items()}
        self.rows.append(written)
        names = list(dict.fromkeys(name for each in self.rows for name in each))
        with replacing(self.path) as part, part.open("w", encoding="utf-8", newline="") as file:
            writer = dict_writer(file, names)
            writer.writeheader()
            writer.writerows(self.rows)
