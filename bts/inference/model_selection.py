"""Which models answer? Those that are named, else the latest finished runs or the package's own; always told, with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bts.errors import RequestError
from bts.glossary import TASKS, Task
from bts.inference.bundled_model import bundled_models, check_sums, find_bundled, is_bundled
from bts.inference.runtimes.exported import read_any_card
from bts.models.folder import ModelCard, read_card
from bts.runs import Run, find_latest

TRAIN = {"seg": "python train_seg.py", "cls": "python train_cls.py", "joint": "python train_joint.py"}
RUNS = "runs"
"""Where runs are looked for when nobody names a folder."""
Named = str | Path | Sequence[str | Path] | None
"""Model folder, run folder, exported file or name of a model in the package; several of a task answer with their mean."""
PART = {"seg": "mask", "cls": "class", "joint": "mask and class"}


@dataclass(frozen=True)
class SelectedModel:
    """One model folder or exported file that takes part.

    Attributes:
        task: what it is asked for.
        folder: the model folder, or the exported file.
        card: its card.
        why: `"asked for"`, `"latest finished run"` or `"comes with the package"`.
    """

    task: Task
    folder: Path
    card: ModelCard
    why: str


def select_models(*, seg: Named, cls: Named, joint: Named, runs: str | Path) -> tuple[list[SelectedModel], tuple[str, ...]]:
    """Return the models that answer and what to tell the user of the choice.

    Where any is named, the named ones answer and no others. Where none is, the latest finished runs do: a segmenter and a
    classifier, else a joint model. A model trained on phantoms is only taken where there is no model of any task on real data;
    the model that comes with the package goes before phantoms, unless the folder of the runs was named.

    Args:
        seg: model folder, run folder, exported file, or name of a model in the package, of a segmenter; or several.
        cls: of a classifier.
        joint: of a joint model.
        runs: folder of the runs, for those that are not named.

    Raises:
        RequestError: where nothing is found, a folder holds no model or one of another task, or joint is named beside others.
    """
    named = {task: paths for task, given in zip(TASKS, (seg, cls, joint), strict=True) if (paths := all_named(given))}
    if "joint" in named and len(named) > 1:
        raise RequestError("a joint model gives mask and class: name it alone, or a segmenter and a classifier without it")
    if named:
        chosen = [_named(task, path) for task, paths in named.items() for path in paths]
        return chosen, tuple(_format_choice(model) for model in chosen)
    return _unnamed(Path(runs))


def all_named(given: Named) -> list[str | Path]:
    """Return the paths that were given for a task: none, one or several."""
    if given is None:
        return []
    return [given] if isinstance(given, (str, Path)) else list(given)


def by_task(models: Sequence[str | Path]) -> dict[Task, list[str | Path]]:
    """Return models under their tasks, which their cards say; raises `RequestError` for what is no model."""
    found: dict[Task, list[str | Path]] = {}
    for model in models:
        found.setdefault(read_any_card(model_folder(model)).task, []).append(model)
    return found


def model_folder(path: str | Path) -> Path:
    """Return the model folder that is meant by its own path, that of a run, or the name of a model in the package.

    An exported file stands for itself.
    """
    inside = Run(Path(path)).model
    if (inside / "model.json").is_file():
        return inside
    return Path(path) if Path(path).exists() else find_bundled(str(path)) or Path(path)


def _named(task: Task, path: str | Path) -> SelectedModel:
    folder = model_folder(path)
    if is_bundled(folder):
        check_sums(folder)
    return SelectedModel(task, folder, read_any_card(folder, expect=task), "asked for")


def _unnamed(runs: Path) -> tuple[list[SelectedModel], tuple[str, ...]]:
    found = _latest(runs)
    on_phantoms = all(model.card.synthetic for model in found.values())
    box = bundled_models()
    if box and on_phantoms and (not found or runs == Path(RUNS)):
        boxed = _from_box(box)
        left = [f"{model.folder} is left out: it was trained on phantoms" for model in found.values()]
        return [boxed], (_format_choice(boxed), *left)
    if not found:
        raise RequestError(
            f"no finished run in {runs}: train with `{TRAIN['seg']}` and `{TRAIN['cls']}`, "
            "or name model folders with --seg and --cls"
        )
    return _together(found, runs)


def _latest(runs: Path) -> dict[Task, SelectedModel]:
    found = {}
    for task in TASKS:
        run = find_latest(runs, task)
        if run is not None:
            found[task] = SelectedModel(task, run.model, read_card(run.model, expect=task), "latest finished run")
    return found


def _from_box(box: list[Path]) -> SelectedModel:
    """Return the model of the package that answers unasked: a joint one, else the first."""
    for folder in box:
        check_sums(folder)
    models = [
        SelectedModel(card.task, folder, card, "comes with the package") for folder in box for card in [read_card(folder)]
    ]
    return min(models, key=lambda model: model.task != "joint")


def _together(found: dict[Task, SelectedModel], runs: Path) -> tuple[list[SelectedModel], tuple[str, ...]]:
    notes = []
    if not all(model.card.synthetic for model in found.values()):
        for task in [task for task, model in found.items() if model.card.synthetic]:
            notes.append(f"{found.pop(task).folder} is left out: it was trained on phantoms, and there is a model on real data")
    if "joint" in found and not {"seg", "cls"} <= set(found):
        found = {"joint": found["joint"]}
    chosen = [model for task, model in found.items() if task != "joint" or len(found) == 1]
    answered = {model.task for model in chosen}
    missing = [] if "joint" in answered else [task for task in ("seg", "cls") if task not in answered]
    notes += [f"no {PART[task]}: no finished {task} run in {runs}; train one with `{TRAIN[task]}`" for task in missing]
    return chosen, (*(_format_choice(model) for model in chosen), *notes)


def _format_choice(model: SelectedModel) -> str:
    return f"{PART[model.task]}: {model.folder} ({model.why}, trained on {model.card.trained_on})"
