"""Batch analysis: one table row per scan, failures included, and one archive at the end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bts.apps.web.downloads import write_zip
from bts.apps.web.limits import Deadline
from bts.apps.web.result import BATCH_ZIP, Row
from bts.apps.web.service import BATCH_PIXELS, BATCH_SIZE, AnalysisService, format_error
from bts.apps.web.sessions import Session
from bts.apps.web.upload_reader import bare_name
from bts.data.readers.scan import Scan
from bts.errors import BtsError, RequestError
from bts.inference.resume import ResultFolders
from bts.inference.statements import REFER
from bts.inference.write import RESULT, write_prediction


@dataclass
class Batch:
    """Analysis of many scans.

    Attributes:
        service: predicts the scans.
        session: session of the visitor.
        folder: output folder.
        done: rows of the finished files, by position in the list of files.
    """

    service: AnalysisService
    session: Session
    folder: Path
    done: dict[int, Row] = field(default_factory=dict)

    @property
    def rows(self) -> list[Row]:
        """Rows so far, in the order of the files."""
        return [self.done[number] for number in sorted(self.done)]

    def run(self, paths: Sequence[str | Path]) -> Iterator[list[Row]]:
        """Predict all files until stopped; yield the rows so far after each step. The archive is complete with the last ones.

        Raises:
            RequestError: no file, or more than the limit.
            SessionClosedError: the session was closed.
        """
        limit = self.service.limits.files
        if not 0 < len(paths) <= limit:
            raise RequestError(f"{len(paths)} files: this page takes 1 to {limit} at once, `python infer.py` any number")
        folders, deadline = ResultFolders(self.folder), Deadline(self.service.limits.batch_seconds)
        pending: list[tuple[int, Scan, Path]] = []
        for number, path in enumerate(paths):
            self.session.check()
            if self.session.stopped:
                pending = []
                break
            received: list[tuple[int, Scan, Path]] = []
            try:
                deadline.check()
                self.service.sessions.check_room()
                scan = self.service.receive(path, session=self.session)
                folder = folders.folder(scan.path)
                if scan.volume is None:
                    received.append((number, scan, folder))
                else:
                    self.done[number] = self._volume(scan, folder, deadline)
            except (BtsError, OSError) as error:
                self.done[number] = Row(bare_name(path), note=format_error(error, path=path), failed=True)
            if pending and _pixels([*pending, *received]) > BATCH_PIXELS:
                self._pictures(pending)
                pending = []
            pending += received
            if len(pending) == BATCH_SIZE:
                self._pictures(pending)
                pending = []
            yield self.rows
        if pending:
            self._pictures(pending)
        write_zip(self.folder, self.folder / BATCH_ZIP)
        yield self.rows

    def _pictures(self, pending: Sequence[tuple[int, Scan, Path]]) -> None:
        predictions = self.service.predict([scan.slices[0] for _, scan, _ in pending])
        for (number, scan, folder), prediction in zip(pending, predictions, strict=True):
            write_prediction(prediction, folder)
            self.done[number] = _row(scan, prediction.findings(), prediction.mask_area_px)

    def _volume(self, scan: Scan, folder: Path, deadline: Deadline) -> Row:
        self.service.write(scan, folder, session=self.session, deadline=deadline)
        findings = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        with_mask = sum(bool(each["lesion_area_px"]) for each in findings["slices"])
        notes = [f"{with_mask} of {len(findings['slices'])} slices with a mask", *findings["warnings"]]
        refer = any(line.startswith(REFER) for line in notes)
        return _row(scan, findings | {"warnings": notes, "refer": refer}, findings["mask_voxels"])


def _pixels(pending: Sequence[tuple[int, Scan, Path]]) -> int:
    return sum(scan.slices[0].image.size for _, scan, _ in pending)


def _row(scan: Scan, findings: dict[str, Any], area: int | None) -> Row:
    label, refer = findings.get("class"), bool(findings.get("refer"))
    return Row(
        scan.path,
        label=label,
        probability=(findings.get("probabilities") or {}).get(label),
        area=area,
        consistent=None if findings.get("agreement") is None else findings["agreement"] == "agree",
        refer=refer,
        note="; ".join(sorted(findings["warnings"], key=lambda line: refer and not line.startswith(REFER))),
    )
