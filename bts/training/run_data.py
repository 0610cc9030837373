"""Settings and data of a run on disk, and the patients its models were trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from bts.atomic import write_text
from bts.data.patient_ids import FILE_NAME, Group, hashed_patient, key_name, patient_of, read_key
from bts.data.sources.base import Record, Source
from bts.data.sources.catalogue import open_source
from bts.data.split import Split, records_of
from bts.errors import RequestError
from bts.glossary import Part
from bts.models.folder import ModelCard
from bts.runs import Run
from bts.settings import Settings


@dataclass(frozen=True, eq=False)
class RunData:
    """What a run was trained and is tested on.

    Attributes:
        run: the run folder.
        settings: the settings as resolved, nested dictionaries.
        source: reads the slices.
        split: who stands in which part.
    """

    run: Run
    settings: dict[str, Any]
    source: Source
    split: Split

    def records(self, part: Part) -> list[Record]:
        """Return the records of one part, in the split's order; `RequestError` where it is empty or names an unknown slice."""
        rows = self.split.part(part)
        if not rows:
            raise RequestError(f"{self.run.split_file}: no slice stands in part '{part}': there is nothing to evaluate")
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
    """Return what a finished training left; `root` overrides where the data lies.

    Raises RequestError for a folder that is no run, a run without its split file, or data that is not there.
    """
    settings = _read_settings(run)
    if not run.split_file.is_file():
        raise RequestError(f"{run.split_file}: the run has no split file, and without it no one knows who was trained on")
    data = settings["data"]
    split = Split.read(run.split_file, group=settings["split"]["group"])
    return RunData(run, settings, open_source(data["source"], root or data["root"]), split)


def _read_settings(run: Run) -> dict[str, Any]:
    try:
        found = yaml.safe_load(run.settings_file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RequestError(
            f"{run.path}: no run ({run.settings_file.name} is missing): name a folder like runs/seg/<time>"
        ) from error
    except (OSError, yaml.YAMLError) as error:
        raise RequestError(f"{run.settings_file}: can't be read as settings ({type(error).__name__})") from error
    if not isinstance(found, dict) or not {"data", "split"} <= set(found):
        raise RequestError(f"{run.settings_file}: no settings of a run in it")
    return found


@dataclass(frozen=True)
class TrainingPatients:
    """Whom a model was trained on, as far as that can be checked.

    Attributes:
        name: of the model.
        hashes: as they stand in its card.
        key: under which they were hashed; None where it is not there.
        why_not: why no patient can be looked up, or None where one can.
    """

    name: str
    hashes: frozenset[str]
    key: bytes | None = None
    why_not: str | None = None

    def holds(self, patient: str | None, group: Group = "family") -> bool:
        """Return whether the model was trained on a patient."""
        return bool(patient) and self.key is not None and hashed_patient(str(patient), group, key=self.key) in self.hashes


def training_patients(card: ModelCard, folder: Path) -> TrainingPatients:
    """Return whom the model in a folder was trained on; the key of its hashes lies in the run folder above it.

    Raises:
        RequestError: what lies there under the key's name is no key.
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


def refuse_training_patients(patients: TrainingPatients, records: list[Record], group: Group = "family") -> None:
    """Raise RequestError where a test slice is of a patient the model was trained on: such a score holds for nobody new.

    A model whose card lists patients that can't be looked up is refused too. One that lists none was trained on data that names
    nobody, or was published.
    """
    if patients.why_not is not None and patients.hashes:
        raise RequestError(
            f"it can't be checked that '{patients.name}' was not trained on the test patients: {patients.why_not}: take the "
            "file from the original run folder"
        )
    seen = [record for record in records if patients.holds(record.patient, group)]
    if seen:
        count = len({patient_of(record.patient or "", group) for record in seen})
        raise RequestError(
            f"{len(seen)} of {len(records)} slices are of {count} patients that '{patients.name}' was trained on "
            f"(first: {seen[0].path}): test on others"
        )


MAY_CHANGE = (
    "trainer.accelerator",
    "trainer.devices",
    "trainer.num_nodes",
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
    """Write the settings as resolved into the run, atomically."""
    text = "# Settings of this run as resolved; train_*.py --config takes the file.\n"
    text += yaml.safe_dump(asdict(settings), sort_keys=False)
    write_text(run.settings_file, text)


def check_same_course(run: Run, settings: Settings) -> list[str]:
    """Return a line for each setting that a resumed run changes; raises RequestError for those that must not change."""
    before, now = flat(_read(run)), flat_settings(settings)
    foreign = [f"its setting {key} is unknown to this task and version" for key in before if key not in now]
    foreign += [f"it has no setting {key}" for key in now if key not in before]
    if foreign:
        raise RequestError(f"{run.path}: {foreign[0]}: resume a run with the program that started it")
    changed = [key for key in now if key in before and before[key] != now[key]]
    refused = [key for key in changed if key not in MAY_CHANGE]
    if refused:
        told = ", ".join(f"{key} {before[key]} became {now[key]}" for key in refused)
        raise RequestError(f"{run.path}: {told}: a resumed run keeps its settings; start a new run for another course")
    return [f"resumed with {key} {now[key]} in place of {before[key]}" for key in changed]


def flat_settings(settings: Settings) -> dict[str, Any]:
    """Return settings by their whole names, as a file of settings would give them back."""
    return flat(yaml.safe_load(yaml.safe_dump(asdict(settings))))


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their whole names.

    >>> flat({"optim": {"lr": 0.1}, "seed": 0})
    {'optim.lr': 0.1, 'seed': 0}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return found


def _read(run: Run) -> dict[str, Any]:
    try:
        found = yaml.safe_load(run.settings_file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RequestError(
            f"{run.path}: no run to resume (no {run.settings_file.name} in it): name a folder such as runs/seg/<time>"
        ) from error
    except (OSError, yaml.YAMLError) as error:
        raise RequestError(
            f"{run.settings_file}: can't be read as settings ({type(error).__name__}): start a new run"
        ) from error
    if not isinstance(found, dict):
        raise RequestError(f"{run.settings_file}: no settings in it: start a new run")
    return found
