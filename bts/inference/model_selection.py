"""Selection of the models that predict: those that are named, else the latest finished runs, else the bundled model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bts.errors import RequestError
from bts.glossary import TASKS, Task
from bts.inference.runtimes.exported import read_any_card
from bts.models.bundled_model import bundled_models, check_sums, find_bundled, is_bundled
from bts.models.folder import ModelCard, read_card
from bts.models.sharing import find_on_hub
from bts.runs import Run, find_latest

TRAIN = {"seg": "python train_seg.py", "cls": "python train_cls.py", "joint": "python train_joint.py"}
RUNS = "runs"
"""Default folder of the runs."""
ModelPaths = str | Path | Sequence[str | Path] | None
"""Model folder, run folder, exported file, bundled model, `hf://owner/name`; of several of one task the mean is taken."""
PART = {"seg": "mask", "cls": "class", "joint": "mask and class"}


@dataclass(frozen=True)
class SelectedModel:
    """A model folder or exported file that takes part, and why.

    Attributes:
        task: task of the model.
        folder: the model folder, or the exported file.
        card: its card.
        why: `"requested"`, `"latest finished run"` or `"bundled model"`.
    """

    task: Task
    folder: Path
    card: ModelCard
    why: str


def select_models(
    *, seg: ModelPaths, cls: ModelPaths, joint: ModelPaths, runs: str | Path
) -> tuple[list[SelectedModel], tuple[str, ...]]:
    """Return the models that predict, and lines for the user on what was selected and why.

    If any model is named, only the named ones are taken. Otherwise the latest finished runs are: a segmenter and a classifier,
    else a joint model. A model trained on phantoms is taken only if there is no model of any task trained on real data; the
    bundled model comes before phantoms, unless the folder of the runs was named.

    Args:
        seg: model folder, run folder, exported file or name of a bundled model, or several, of a segmenter.
        cls: the same of a classifier.
        joint: the same of a joint model.
        runs: folder of the runs.

    Raises:
        RequestError: nothing is found, a folder holds no model or one of another task, or joint is named beside others.
    """
    named = {task: paths for task, given in zip(TASKS, (seg, cls, joint), strict=True) if (paths := as_paths(given))}
    if "joint" in named and len(named) > 1:
        raise RequestError("a joint model predicts mask and class: give it alone, or give a segmenter and a classifier")
    if named:
        selected = [_named(task, path) for task, paths in named.items() for path in paths]
        return selected, tuple(_format_choice(model) for model in selected)
    return _unnamed(Path(runs))


def as_paths(given: ModelPaths) -> list[str | Path]:
    """Return the paths given for a task as a list."""
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
    """Return the model folder for its path, its run's path, a bundled model's name or `hf://owner/name`.

    An exported file is returned as it is. Raises `RequestError` as `find_on_hub`.
    """
    if fetched := find_on_hub(path):
        return fetched
    inside = Run(Path(path)).model
    if (inside / "model.json").is_file():
        return inside
    return Path(path) if Path(path).exists() else find_bundled(str(path)) or Path(path)


def _named(task: Task, path: str | Path) -> SelectedModel:
    folder = model_folder(path)
    if is_bundled(folder):
        check_sums(folder)
    return SelectedModel(task, folder, read_any_card(folder, expect=task), "requested")


def _unnamed(runs: Path) -> tuple[list[SelectedModel], tuple[str, ...]]:
    found = _latest(runs)
    on_phantoms = all(model.card.synthetic for model in found.values())
    bundled = bundled_models()
    if bundled and on_phantoms and (not found or runs == Path(RUNS)):
        model = _from_package(bundled)
        left = [f"{other.folder} is left out: it was trained on phantoms" for other in found.values()]
        return [model], (_format_choice(model), *left)
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


def _from_package(folders: list[Path]) -> SelectedModel:
    """Return the bundled model that predicts if none is named: a joint one, else the first."""
    models = []
    for folder in folders:
        check_sums(folder)
        card = read_card(folder)
        models.append(SelectedModel(card.task, folder, card, "bundled model"))
    return min(models, key=lambda model: model.task != "joint")


def _together(found: dict[Task, SelectedModel], runs: Path) -> tuple[list[SelectedModel], tuple[str, ...]]:
    notes = []
    if not all(model.card.synthetic for model in found.values()):
        for task in [task for task, model in found.items() if model.card.synthetic]:
            notes.append(f"{found.pop(task).folder} is left out: it was trained on phantoms, and there is a model on real data")
    if "joint" in found and not {"seg", "cls"} <= set(found):
        found = {"joint": found["joint"]}
    selected = [model for task, model in found.items() if task != "joint" or len(found) == 1]
    tasks = {model.task for model in selected}
    missing = [] if "joint" in tasks else [task for task in ("seg", "cls") if task not in tasks]
    notes += [f"no {PART[task]}: no finished {task} run in {runs}; train one with `{TRAIN[task]}`" for task in missing]
    notes += [f"the bundled model answers with --{read_card(each).task} {each.name}" for each in bundled_models()[:1]]
    return selected, (*(_format_choice(model) for model in selected), *notes)


def _format_choice(model: SelectedModel) -> str:
    trained_on = model.card.trained_on or "unknown data"
    return f"{PART[model.task]}: {model.folder} ({model.why}, trained on {trained_on})"
