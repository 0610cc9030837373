"""How do many scans go through? In the networks' own batches, a row each, the failures too; one archive at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bts.apps.web.desk import BATCH, Desk, told
from bts.apps.web.files import BATCH_ZIP, write_zip
from bts.apps.web.intake import bare_name
from bts.apps.web.limits import Deadline
from bts.apps.web.sessions import Session
from bts.data.readers.scan import Scan
from bts.errors import BtsError, RequestError
from bts.inference import write_prediction
from bts.inference.write import RESULT, ResultFolders


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: of the file.
        label: class, or None.
        probability: of that class, or None.
        area: of the mask in pixels, of a volume in voxels; or None.
        consistent: whether mask and class agree, or None.
        refer: whether an expert is asked for.
        note: warnings, or what went wrong.
        failed: whether there is no result.
    """

    name: str
    label: str | None = None
    probability: float | None = None
    area: int | None = None
    consistent: bool | None = None
    refer: bool = False
    note: str = ""
    failed: bool = False


@dataclass
class Batch:
    """Scans on their way.

    Attributes:
        desk: where they are answered.
        session: whose they are.
        folder: where the results go.
        rows: what is done, in the order in which it was finished.
    """

    desk: Desk
    session: Session
    folder: Path
    rows: list[Row] = field(default_factory=list)

    def work(self, paths: Sequence[str | Path]) -> Iterator[list[Row]]:
        """Answer all; yield the rows so far after each step. The archive is there when the last step is done.

        Raises:
            RequestError: no file, or more than the page takes at once.
            GoneError: the visitor has left.
        """
        most = self.desk.limits.files
        if not 0 < len(paths) <= most:
            raise RequestError(f"{len(paths)} files: this page takes 1 to {most} at once, `python infer.py` any number")
        folders, deadline = ResultFolders(self.folder), Deadline(self.desk.limits.batch_seconds)
        waiting: list[tuple[Scan, Path]] = []
        for path in paths:
            self.session.check()
            scan = self._read(path, deadline)
            if scan is not None and scan.volume is not None:
                self._volume(scan, folders.folder(scan.path), deadline)
            elif scan is not None:
                waiting.append((scan, folders.folder(scan.path)))
            if len(waiting) == BATCH:
                self._pictures(waiting)
                waiting = []
            yield self.rows
        if waiting:
            self._pictures(waiting)
        write_zip(self.folder, self.folder / BATCH_ZIP)
        yield self.rows

    def _read(self, path: str | Path, deadline: Deadline) -> Scan | None:
        try:
            deadline.check()
            return self.desk.receive(path, session=self.session)
        except (BtsError, OSError) as error:
            self.rows.append(Row(bare_name(path), note=told(error, path=path), failed=True))
            return None

    def _pictures(self, waiting: Sequence[tuple[Scan, Path]]) -> None:
        answers = self.desk.predictions([scan.slices[0] for scan, _ in waiting])
        for (scan, folder), answer in zip(waiting, answers, strict=True):
            write_prediction(answer, folder)
            self.rows.append(_row(scan, answer.findings(), answer.mask_area_px))

    def _volume(self, scan: Scan, folder: Path, deadline: Deadline) -> None:
        try:
            self.desk.write(scan, folder, session=self.session, deadline=deadline)
        except BtsError as error:
            self.rows.append(Row(scan.path, note=told(error, path=scan.path), failed=True))
            return
        found = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        marked = sum(bool(each["mask_area_px"]) for each in found["slices"])
        notes = [f"{marked} of {len(found['slices'])} slices with a mask", *found["warnings"]]
        self.rows.append(_row(scan, {"warnings": notes}, found["mask_voxels"]))


def _row(scan: Scan, found: dict[str, Any], area: int | None) -> Row:
    label = found.get("class")
    return Row(
        scan.path,
        label=label,
        probability=found["probabilities"][label] if label else None,
        area=area,
        consistent=found.get("consistent"),
        refer=bool(found.get("refer")),
        note="; ".join(found["warnings"]),
    )
