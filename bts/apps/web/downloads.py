"""Downloads: the files of a session's own results."""

from __future__ import annotations

import zipfile
from pathlib import Path

from bts.apps.web.planes import write_view
from bts.apps.web.result import ALL, BATCH_ZIP, PRINT, VIEW, available_files
from bts.apps.web.sessions import Session, SessionStore
from bts.apps.web.views import print_page
from bts.atomic import replacing


def find_result_file(sessions: SessionStore, secret: str, name: str) -> Path | None:
    """Return a file of a result, created on demand where necessary; None if there is none under this secret and name."""
    session = sessions.by_secret(secret)
    if session is None:
        return None
    if name == BATCH_ZIP:
        path = session.folder / "batch" / BATCH_ZIP
        return path if path.is_file() else None
    with session.lock:
        return _of_scan(session, name)


def keep_files_only(session: Session) -> None:
    """Write the print page and drop the scan from memory: an API client only downloads files."""
    with session.lock:
        _of_scan(session, PRINT)
        session.result = None


def _of_scan(session: Session, name: str) -> Path | None:
    result, folder = session.result, session.result_folder
    if folder is not None and name == VIEW and result is not None and result.is_volume:
        return write_view(result.scan, folder.parent / VIEW)
    if folder is None or name not in available_files(folder):
        return None
    path = folder / name
    if name == PRINT and not path.is_file() and result is not None:
        path.write_text(print_page(result, result.cam_class), encoding="utf-8")
    if name == ALL:
        path = folder.parent / f"{folder.name}.zip"
        write_zip(folder, path)
    return path if path.is_file() else None


def write_zip(folder: Path, path: Path) -> None:
    """Archive a folder; compressed pictures are stored as they are."""
    with replacing(path) as part, zipfile.ZipFile(part, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and file not in (part, path):
                packed = zipfile.ZIP_STORED if file.suffix in (".png", ".gz") else zipfile.ZIP_DEFLATED
                archive.write(file, file.relative_to(folder), compress_type=packed)
