"""Which files can a visitor fetch, and where do they come from? Those of the session's own results and no others."""

from __future__ import annotations

import zipfile
from pathlib import Path

from bts.apps.web.panel import offered
from bts.apps.web.print_page import print_page
from bts.apps.web.sessions import Session, Sessions

BATCH_ZIP = "results.zip"


def result_file(sessions: Sessions, secret: str, name: str) -> Path | None:
    """Return a file of a result, made now where it is made on demand; None where there is none under these names."""
    session = sessions.by_secret(secret)
    if session is None:
        return None
    if name == BATCH_ZIP:
        path = session.folder / "batch" / BATCH_ZIP
        return path if path.is_file() else None
    with session.lock:
        return _of_scan(session, name)


def _of_scan(session: Session, name: str) -> Path | None:
    result = session.result
    if result is None or name not in offered(result):
        return None
    path = result.folder / name
    if name == "print.html" and not path.is_file():
        path.write_text(print_page(result, result.cam_class), encoding="utf-8")
    if name == "all.zip":
        path = result.folder.parent / f"{result.folder.name}.zip"
        write_zip(result.folder, path)
    return path


def write_zip(folder: Path, path: Path) -> None:
    """Write everything under a folder into an archive; pictures are stored, as they are compressed already."""
    part = path.with_suffix(".part")
    with zipfile.ZipFile(part, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file != part and file != path:
                packed = zipfile.ZIP_STORED if file.suffix in (".png", ".gz") else zipfile.ZIP_DEFLATED
                archive.write(file, file.relative_to(folder), compress_type=packed)
    part.replace(path)
