"""All data sources: importing this module registers them; a new source is added to the imports here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.data.sources import arrays_npz, brisc, figshare, folders, manifest
from bts.data.sources.base import Source, sources
from bts.errors import BtsError, RequestError

__all__ = ["arrays_npz", "brisc", "figshare", "folders", "manifest", "open_source"]


def open_source(name: str, root: str | Path, *, mask_labels: Sequence[int] = ()) -> Source:
    """Return the source `name`, or that of a class at an import path such as `my_package.MySource`, on the folder `root`.

    Args:
        name: of a registered source, or an import path.
        root: its folder.
        mask_labels: values of the masks that are tumour; empty for all but 0.

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
    return source
