"""Files, commands, options, settings and names in the documents' code blocks exist."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from bts.apps import cli
from bts.fields import leaf_hints
from bts.settings import SETTINGS
from tools.links import dead_links, dead_pages

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "data" / "README.md"])
FOREIGN = {"cd", "git", "python", "pip", "make", "tensorboard", "torchrun", ".", ".venv\\Scripts\\activate", ".ci/run", "bts"}
TAKE_SETTINGS = {"preview", "benchmark", "crossval"}
"""Commands whose options are also all settings of a training."""


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each command in indented blocks, without comments."""
    for line in text.splitlines():
        if line.startswith("    ") and line.strip() and not line.lstrip().startswith(("|", "-", "*")):
            words = shlex.split(line.strip().replace("\\", "\\\\").replace("<time>", "TIME"), comments=True)
            if words and words[0] in FOREIGN:
                yield words


def told(document: Path) -> list[list[str]]:
    return list(commands(document.read_text(encoding="utf-8")))


def options_of(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert cli.main([*shlex.split(name), "--help"]) == 0
    return capsys.readouterr().out


def test_the_documents_are_found_and_hold_commands() -> None:
    assert len(DOCUMENTS) >= 10
    assert len([words for document in DOCUMENTS for words in told(document)]) >= 40


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_exists_with_its_options(document: Path, capsys: pytest.CaptureFixture[str]) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    for words in told(document):
        line = " ".join(words)
        options = [word.split("=")[0] for word in words if word.startswith("--")]
        if words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= set(targets), line
        elif words[0] == "bts":
            assert words[1] in cli.COMMANDS, line
            known = options_of(words[1], capsys)
            if words[1] in TAKE_SETTINGS:
                known += " ".join(f"--{key}" for task in SETTINGS for key, _ in leaf_hints(SETTINGS[task]))
            assert all(option in known for option in options), line
        elif script := next((word for word in words if re.fullmatch(r"(train_\w+|infer)\.py", word)), None):
            assert (ROOT / script).is_file(), line
            known = options_of("infer" if script == "infer.py" else f"train {script[6:-3]}", capsys)
            of_script = [option for option in options if words.index(script) < line_position(words, option)]
            assert all(option in known for option in of_script), line
        for word in words:
            if word.startswith("configs/"):
                assert (ROOT / word).is_file(), line


def line_position(words: list[str], option: str) -> int:
    return next(number for number, word in enumerate(words) if word.split("=")[0] == option)


def test_every_link_leads_somewhere_on_the_site_too() -> None:
    assert list(dead_links(ROOT)) == []


def test_dead_links_are_found(tmp_path: Path) -> None:
    for name in ("docs", "other", "site"):
        (tmp_path / name).mkdir()
    (tmp_path / "README.md").write_text(
        "# One\n[a](docs/a.md#two-words) [b](docs/gone.md) [c](#one) [d](#no) [e](https://x.org/gone)"
    )
    (tmp_path / "docs" / "a.md").write_text("# Two `words`\n[a](../README.md) [b](a.md#two-words)")
    (tmp_path / "site" / "index.html").write_text(
        '<p id="here"><a href="#here"><a href="a.html#no"><img src="b.png"><a href="https://x.org">'
    )
    (tmp_path / "site" / "a.html").write_text('<a href="index.html#here">')
    assert [line.partition(":")[0] for line in dead_links(tmp_path)] == ["README.md", "README.md", "docs/a.md"]
    assert [line.split(": ")[1:] for line in dead_pages(tmp_path / "site")] == [
        ["a.html#no", "no such anchor"],
        ["b.png", "no such file"],
    ]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_in_documents_names_what_there_is(document: Path) -> None:
    for block in re.findall(r"```python\n(.*?)```", document.read_text(encoding="utf-8"), flags=re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names), block


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_settings_in_documents_exist(document: Path) -> None:
    known = {key for task in SETTINGS for key, _ in leaf_hints(SETTINGS[task])}
    groups = {name.split(".")[0] for name in known if "." in name}
    for name in re.findall(r"--([a-z]+\.[a-z_]+)", document.read_text(encoding="utf-8")):
        assert name.split(".")[0] not in groups or name in known, name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_of_the_package_named_in_documents_exists(document: Path) -> None:
    named = re.findall(r"\b(?:bts|tests|tools)/(?:[a-z0-9_]+/)*[a-z0-9_]+\.py\b", document.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_the_architecture_page_names_every_package_and_follows_a_slice_and_a_setting() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    packages = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "bts").glob("*/__init__.py")}
    assert packages <= set(re.findall(r"^\| `(bts/[a-z]+)` \|", text, flags=re.MULTILINE))
    for title in ("One slice, from `.mat` to `overlay.png`", "One setting, from YAML to where it acts"):
        section = text.partition(f"## {title}\n")[2].partition("\n## ")[0]
        assert len(set(re.findall(r"bts/[a-z0-9_/]+\.py", section))) >= 8, title


def test_no_document_or_module_names_a_private_machine() -> None:
    private = re.compile(r"/tmp/figshare|/root/|(?<![\w.])/work/")
    files = [*DOCUMENTS, *(ROOT / "bts").rglob("*.py"), *(ROOT / "configs").rglob("*.yaml"), ROOT / "Makefile"]
    assert [path for path in files if private.search(path.read_text(encoding="utf-8"))] == []
