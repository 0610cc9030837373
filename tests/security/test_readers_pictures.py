"""Pictures of users are opened in one place, with a list of formats: no file name starts another program."""

from __future__ import annotations

import ast
import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hostile_files import png, zeros
from PIL import Image

from bts.data.readers.catalogue import read_scan
from bts.data.readers.picture import FORMATS, open_picture
from bts.data.sources.manifest import Manifest
from bts.data.sources.picture_files import read_mask
from bts.errors import InputError

ROOT = Path(__file__).resolve().parents[2]
HOME = "bts/data/readers/picture.py"
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is there once anything was started under the names of Ghostscript."""
    mark, programs = tmp_path / "started", tmp_path / "programs"
    programs.mkdir()
    for name in ("gs", "gswin32c", "gswin64c"):
        program = programs / name
        program.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # looked for once a process
    assert shutil.which("gs") == str(programs / "gs")
    return mark


def in_a_set(root: Path, mask: bytes) -> Manifest:
    """A set of one picture with a mask of any bytes."""
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(root / "a.png")
    (root / "mask.png").write_bytes(mask)
    (root / "manifest.csv").write_text("path,mask,label\na.png,mask.png,glioma\n")
    return Manifest(root)


def test_a_mask_that_is_postscript_starts_nothing(started: Path, tmp_path: Path) -> None:
    source = in_a_set(tmp_path, POSTSCRIPT)
    with pytest.raises(InputError, match=r"mask\.png: not a readable mask picture \(no picture in it\): export"):
        source.read(source.records()[0])
    assert not started.exists()


def test_the_trap_itself_works(started: Path) -> None:
    with Image.open(io.BytesIO(POSTSCRIPT)) as picture, pytest.raises(OSError):  # noqa: PT011  # whatever Pillow says
        picture.load()
    assert started.exists()


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif"])
def test_a_scan_that_is_postscript_starts_nothing(name: str, started: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(POSTSCRIPT)
    with pytest.raises(InputError, match="not a readable picture"):
        read_scan(tmp_path / name)
    assert not started.exists()


@pytest.mark.parametrize("kind", ["TGA", "PPM", "ICO", "PDF", "JPEG2000", "PCX"])
def test_masks_of_other_formats_are_refused(kind: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.eye(16, dtype=np.uint8) * 255).save(buffer, kind)
    (tmp_path / "mask.png").write_bytes(buffer.getvalue())
    with pytest.raises(InputError, match=r"mask\.png: not a readable mask picture"):
        read_mask(tmp_path / "mask.png")


@pytest.mark.parametrize("kind", FORMATS)
def test_masks_of_the_known_formats_are_read(kind: str, tmp_path: Path) -> None:
    mask = np.zeros((16, 16), np.uint8)
    mask[:8] = 255
    Image.fromarray(mask).save(tmp_path / "mask.any", kind)
    np.testing.assert_array_equal(read_mask(tmp_path / "mask.any"), mask > 0)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (png(20_000, 20_000), "a picture of .*: at most 8192 a side are accepted"),
        (png(8192, 8192, colour=2, pixels=zeros(2**20)), "the picture claims 256 MiB"),
        (b"", "not a readable mask picture"),
    ],
    ids=["large", "bomb", "empty"],
)
def test_a_mask_has_the_limits_of_a_picture(mask: bytes, message: str, tmp_path: Path) -> None:
    source = in_a_set(tmp_path, mask)
    with pytest.raises(InputError, match=rf"mask\.png: {message}") as caught:
        source.read(source.records()[0])
    assert "\n" not in str(caught.value)


def test_an_error_of_the_caller_is_told_as_one_of_the_picture(tmp_path: Path) -> None:
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[:-30])
    with pytest.raises(InputError, match="not a readable thing"), open_picture(tmp_path / "a.png", what="thing") as picture:
        picture.load()


# --- nowhere else ----------------------------------------------------------------------------------------------------------


def opened_elsewhere(path: str, text: str) -> list[str]:
    """Return where a module opens pictures by itself: Pillow's `open` under any name, or a library's `imread`."""
    tree = ast.parse(text)
    found, modules = [], set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            modules |= {alias.asname or alias.name for alias in node.names if (node.module, alias.name) == ("PIL", "Image")}
            found += [node.lineno for alias in node.names if (node.module, alias.name) == ("PIL.Image", "open")]
            found += [node.lineno for alias in node.names if alias.name in ("imread", "imdecode", "read_image", "decode_image")]
        elif isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name for alias in node.names if alias.name == "PIL.Image"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            opens = node.attr == "open" and ast.unparse(node.value) in modules
            if opens or node.attr in ("imread", "imdecode", "read_image", "decode_image"):
                found.append(node.lineno)
    return [f"{path}:{line}" for line in sorted(found)]


def test_pictures_are_opened_in_one_place() -> None:
    files = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in (ROOT / "bts").rglob("*.py")}
    assert len(opened_elsewhere(HOME, files.pop(HOME))) == 1
    assert [place for path, text in files.items() for place in opened_elsewhere(path, text)] == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("from PIL import Image\nImage.open('a')", 2),
        ("from PIL import Image as Picture\n\nPicture.open('a')", 3),
        ("import PIL.Image\nPIL.Image.open('a')", 2),
        ("import PIL.Image as P\nP.open('a')", 2),
        ("def f():\n    from PIL.Image import open as start", 2),
        ("from PIL import Image\nread = Image.open", 2),
        ("import cv2\ncv2.imread('a')", 2),
        ("from skimage.io import imread\n", 1),
        ("from torchvision.io import read_image\n", 1),
    ],
)
def test_a_planted_opening_is_found(text: str, line: int) -> None:
    assert opened_elsewhere("bts/planted.py", text) == [f"bts/planted.py:{line}"]


def test_other_openings_are_none() -> None:
    assert opened_elsewhere("bts/a.py", "import zipfile\nfrom PIL import Image\nopen('a')\nzipfile.open\nImage.new('L')") == []
