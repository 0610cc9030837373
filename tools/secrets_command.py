"""Passwords and keys in the files of the repository, found by detect-secrets without a network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from bts.apps.run import DONE, SOME_FAILED, OneLineParser
from bts.errors import RequestError

ROOT = Path(__file__).resolve().parents[1]
NOT_SCANNED = r"\.(onnx|png|safetensors)$|/model\.json$"
"""Files without text, and model cards, which hold arrays in base64."""
NO_SECRET = r"^(BTS_APP_PASSWORD|sesam.*)$"
"""Values that are no secret: the name of an environment variable, and the password of the tests."""
SCAN = [
    *(sys.executable, "-m", "detect_secrets.pre_commit_hook"),
    "--no-verify",  # or a found key would be tried at the service that it is for
    *("--disable-plugin", "HexHighEntropyString"),  # SHA-256 sums, of which this repository has many, are such strings
    *("--exclude-files", NOT_SCANNED),
    *("--exclude-secrets", NO_SECRET),
]


def command(argv: Sequence[str]) -> int:
    """Scan files, or all that git tracks; list what looks like a secret, and return the exit status."""
    parser = OneLineParser(
        prog="python -m tools secrets",
        description="Look for passwords and keys in files, by default in all that git tracks.",
        epilog="A value that is no secret takes the comment `pragma: allowlist secret` on its line.",
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="[all that git tracks]")
    files = parser.parse_args(argv).files or tracked()
    if find_spec("detect_secrets") is None:
        raise RequestError("detect-secrets is not installed: pip install -c constraints.txt 'bts[dev]'")
    ended = subprocess.run([*SCAN, *files], capture_output=True, text=True, check=False)
    if ended.returncode not in (0, 1) or (ended.returncode and not ended.stdout):
        raise RequestError(f"detect-secrets failed: {' '.join(ended.stderr.split()[-20:])}")
    print(ended.stdout.strip() or f"secrets: none in {len(files)} files")
    return SOME_FAILED if ended.returncode else DONE


def tracked() -> list[str]:
    """Return the files that git tracks and that are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        raise RequestError(f"{ROOT}: git lists no files there ({listed.stderr.strip()}): name the files to scan")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
