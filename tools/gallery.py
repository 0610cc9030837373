"""The pictures of docs/gallery.md: a hook of mkdocs that runs each block and puts its picture below the code."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import Any

PAGE = "gallery.md"
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n", re.DOTALL)
SAVED = re.compile(r'"(\w+\.png)"')


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Return the page with a picture below each block; mkdocs calls this for every page."""
    if page.file.src_uri != PAGE:
        return markdown
    from mkdocs.structure.files import File

    with tempfile.TemporaryDirectory() as folder:
        pictures = run_blocks(markdown, Path(folder))
    for name, content in pictures.items():
        files.append(File.generated(config, f"images/{name}", content=content))
    shown = iter(pictures)
    return BLOCK.sub(lambda block: f"{block[0]}\n![](images/{next(shown)})\n", markdown)


def run_blocks(markdown: str, folder: Path) -> dict[str, bytes]:
    """Run each block in `folder`; return the picture that each saves, by name."""
    found, before = {}, Path.cwd()
    os.chdir(folder)
    try:
        for block in BLOCK.finditer(markdown):
            exec(compile(block["code"], PAGE, "exec"), {"__name__": "__main__"})
            name = saved_name(block["code"])
            found[name] = Path(name).read_bytes()
    finally:
        os.chdir(before)
    return found


def saved_name(code: str) -> str:
    """Return the name of the picture that a block saves last."""
    return SAVED.findall(code)[-1]
