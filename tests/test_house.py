"""Structure of the package: layers, import cycles, libraries and other rules, checked on the syntax trees."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("data", "models", "training", "inference", "export", "audit", "evaluation", "report", "experiments", "apps")
"""From low to high; what lies directly in `bts/` is the bottom, under all of them."""

ONLY_HERE = {
    "lightning": ("bts/training/",),
    "pytorch_lightning": ("bts/training/",),
    "matplotlib": ("bts/report/",),
    "jinja2": ("bts/report/", "bts/apps/web/", "bts/markup.py"),
    "albumentations": ("bts/data/augment.py",),
    "argparse": ("bts/apps/",),
    "jsonargparse": ("bts/apps/",),
    "gradio": ("bts/apps/",),
    "dicomweb_client": ("bts/data/dicomweb.py",),
    "highdicom": ("bts/inference/writers/",),
    "ray": ("bts/cluster.py",),
    "fsspec": ("bts/data/object_store.py",),
    "pyarrow": ("bts/data/object_store.py",),
}
"""Library -> where alone it may be named, imports inside functions too."""

HEAVY = ("torch", "torchvision", "monai", "lightning", "timm", "segmentation_models_pytorch", "albumentations")
LIGHT = (
    "bts/*.py",
    "bts/apps/*.py",
    "bts/data/arrays.py",
    "bts/data/cache.py",
    "bts/data/download.py",
    "bts/data/patient_ids.py",
    "bts/data/phantom.py",
    "bts/data/preprocess.py",
    "bts/data/slice.py",
    "bts/data/split.py",
    "bts/data/split_making.py",
    "bts/data/readers/*.py",
    "bts/data/sources/*.py",
    "bts/models/folder.py",
    "bts/inference/__init__.py",
    "bts/inference/drawing.py",
    "bts/inference/prediction.py",
    "bts/inference/runtimes/exported.py",
    "bts/inference/runtimes/catalogue.py",
    "bts/inference/runtimes/onnx.py",
    "bts/inference/runtimes/onnx_metadata.py",
    "bts/inference/runtimes/openvino.py",
    "bts/inference/predictor.py",
    "bts/inference/write.py",
)
"""Modules whose import must bring in none of `HEAVY`, not even through another module: they serve where there is no torch."""

NOT_INSTALLED = {"tools", "bench", "tests"}
NAMES_WITHOUT_A_HOME = {"utils", "util", "common", "helpers", "helper", "misc"}


class Import(NamedTuple):
    """One imported name: `bts.data.slice`, its line, and whether importing the module alone runs it."""

    name: str
    line: int
    at_import: bool


class Module(NamedTuple):
    """One file of the house: path from the root with forward slashes, and its syntax tree."""

    path: str
    tree: ast.Module

    @property
    def name(self) -> str:
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def layer(self) -> int:
        return layer_of(self.name)

    @functools.cache  # noqa: B019
    def nodes(self) -> list[ast.Call | ast.ExceptHandler]:
        """Calls and handlers of exceptions, found in one walk for all rules."""
        return [node for node in ast.walk(self.tree) if isinstance(node, (ast.Call, ast.ExceptHandler))]

    @functools.cache  # noqa: B019
    def imports(self) -> list[Import]:
        return list(
            walk_imports(self.tree, package=self.name if self.path.endswith("__init__.py") else self.name.rpartition(".")[0])
        )


def layer_of(name: str) -> int:
    """Number of a module's layer; -1 for the bottom, and for what is none of ours."""
    parts = name.split(".")
    return LAYERS.index(parts[1]) if parts[0] == "bts" and len(parts) > 1 and parts[1] in LAYERS else -1


def walk_imports(node: ast.AST, *, package: str, at_import: bool = True) -> Iterator[Import]:
    """Yield every import under a node; what stands in a function or under TYPE_CHECKING does not run at import."""
    for child in ast.iter_child_nodes(node):
        runs = at_import and not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) and not types_only(child)
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, runs) for alias in child.names)
        elif isinstance(child, ast.expr):
            continue  # which holds no statement, and is most of a tree
        elif isinstance(child, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - child.level + 1] if child.level else []
            base = ".".join([*above, *([child.module] if child.module else [])])
            yield Import(base, child.lineno, runs)
            yield from (Import(f"{base}.{alias.name}", child.lineno, runs) for alias in child.names)
        else:
            yield from walk_imports(child, package=package, at_import=runs)


def types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


@functools.cache
def house(root: Path = ROOT) -> dict[str, Module]:
    """Every module of `bts/` by its dotted name."""
    files = sorted((root / "bts").rglob("*.py"))
    modules = [Module(path.relative_to(root).as_posix(), ast.parse(path.read_text(encoding="utf-8"))) for path in files]
    return {module.name: module for module in modules}


def imports_up(modules: dict[str, Module]) -> list[str]:
    return [
        f"{module.path}:{each.line} imports {each.name}, which lies above it"
        for module in modules.values()
        if module.path != "bts/__init__.py"  # the public API, which imports a name when it is first used
        for each in module.imports()
        if layer_of(each.name) > module.layer
    ]


def outside_the_package(modules: dict[str, Module]) -> list[str]:
    return [
        f"{module.path}:{each.line} imports {each.name}, which is not installed"
        for module in modules.values()
        for each in module.imports()
        if each.name.split(".")[0] in NOT_INSTALLED
    ]


def import_cycles(modules: dict[str, Module]) -> list[str]:
    """Groups of modules that reach each other, with every import between them; imports in functions and for types count too."""
    edges: dict[str, dict[str, int]] = {name: {} for name in modules}
    packages = {name.rsplit(".", depth)[0] for name in modules for depth in range(1, name.count(".") + 1)}
    for name, module in modules.items():
        for each in module.imports():
            target = each.name if each.name in modules else each.name.rpartition(".")[0]
            if target in modules and target != name and target not in packages:
                edges[name].setdefault(target, each.line)
    reach = {name: reachable(name, edges) for name in modules}
    return [
        f"{modules[one].path}:{line} imports {other}, which imports it"
        for one, targets in edges.items()
        for other, line in targets.items()
        if one in reach[other]
    ]


def reachable(start: str, edges: dict[str, dict[str, int]]) -> set[str]:
    found: set[str] = set()
    queue = [start]
    while queue:
        new = [other for other in edges[queue.pop()] if other not in found]
        found.update(new)
        queue += new
    return found


def library_elsewhere(modules: dict[str, Module]) -> list[str]:
    return [
        f"{module.path}:{each.line} imports {each.name}: only in {' '.join(places)}"
        for module in modules.values()
        for each in module.imports()
        if (places := ONLY_HERE.get(each.name.split(".")[0])) and not module.path.startswith(places)
    ]


def prints_elsewhere(modules: dict[str, Module]) -> list[str]:
    return [
        f"{module.path}:{node.lineno} prints: only apps do"
        for module in modules.values()
        for node in module.nodes()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
        if not module.path.startswith("bts/apps/")
    ]


def heavy_at_import(modules: dict[str, Module]) -> list[str]:
    """Light modules that bring in a heavy library by being imported, with the chain that leads there."""
    light = [module for module in modules.values() if any(Path(module.path).match(pattern) for pattern in LIGHT)]
    return [f"{module.path} brings in {' -> '.join(chain)}" for module in light if (chain := chain_to_heavy(module, modules))]


def chain_to_heavy(start: Module, modules: dict[str, Module]) -> list[str] | None:
    """Shortest way from a module to a heavy library over imports that run at import, as `file:line library`."""
    queue: list[tuple[Module, list[str]]] = [(start, [])]
    seen = {start.name}
    while queue:
        module, chain = queue.pop(0)
        for each in module.imports():
            step = [*chain, f"{module.path}:{each.line} {each.name}"]
            if each.at_import and each.name.split(".")[0] in HEAVY:
                return step
            parents = [each.name.rsplit(".", depth)[0] for depth in range(each.name.count(".") + 1)] if each.at_import else []
            for name in parents:
                if name in modules and name not in seen:
                    seen.add(name)
                    queue.append((modules[name], step))
    return None


def bare_excepts(modules: dict[str, Module]) -> list[str]:
    return [
        f"{module.path}:{node.lineno} catches everything without a name"
        for module in modules.values()
        for node in module.nodes()
        if isinstance(node, ast.ExceptHandler) and node.type is None
    ]


def weights_that_run_code(modules: dict[str, Module]) -> list[str]:
    return [
        f"{module.path}:{node.lineno} torch.load without weights_only=True"
        for module in modules.values()
        for node in module.nodes()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func) == "torch.load"
        if not any(each.arg == "weights_only" and ast.unparse(each.value) == "True" for each in node.keywords)
    ]


def homeless_names(modules: dict[str, Module]) -> list[str]:
    return [
        f"{module.path}:1 needs a name for its home"
        for module in modules.values()
        if NAMES_WITHOUT_A_HOME & set(module.name.split("."))
    ]


RULES: dict[Callable[[dict[str, Module]], list[str]], dict[str, str]] = {
    imports_up: {
        "bts/data/planted.py": "def f() -> None:\n    from bts.models import output\n",
        "bts/planted.py": "import bts.data.slice\n",
        "bts/inference/planted.py": "if TYPE_CHECKING:\n    from bts.apps.run import run_app\n",
        "bts/models/planted.py": "from ..training import fit\n",
    },
    outside_the_package: {"bts/apps/planted.py": "def f() -> None:\n    from tools.planted import g\n"},
    import_cycles: {
        "bts/data/planted.py": "def f() -> None:\n    from bts.data import other\n",
        "bts/data/other.py": "from bts.data.third import g\n",
        "bts/data/third.py": "from bts.data.planted import f\n",
    },
    library_elsewhere: {
        "bts/models/planted.py": "def f() -> None:\n    import lightning.pytorch as pl\n",
        "bts/data/planted.py": "from albumentations import Rotate\n",
        "bts/inference/planted.py": "import matplotlib.pyplot\n",
        "bts/evaluation/planted.py": "import argparse\n",
    },
    prints_elsewhere: {"bts/data/planted.py": "def f() -> None:\n    print('here')\n"},
    heavy_at_import: {
        "bts/planted.py": "import torch\n",
        "bts/data/readers/planted.py": "from bts.data import dataset\n",
        "bts/data/dataset.py": "import torch\n",
    },
    bare_excepts: {"bts/data/planted.py": "try:\n    pass\nexcept:\n    pass\n"},
    weights_that_run_code: {"bts/models/planted.py": "import torch\ntorch.load('a', weights_only=False)\n"},
    homeless_names: {"bts/data/utils.py": ""},
}
"""Rule -> offenders that it must find, each in a file that it must name (`dataset.py` only serves another)."""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_nobody_breaks(rule: Callable[[dict[str, Module]], list[str]]) -> None:
    found = rule(house())
    assert not found, "\n".join(found)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_planted_offender_is_found_by(rule: Callable[[dict[str, Module]], list[str]], tmp_path: Path) -> None:
    for path, text in RULES[rule].items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    found = "\n".join(rule(house(tmp_path)))
    for path in RULES[rule]:
        if not path.endswith("dataset.py"):
            assert path in found


def test_a_file_and_a_line_are_named() -> None:
    planted = Module("bts/data/planted.py", ast.parse("x = 1\n\ndef f():\n    from bts.models import output\n"))
    assert imports_up({planted.name: planted})[0] == "bts/data/planted.py:4 imports bts.models, which lies above it"


@pytest.mark.parametrize(
    "command",
    [
        "import bts",
        "import bts.inference",
        "from bts.apps.cli import main; assert main(['--help']) == 0",
        "from bts.apps.cli import main; assert main(['infer', '--help']) == 0",
        "from bts.apps.cli import main; assert main(['download', '--help']) == 0",
        "from bts.apps.cli import main; assert main(['train', 'seg', '--help']) == 0",
    ],
)
def test_neither_torch_nor_monai_is_imported_by(command: str) -> None:
    check = f"import sys\n{command}\nfound = {set(HEAVY)!r} & set(sys.modules)\nassert not found, found"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_no_two_test_modules_have_the_same_name() -> None:
    """Pytest imports test files by their bare names: two of one name in different folders stop the whole suite."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted({name for name in names if names.count(name) > 1}) == []
