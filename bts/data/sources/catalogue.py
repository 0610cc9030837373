"""Which data sources are there? Importing this module registers all of them; a new source is added to the imports here."""

from __future__ import annotations

from pathlib import Path

from bts.data.sources import arrays_npz, brisc, figshare, folders, manifest
from bts.data.sources.base import Source, sources

__all__ = ["arrays_npz", "brisc", "figshare", "folders", "manifest", "open_source"]


def open_source(name: str, root: str | Path) -> Source:
    """Return the source `name` on the folder `root`.

    Raises:
        RequestError: no source of that name, or no data in the folder.
    """
    return sources[name](Path(root))
