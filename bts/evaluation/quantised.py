"""What does a model lose in eight bits? It is quantised on its training part, and both forms are scored on its test part."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from bts.data.preprocess import Preprocessing
from bts.evaluation.cases import evaluate_cases
from bts.evaluation.run_data import RunData, read_run, refuse_training_patients
from bts.export.formats import Trained, Written
from bts.export.int8 import write_int8
from bts.glossary import TASKS, Task
from bts.inference.predictor import Predictor
from bts.models.folder import load_network
from bts.runs import Run

SLICES = 64
"""Slices of the training part on which the ranges of values are found, evenly spread over it."""
Progress = Callable[[str, int, int], None]


def export_int8(
    run: str | Path, *, out: Path | None = None, root: str | None = None, progress: Progress | None = None
) -> Written:
    """Write a run's model in eight bits and score both forms on the run's test part.

    Args:
        run: run folder; its split says who was trained on.
        out: file or folder to write to; None writes beside the model.
        root: where the data lies; None takes what the run says.
        progress: told what is done, how far, of how many.

    Raises:
        RequestError: no run, no data, or as `write_int8`.
    """
    data = read_run(Run(Path(run)), root=root)
    network, card = load_network(data.run.model)
    tested = data.records("test")
    refuse_training_patients(card, tested)
    written = write_int8(Trained(data.run.model, network, card), out, pictures=calibration(data, card.preprocessing))
    places = {"float": data.run.model, "int8": written.path}
    scores = {}
    for name, place in places.items():
        tell = None if progress is None else partial(_tell, progress, name, len(tested))
        scores[name] = in_words(evaluate_cases(load(place, card.task), data.source, tested, progress=tell))
    told = (f"{name}: {text}, {len(tested)} slices of the test part" for name, text in scores.items())
    return Written(written.path, (*written.notes, *told))


def calibration(data: RunData, preprocessing: dict[str, float]) -> np.ndarray:
    """Return (N, S, S) uint8, slices of the training part as the network sees them."""
    records = data.records("train")
    prepare = Preprocessing.from_dict(preprocessing)
    chosen = np.linspace(0, len(records) - 1, min(SLICES, len(records))).round().astype(int)
    return np.stack([prepare.image(data.source.read(records[number]).image) for number in chosen])


def load(place: Path, task: Task) -> Predictor:
    """Return a predictor of a model folder or of an ONNX file."""
    seg, cls, joint = (place if task == each else None for each in TASKS)
    return Predictor.load(seg=seg, cls=cls, joint=joint, runtime="onnx" if place.is_file() else "auto", device="cpu")


def in_words(cases: pd.DataFrame) -> str:
    """Return the mean Dice a slice and the accuracy of a table of cases, as far as they are in it."""
    found = [f"Dice {cases['dice'].mean():.4f}"] if "dice" in cases else []
    found += [f"accuracy {cases['right'].mean():.4f}"] if "right" in cases else []
    return ", ".join(found)


def _tell(progress: Progress, name: str, total: int, done: int) -> None:
    progress(name, done, total)
