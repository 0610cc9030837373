"""Settings and data of a run on disk, and the patients its models were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from bts.atomic import write_text
from bts.data.patient_ids import FILE_NAME, SamePatient, hashed_patient, key_name, patient_of, read_key
from bts.data.sources.base import Record, Source
from bts.data.sources.catalogue import open_source
from bts.data.split import Split, records_of
from bts.errors import RequestError
from bts.glossary import Part, count_of
from bts.models.folder import ModelCard
from bts.runs import Run
from bts.settings import Settings


@dataclass(frozen=True, eq=False)
class RunData:
    """Data that a run was trained on and is tested on.

    Attributes:
        run: the run folder.
        settings: the settings as resolved, nested dictionaries.
        source: reads the slices.
        split: patients and slices of each part.
    """

    run: Run
    settings: dict[str, Any]
    source: Source
    split: Split

    def records(self, part: Part) -> list[Record]:
        """Return the records of one part, in the split's order; `RequestError` if it is empty or has an unknown slice."""
        rows = self.split.part(part)
        if not rows:
            raise RequestError(f"{self.run.split_file}: no slice in part '{part}': nothing to evaluate")
        records = self.source.records()
        there = {record.path for record in records}
        missing = [row.path for row in rows if row.path not in there]
        if missing:
            raise RequestError(
                f"{self.source.root}: {len(missing)} of {len(rows)} slices of part '{part}' are not in the data "
                f"(first: {missing[0]}): name the folder that the run was trained on"
            )
        return records_of(self.split, records, part)


def read_run(run: Run, *, root: str | None = None) -> RunData:
    """Open a finished run; `root` overrides the data folder.

    Raises RequestError for a folder that is not a run, a missing split file, or missing data.
    """
    settings = read_settings(run)
    if not run.split_file.is_file():
        raise RequestError(f"{run.split_file}: the run has no split file, so its training patients are unknown")
    data = settings["data"]
    split = Split.read(run.split_file, same_patient=settings["split"]["same_patient"])
    source = open_source(
        data["source"],
        root or data["root"],
        mask_labels=data.get("mask_labels") or (),
        skip_unreadable=data.get("unreadable") == "skip",
    )
    return RunData(run, settings, source, split)


@dataclass(frozen=True)
class TrainingPatients:
    """Training patients of a model, as far as they can be checked.

    Attributes:
        name: name of the model.
        hashes: from its card.
        key: the key of the hashes; None if it is missing.
        why_not: why patients can't be looked up, or None if they can.
    """

    name: str
    hashes: frozenset[str]
    key: bytes | None = None
    why_not: str | None = None

    def holds(self, patient: str | None, same_patient: SamePatient = "suffixes") -> bool:
        """Return whether the model was trained on a patient."""
        return (
            bool(patient) and self.key is not None and hashed_patient(str(patient), same_patient, key=self.key) in self.hashes
        )


def training_patients(card: ModelCard, folder: Path) -> TrainingPatients:
    """Return the training patients of the model in a folder; the key of their hashes is in the run folder above it.

    Raises:
        RequestError: the key file is damaged.
    """
    hashes = frozenset(card.training_patients)
    if not hashes:
        return TrainingPatients(card.name, hashes, why_not="its model folder lists no training patients")
    key = read_key(folder.parent)
    if key is None:
        return TrainingPatients(
            card.name, hashes, why_not=f"{folder.parent / FILE_NAME}, the key of its patients, is not there"
        )
    if key_name(key) != card.patients_key:
        return TrainingPatients(card.name, hashes, why_not=f"{folder.parent / FILE_NAME} is the key of another run")
    return TrainingPatients(card.name, hashes, key)


def refuse_training_patients(patients: TrainingPatients, records: list[Record], same_patient: SamePatient = "suffixes") -> None:
    """Raise RequestError if a test slice is of a training patient: its score would not hold for new patients.

    A model whose card lists patients that can't be looked up is refused too. One that lists none was trained on data without
    patient IDs, or was published.
    """
    if patients.why_not is not None and patients.hashes:
        raise RequestError(
            f"can't check that '{patients.name}' was not trained on the test patients: {patients.why_not}: copy the "
            "file from the original run folder"
        )
    seen = [record for record in records if patients.holds(record.patient, same_patient)]
    if seen:
        count = len({patient_of(record.patient or "", same_patient) for record in seen})
        raise RequestError(
            f"{len(seen)} of {len(records)} slices are of {count_of(count, 'patient')} that '{patients.name}' was trained on "
            f"(first: {seen[0].path}): test on others"
        )


MAY_CHANGE = (
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.threads",
    "trainer.loggers",
    "trainer.images",
    "optim.epochs",
    "data.root",
    "data.cache",
    "data.cache_gib",
    "data.workers",
    "runs",
)
"""Settings that a resumed run may change: paths, hardware and length."""


def write_settings(run: Run, settings: Settings) -> None:
    """Write the resolved settings to the run atomically."""
    text = "# Settings of this run as resolved; train_*.py --config takes the file.\n"
    text += yaml.safe_dump(asdict(settings), sort_keys=False)
    write_text(run.settings_file, text)


def check_same_settings(run: Run, settings: Settings) -> list[str]:
    """Return a log line for each setting that a resumed run changes; raises RequestError for those that must not change."""
    before, now = flat(read_settings(run)), flat_settings(settings)
    foreign = [f"its setting {key} is unknown to this task and version" for key in before if key not in now]
    foreign += [f"it has no setting {key}" for key in now if key not in before]
    if foreign:
        raise RequestError(f"{run.path}: {foreign[0]}: resume a run with the program that started it")
    changed = [key for key in now if key in before and before[key] != now[key]]
    refused = [key for key in changed if key not in MAY_CHANGE]
    if refused:
        changes = ", ".join(f"{key} {before[key]} became {now[key]}" for key in refused)
        raise RequestError(f"{run.path}: {changes}: a resumed run keeps its settings; start a new run to change them")
    return [f"resumed with {key} {now[key]} in place of {before[key]}" for key in changed]


def flat_settings(settings: Settings) -> dict[str, Any]:
    """Return settings by their full names, as read back from a settings file."""
    return flat(yaml.safe_load(yaml.safe_dump(asdict(settings))))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their full names.

    >>> flat({"optim": {"lr": 0.1}, "seed": 0})
    {'optim.lr': 0.1, 'seed': 0}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found


def read_settings(run: Run) -> dict[str, Any]:
    """Return the settings of a run, nested; raises `RequestError` for a folder that is not a run."""
    try:
        found = yaml.safe_load(run.settings_file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RequestError(
            f"{run.path}: no run ({run.settings_file.name} is missing): expected a folder such as runs/seg/<time>"
        ) from error
    except (OSError, yaml.YAMLError) as error:
        raise RequestError(
            f"{run.settings_file}: can't be read as settings ({type(error).__name__}): start a new run"
        ) from error
    if not isinstance(found, dict) or not {"data", "split"} <= set(found):
        raise RequestError(f"{run.settings_file}: no settings of a run in it: start a new run")
    return found
