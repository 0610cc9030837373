"""Which slices belong to a run? Its settings, its split and the records of each part, as they stand in the run folder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from bts.data.families import Group, hashed_patient
from bts.data.sources.base import Record, Source
from bts.data.sources.catalogue import open_source
from bts.data.split import Split, records_of
from bts.errors import RequestError
from bts.glossary import Part
from bts.models.folder import ModelCard
from bts.runs import Run


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


def trained_on(card: ModelCard, records: Iterable[Record], group: Group = "family") -> list[Record]:
    """Return the records whose patient the model was trained on."""
    known = set(card.training_patients)
    return [record for record in records if record.patient and hashed_patient(record.patient, group) in known]


def refuse_training_patients(card: ModelCard, records: list[Record], group: Group = "family") -> None:
    """Raise RequestError where a test slice is of a patient the model was trained on: such a score holds for nobody new."""
    seen = trained_on(card, records, group)
    if seen:
        patients = len({hashed_patient(record.patient or "", group) for record in seen})
        raise RequestError(
            f"{len(seen)} of {len(records)} slices are of {patients} patients that '{card.name}' was trained on "
            f"(first: {seen[0].path}): test on others"
        )
