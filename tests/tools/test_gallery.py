"""The hook that puts pictures below the code of the gallery; the code itself is run with the other documents' blocks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import gallery

ROOT = Path(__file__).resolve().parents[2]
TEXT = """# Gallery

```python
from PIL import Image
Image.new("L", (3, 2)).save("first.png")
```

More.

```python
from pathlib import Path
Path("second.png").write_bytes(b"drawn")
```
"""


def test_each_block_is_followed_by_the_picture_that_it_saves() -> None:
    pytest.importorskip("mkdocs", reason="the site is built by: pip install 'bts[docs]'")
    files: list = []
    config = SimpleNamespace(site_dir="site", use_directory_urls=False, plugins=SimpleNamespace(_current_plugin="gallery"))
    page = SimpleNamespace(file=SimpleNamespace(src_uri="gallery.md"))
    shown = gallery.on_page_markdown(TEXT, page=page, config=config, files=files)
    assert [each.src_uri for each in files] == ["images/first.png", "images/second.png"]
    assert files[1].content_bytes == b"drawn"
    assert shown.replace("\n![](images/first.png)\n", "").replace("\n![](images/second.png)\n", "") == TEXT
    assert shown.index("images/first.png") < shown.index("More.") < shown.index("images/second.png")


def test_other_pages_stay_as_they_are() -> None:
    page = SimpleNamespace(file=SimpleNamespace(src_uri="index.md"))
    assert gallery.on_page_markdown(TEXT, page=page, config=None, files=None) == TEXT


def test_every_block_of_the_page_saves_one_picture_of_its_own() -> None:
    blocks = gallery.BLOCK.findall((ROOT / "docs" / "gallery.md").read_text(encoding="utf-8"))
    names = [gallery.saved_name(block) for block in blocks]
    assert len(set(names)) == len(names) >= 5
