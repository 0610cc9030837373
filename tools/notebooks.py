"""Run the notebooks from top to bottom, each in a folder of its own, without a kernel."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, SOME_FAILED, OneLineParser

FOLDER = Path("notebooks")
COMMAND = re.compile(r"^!(.+)$", re.MULTILINE)
"""A line for the shell, in which IPython replaces `{name}` by a variable."""


def command(argv: Sequence[str]) -> int:
    """Run the notebooks and return the exit status."""
    parser = OneLineParser(prog="python -m tools notebooks", description="Run the notebooks from top to bottom.")
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="NOTEBOOK", help="files [all of notebooks/]")
    failed = [file for file in parser.parse_args(argv).notebooks or sorted(FOLDER.glob("*.ipynb")) if not run(file)]
    for file in failed:
        print(f"error: {file}: failed, see above", file=sys.stderr)
    return SOME_FAILED if failed else DONE


def run(file: Path) -> bool:
    """Run a notebook in a temporary folder; return whether all of it ran."""
    print(f"{file}:", flush=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    python_path = os.pathsep.join([str(Path.cwd()), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PATH": path, "PYTHONPATH": python_path, "MPLBACKEND": "agg"}
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / f"{file.stem}.py"
        script.write_text(as_script(file.read_text(encoding="utf-8")), encoding="utf-8")
        return subprocess.run([sys.executable, script.name], cwd=folder, env=environment).returncode == 0


def as_script(notebook: str) -> str:
    """Return the code of a notebook (its JSON) as a script."""
    cells = ["".join(cell["source"]) for cell in json.loads(notebook)["cells"] if cell["cell_type"] == "code"]
    code = COMMAND.sub(lambda line: f'subprocess.run(f"""{line[1]}""", shell=True, check=True)', "\n\n".join(cells))
    return f"import subprocess\n\n{code}\n"
