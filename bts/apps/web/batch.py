"""Batch of many scans: one row each, failures included, and one archive at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bts.apps.web.desk import BATCH, BATCH_PIXELS, Desk, format_error
from bts.apps.web.files import write_zip
from bts.apps.web.intake import bare_name
from bts.apps.web.limits import Deadline
from bts.apps.web.result import BATCH_ZIP, Row
from bts.apps.web.sessions import Session
from bts.data.readers.scan import Scan
from bts.errors import BtsError, RequestError
from bts.inference.resume import ResultFolders
from bts.inference.statements import REFER
from bts.inference.write import RESULT, write_prediction


@dataclass
class Batch:
    """Scans on their way.

    Attributes:
        desk: where they are answered.
        session: whose they are.
        folder: where the results go.
        done: row of each file that is done, by its place among the files.
    """

    desk: Desk
    session: Session
    folder: Path
    done: dict[int, Row] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """What is done, in the order of the files."""
        return [self.done[number] for number in sorted(self.done)]

    def work(self, paths: Sequence[str | Path]) -> Iterator[list[Row]]:
        """Answer all, until the visitor stops it; yield the rows so far after each step. The archive is there with the last.

        Raises:
            RequestError: no file, or more than the page takes at once.
            GoneError: the visitor has left.
        """
        most = self.desk.limits.files
        if not 0 < len(paths) <= most:
            raise RequestError(f"{len(paths)} files: this page takes 1 to {most} at once, `python infer.py` any number")
        folders, deadline = ResultFolders(self.folder), Deadline(self.desk.limits.batch_seconds)
        waiting: list[tuple[int, Scan, Path]] = []
        for number, path in enumerate(paths):
            self.session.check()
            if self.session.stopped:
                waiting = []
                break
            arrived: list[tuple[int, Scan, Path]] = []
            try:
                deadline.check()
                self.desk.sessions.check_room()
                scan = self.desk.receive(path, session=self.session)
                folder = folders.folder(scan.path)
                if scan.volume is None:
                    arrived.append((number, scan, folder))
                else:
                    self.done[number] = self._volume(scan, folder, deadline)
            except (BtsError, OSError) as error:
                self.done[number] = Row(bare_name(path), note=format_error(error, path=path), failed=True)
            if waiting and _pixels([*waiting, *arrived]) > BATCH_PIXELS:
                self._pictures(waiting)
                waiting = []
            waiting += arrived
            if len(waiting) == BATCH:
                self._pictures(waiting)
                waiting = []
            yield self.rows
        if waiting:
            self._pictures(waiting)
        write_zip(self.folder, self.folder / BATCH_ZIP)
        yield self.rows

    def _pictures(self, waiting: Sequence[tuple[int, Scan, Path]]) -> None:
        answers = self.desk.predictions([scan.slices[0] for _, scan, _ in waiting])
        for (number, scan, folder), answer in zip(waiting, answers, strict=True):
            write_prediction(answer, folder)
            self.done[number] = _row(scan, answer.findings(), answer.mask_area_px)

    def _volume(self, scan: Scan, folder: Path, deadline: Deadline) -> Row:
        self.desk.write(scan, folder, session=self.session, deadline=deadline)
        found = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        marked = sum(bool(each["mask_area_px"]) for each in found["slices"])
        notes = [f"{marked} of {len(found['slices'])} slices with a mask", *found["warnings"]]
        return _row(scan, {"warnings": notes}, found["mask_voxels"])


def _pixels(waiting: Sequence[tuple[int, Scan, Path]]) -> int:
    return sum(scan.slices[0].image.size for _, scan, _ in waiting)


def _row(scan: Scan, found: dict[str, Any], area: int | None) -> Row:
    label, refer = found.get("class"), bool(found.get("refer"))
    return Row(
        scan.path,
        label=label,
        probability=found["probabilities"][label] if label else None,
        area=area,
        consistent=None if found.get("agreement") is None else found["agreement"] == "agree",
        refer=refer,
        note="; ".join(sorted(found["warnings"], key=lambda line: refer and not line.startswith(REFER))),
    )
