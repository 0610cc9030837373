"""How does a PNG, JPEG or TIFF become a slice?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from bts.data.slice import Slice
from bts.errors import InputError


def read_picture(path: str | Path) -> Slice:
    """Return the slice of a picture file."""
    try:
        with Image.open(path) as picture:
            image = np.asarray(picture.convert("L") if picture.mode not in ("L", "I", "F", "I;16") else picture)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"not a readable picture ({error})") from error
    return Slice(image=image.astype(np.float32), source="file", path=str(path))
