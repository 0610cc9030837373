"""Files that a visitor may fetch: those of the session's own results."""

from __future__ import annotations

import zipfile
from pathlib import Path

from bts.apps.web.result import BATCH_ZIP, PRINT, offered
from bts.apps.web.sessions import Session, Sessions
from bts.apps.web.views import print_page
from bts.atomic import replacing


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


def settle(session: Session) -> None:
    """Write the page for printing now and let the scan itself go: a program fetches files, it does not look around."""
    with session.lock:
        _of_scan(session, PRINT)
        session.result = None


def _of_scan(session: Session, name: str) -> Path | None:
    result, folder = session.result, session.written
    if folder is None or name not in offered(folder):
        return None
    path = folder / name
    if name == PRINT and not path.is_file() and result is not None:
        path.write_text(print_page(result, result.cam_class), encoding="utf-8")
    if name == "all.zip":
        path = folder.parent / f"{folder.name}.zip"
        write_zip(folder, path)
    return path if path.is_file() else None


def write_zip(folder: Path, path: Path) -> None:
    """Write everything under a folder into an archive; pictures are stored, as they are compressed already."""
    with replacing(path) as part, zipfile.ZipFile(part, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file not in (part, path):
                packed = zipfile.ZIP_STORED if file.suffix in (".png", ".gz") else zipfile.ZIP_DEFLATED
                archive.write(file, file.relative_to(folder), compress_type=packed)
