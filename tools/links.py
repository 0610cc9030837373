"""Check the links between the documents, and those of the built site, without a network."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

from bts.apps.run import DONE, SOME_FAILED, OneLineParser

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"\]\(([^)\s]*)\)")


def command(argv: Sequence[str]) -> int:
    """Print the dead links and return the exit status."""
    parser = OneLineParser(
        prog="python -m tools links",
        description="Check the links between the documents: files, sections, and pages of the site. No address is opened.",
    )
    parser.add_argument(
        "--site", type=Path, default=ROOT / "site", metavar="FOLDER", help="built site, where there is one [site]"
    )
    options = parser.parse_args(argv)
    dead = [*dead_links(ROOT), *dead_pages(options.site)]
    print("\n".join([*dead, f"{len(dead)} dead links"]))
    return SOME_FAILED if dead else DONE


def documents(root: Path) -> list[Path]:
    """Return the documents of a clone."""
    return sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md"), *(root / "data").glob("*.md")])


def dead_links(root: Path) -> Iterator[str]:
    """Yield a line for each link of a document to a missing file or section, or from the site's pages to a file outside."""
    docs = (root / "docs").resolve()
    for page in documents(root):
        where = page.relative_to(root).as_posix()
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            target, _, section = unquote(link).partition("#")
            if "://" in target or target.startswith("mailto:"):
                continue
            file = page.parent / target if target else page
            if not file.exists():
                yield f"{where}: ({link}): no such file"
            elif page.resolve().is_relative_to(docs) and not file.resolve().is_relative_to(docs):
                yield f"{where}: ({link}): outside of docs, so it is dead on the site: write the path as code"
            elif section and file.suffix == ".md" and section not in sections(file):
                yield f"{where}: ({link}): no section of this name in {file.name}"


def sections(page: Path) -> set[str]:
    """Return the anchors of the titles of a page."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^a-z0-9_ -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


class _Page(HTMLParser):
    """Links and anchors of a page of the site."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect `href`, `src`, `id` and `name`."""
        for name, value in attrs:
            if name in ("href", "src") and value:
                self.links.append(value)
            elif name in ("id", "name") and value:
                self.anchors.add(value)


def dead_pages(site: Path) -> Iterator[str]:
    """Yield a line for each link of the built site to a missing file or anchor."""
    pages = {file.resolve(): _Page(file) for file in sorted(site.rglob("*.html")) if file.name != "404.html"}
    for file, page in pages.items():
        for link in dict.fromkeys(page.links):
            target, _, anchor = unquote(link.partition("?")[0]).partition("#")
            if ":" in target or target.startswith("//"):
                continue
            found = (file.parent / target).resolve() if target else file
            if not found.exists():
                yield f"{file.relative_to(site.resolve())}: {link}: no such file"
            elif anchor and found in pages and anchor not in pages[found].anchors:
                yield f"{file.relative_to(site.resolve())}: {link}: no such anchor"
