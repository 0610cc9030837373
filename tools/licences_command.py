"""Page of licences, written from the installed packages and the bundled models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser
from tools.licences import DATA, INSIDE_WHEELS, STARTS, Licence, Weights, all_licences, bundled_weights

PROPRIETARY = "LicenseRef-NVIDIA-Proprietary"
BY_FILE = ("MPL", "EPL", "CDDL")

HEAD = """# Licences

For whoever must approve the software: the licence of this project, of every dependency, and of the weights in the package.
Written by `make licences` on Linux x86-64 with CPython 3.11, from the metadata of the installed packages. On other systems a
few packages differ: there are no CUDA libraries for macOS, for one.

The project itself is under Apache-2.0, see the file `LICENSE`.
"""

JAVASCRIPT = """## JavaScript in the package

The three planes of a volume on the page are shown by `bts/apps/web/static/niivue.umd.js.gz`. It is `dist/niivue.umd.js` of
the npm package `@niivue/niivue` 0.69.0 (BSD-2-Clause), compressed and otherwise unchanged, and holds, with the texts of their
licences in `niivue.LICENSES.txt` beside it: `@ungap/structured-clone` (ISC) and, all MIT, `@lukeed/csprng`, `@lukeed/uuid`,
`@zarrita/storage`, `array-equal`, `fflate`, `gl-matrix`, `nifti-reader-js`, `numcodecs`, `reference-spec-reader`, `unzipit`,
`uzip-module` and `zarrita`. `numcodecs` holds compiled Blosc, LZ4 and Zstandard (BSD), which the page does not use.
"""


def command(argv: Sequence[str]) -> int:
    """Write the page of licences and return the exit status."""
    parser = OneLineParser(prog="python -m tools licences", description="Write the page of licences.")
    parser.add_argument("--out", type=Path, default=Path("docs/licences.md"), metavar="FILE", help="[docs/licences.md]")
    options = parser.parse_args(argv)
    packages = all_licences()
    options.out.write_text(page(packages, bundled_weights()), encoding="utf-8")
    print(f"the licences of {len(packages)} packages are in {options.out}")
    return DONE


def page(packages: list[Licence], models: list[Weights]) -> str:
    """Return the page as Markdown."""
    return "\n".join([HEAD, *notable(packages), *weights(models), JAVASCRIPT, *table(packages)]) + "\n"


def notable(packages: list[Licence]) -> list[str]:
    """Return the section of what a review asks about."""
    proprietary = [each.name for each in packages if PROPRIETARY in each.expression]
    by_file = [each for each in packages if any(word in each.expression for word in BY_FILE)]
    gpl = [each for each in packages if "GPL" in each.expression]
    return [
        "## What a review asks about",
        "",
        "- Not open source: NVIDIA's CUDA libraries, which torch's wheel for Linux requires and its wheel for CPUs does not: "
        f"{', '.join(f'`{name}`' for name in proprietary)}.",
        f"- Copyleft by file: {_stated(by_file)}.",
        f"- Under the GPL, LGPL or AGPL: {_stated(gpl) or 'none'}. Wheels carry these libraries under other terms:",
        "",
        "| wheel | library | licence |",
        "|---|---|---|",
        *(f"| {wheel} | {library} | {licence} |" for wheel, library, licence in INSIDE_WHEELS),
        "",
    ]


def _stated(packages: list[Licence]) -> str:
    return ", ".join(f"`{each.name}` ({each.expression}; {', '.join(each.groups)})" for each in packages)


def weights(models: list[Weights]) -> list[str]:
    """Return the section of the bundled weights and of what they were trained on."""
    sets = dict.fromkeys(name for model in models for name in model.sets)
    return [
        "## Weights in the package",
        "",
        "| model | licence | trained on | training started from | licence of these weights |",
        "|---|---|---|---|---|",
        *(
            f"| `{model.name}` | {model.licence} | {model.trained_on} | {STARTS[model.start][0]} | {STARTS[model.start][1]} |"
            for model in models
        ),
        "",
        "No picture of a training set is in the package. ImageNet's terms allow its pictures for non-commercial research and",
        "education. Whether the terms of training pictures bind weights is not settled: ask a lawyer before commercial use.",
        "",
        "| training set | source | licence of the pictures |",
        "|---|---|---|",
        *(f"| {name} | {DATA[name][0]} | {DATA[name][1]} |" for name in sets),
        "",
    ]


def table(packages: list[Licence]) -> list[str]:
    """Return the section of all packages."""
    return [
        f"## All {len(packages)} packages",
        "",
        '*Needed by* is `core` for every installation, else the extras of `pip install "bts[...]"`.',
        "",
        "| package | version | licence | stated in | needed by |",
        "|---|---|---|---|---|",
        *(
            f"| {each.name} | {each.version} | {each.expression} | {each.stated} | {', '.join(each.groups)} |"
            for each in packages
        ),
    ]
