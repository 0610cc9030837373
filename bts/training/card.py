"""Model folder of a training: weights and model card."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from bts.data.patient_ids import hashed_patient, key_name, make_key
from bts.glossary import Task, count_of
from bts.models.alignment import cell_offset_px
from bts.models.architecture import Architecture
from bts.models.card_rules import refuse_names
from bts.models.encoders import Encoder
from bts.models.folder import ModelCard, write_model_folder
from bts.training.checkpoints import BestEpoch, load_checkpoint
from bts.training.prepare import TrainingData, format_patients

PREFIX = "network."


def save_model(
    path: Path, *, name: str, task: Task, training_data: TrainingData, best: BestEpoch, deviations: Sequence[str]
) -> None:
    """Write the model folder of a stage's best epoch; `deviations` name what differs from the settings."""
    checkpoint = load_checkpoint(best.checkpoint)
    weights = {key.removeprefix(PREFIX): value for key, value in checkpoint["state_dict"].items() if key.startswith(PREFIX)}
    architecture = Architecture.from_dict(checkpoint["architecture"])
    key = make_key(path.parent) if any(training_data.train.patients) else None
    offset_px = _offset_px(architecture.encoder, architecture.size) if task != "seg" else 0.0
    card = ModelCard(
        task=task,
        name=name,
        architecture=architecture.to_dict(),
        classes=list(training_data.source.classes) if architecture.num_classes else [],
        preprocessing=training_data.preprocessing.to_dict(),
        cam_offset_px=offset_px if task == "cls" else 0.0,
        cell_offset_px=offset_px if task == "joint" else None,
        training_patients=[] if key is None else hash_patients(training_data.train.patients, training_data, key=key),
        patients_key="" if key is None else key_name(key),
        data_fingerprint=training_data.split.fingerprint,
        synthetic=training_data.source.synthetic,
        trained_on=trained_on(training_data, best, deviations=deviations),
    )
    write_model_folder(path, card, weights)


def refuse_unwritable(training_data: TrainingData, *, name: str) -> None:
    """Raise `RequestError`, before training, for the name of a class, a set or a run that a model card does not allow."""
    sets = {record.source or training_data.source.name for record in training_data.source.records()}
    refuse_names([name, *sorted(sets)], classes=training_data.source.classes)


@functools.cache  # both stages have the same, and so have all trainings of a comparison
def _offset_px(encoder: str, size: int) -> float:
    return round(cell_offset_px(Encoder(encoder, top=True), size=size), 3)


def hash_patients(patients: Iterable[str], training_data: TrainingData, *, key: bytes) -> list[str]:
    """Return the sorted keyed hashes of the known patients: enough to refuse scoring on a training patient."""
    return sorted({hashed_patient(patient, training_data.split.same_patient, key=key) for patient in patients if patient})


def trained_on(training_data: TrainingData, best: BestEpoch, *, deviations: Sequence[str]) -> str:
    """Return a sentence on data and length, such as `2145 figshare + 845 brisc slices of 794 patients, 12 epochs (best 9)`."""
    patients = format_patients(training_data.train.patients, training_data.split.same_patient)
    slices = f"{len(training_data.train)} synthetic phantom" if training_data.source.synthetic else _by_set(training_data)
    text = f"{slices} slices of {patients}, {count_of(best.epochs, 'epoch')} (best {best.epoch})"
    return ", ".join([text, *deviations])


def _by_set(training_data: TrainingData) -> str:
    """Return `2145 figshare + 845 brisc` for a table that mixes sets, otherwise `2145 figshare`."""
    sets = {record.path: record.source or training_data.source.name for record in training_data.source.records()}
    return " + ".join(f"{count} {name}" for name, count in Counter(sets[path] for path in training_data.train.paths).items())
