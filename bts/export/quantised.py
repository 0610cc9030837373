"""Eight-bit export of a run: quantise on its training part, score both forms on its test part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bts.data.preprocess import Preprocessing
from bts.data.sources.base import Record
from bts.export.base import Trained, Written
from bts.export.int8 import write_int8
from bts.glossary import TASKS, Task
from bts.inference.predictor import Predictor
from bts.models.folder import load_network
from bts.runs import Run
from bts.training.run_data import RunData, read_run, refuse_training_patients, training_patients

SLICES = 64
"""Slices of the training part that set the value ranges, evenly spaced over it."""
Score = Callable[[str, Predictor, RunData, Sequence[Record]], str]
"""Scores a model under a name (`float`, `int8`) on some slices and returns the scores as text."""


def export_int8(run: str | Path, *, score: Score, out: Path | None = None, root: str | None = None) -> Written:
    """Write a run's model in eight bits and score both forms on the run's test part.

    Args:
        run: run folder; its split says who was trained on.
        score: scores one form of the model.
        out: file or folder to write to; None writes beside the model.
        root: folder of the data; None for that of the run.

    Raises:
        RequestError: no run, no data, or as `write_int8`.
    """
    data = read_run(Run(Path(run)), root=root)
    network, card = load_network(data.run.model)
    tested = data.records("test")
    refuse_training_patients(training_patients(card, data.run.model), tested, data.split.same_patient)
    written = write_int8(Trained(data.run.model, network, card), out, pictures=calibration(data, card.preprocessing))
    places = {"float": data.run.model, "int8": written.path}
    scores = {name: score(name, load(place, card.task), data, tested) for name, place in places.items()}
    notes = (f"{name}: {text}, {len(tested)} slices of the test part" for name, text in scores.items())
    return Written(written.path, (*written.notes, *notes))


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
