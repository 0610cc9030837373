"""All data sources: importing this module registers them; a new source is added to the imports here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.data.sources import arrays_npz, brisc, figshare, folders, lgg, manifest
from bts.data.sources.base import Source, sources
from bts.data.sources.picture_files import files_under
from bts.errors import BtsError, RequestError

__all__ = ["arrays_npz", "brisc", "detect_source", "figshare", "folders", "lgg", "manifest", "open_source", "sources"]


def detect_source(path: Path) -> str:
    """Return the name of the source whose layout a path has beyond doubt.

    A table, `manifest.csv` in a folder too, comes before any other layout, as somebody wrote it for this purpose.

    Raises:
        RequestError: nothing there, no known layout, or several.
    """
    if path.suffix.lower() == ".csv" or (path / manifest.FILE_NAME).is_file():
        return "manifest"
    if path.suffix.lower() == ".npz":
        return "npz"
    if not path.is_dir():
        raise RequestError(f"{path}: no such folder, .csv or .npz: name data as NAME:FOLDER (`bts sources` lists the names)")
    layouts = {
        "brisc": (path / brisc.CLASSIFICATION).is_dir(),
        "brisc_seg": (path / brisc.SEGMENTATION).is_dir() and not (path / brisc.CLASSIFICATION).is_dir(),
        "npz": any(file.suffix.lower() == ".npz" for file in path.iterdir()),
        "lgg": any(map(lgg.is_series, path.iterdir())),
        "figshare": any(figshare.is_numbered(file) for file in files_under(path)),
    }
    found = [name for name, is_there in layouts.items() if is_there]
    if len(found) > 1:
        raise RequestError(f"{path}: it has the layouts of {' and '.join(found)}: name one, as {found[0]}:{path}")
    return found[0] if found else "folders"


def open_source(name: str, root: str | Path, *, mask_labels: Sequence[int] = (), skip_unreadable: bool = False) -> Source:
    """Return the source `name`, or that of a class at an import path such as `my_package.MySource`, on the folder `root`.

    Args:
        name: name of a registered source, or an import path.
        root: its folder.
        mask_labels: values of the masks that are tumour; empty for all but 0.
        skip_unreadable: files that cannot be listed are logged and left out.

    Raises:
        RequestError: no source of that name, no data in the folder, or a class that is no source.
    """
    kind = sources.find(name)
    try:
        source = kind(Path(root))
    except BtsError:
        raise
    except Exception as error:
        if name in sources:
            raise
        line = str(error).splitlines()[0] if str(error) else "no message"  # a user's own class may raise anything
        raise RequestError(f"data source '{name}': opening {root} failed ({type(error).__name__}: {line})") from error
    missing = [member for member in ("name", "root", "classes", "synthetic") if not hasattr(source, member)]
    if missing:
        raise RequestError(
            f"data source '{name}': the class does not set {', '.join(missing)}: see bts.data.sources.base.Source"
        )
    if mask_labels:
        source.mask_labels = tuple(mask_labels)
    if skip_unreadable:
        source.skip_unreadable = True
    return source
