"""Checks before a training: refuse leaks, and classes that come from a single publisher, unless the settings allow them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from bts.audit.confounding import find_confounding, with_probe
from bts.audit.findings import judge
from bts.audit.images import Collection, collect, records_of
from bts.audit.matches import SAME, Matches, find_matches
from bts.audit.run import split_set
from bts.data.sources.base import Source
from bts.data.split import Split
from bts.data.split import records_of as split_records
from bts.errors import RequestError
from bts.glossary import count_of
from bts.settings import Settings

log = logging.getLogger("bts.audit")

Check = Callable[[Source, Split], None]
ALLOWED = "leaks are allowed (split.leaks): the scores of this run may be inflated by slices seen in training"
FORMAT = 1
"""Increased when the audit detects more, so that splits that passed before are audited again."""


def gate(settings: Settings) -> Check:
    """Return the checks of a training: confounding, then leaks; a warning in its log where the settings allow what is found."""
    find_leaks = (lambda source, split: log.warning(ALLOWED)) if settings.split.leaks == "allow" else make_gate(settings)

    def check(source: Source, split: Split) -> None:
        check_confounding(source, split, settings)
        find_leaks(source, split)

    return check


def check_confounding(source: Source, split: Split, settings: Settings) -> None:
    """Refuse training slices of which a class comes from a single publisher, or log the finding where it is allowed.

    With several publishers the table of classes and the probe are logged too.

    Raises:
        RequestError: a class comes from a single publisher; what to add is named.
    """
    records = split_records(split, source.records(), "train")
    found = find_confounding(records, source.name)
    if settings.split.confounding == "refuse":
        found.refuse()
    augment = settings.augment
    record = found.record(remove_tumour=augment.remove_tumour, paste_tumour=augment.paste_tumour)
    if record:
        log.warning(record)
    for line in with_probe(found, source, records, same_patient=split.same_patient).lines():
        log.info(line)


def make_gate(settings: Settings) -> Gate:
    """Return a gate that refuses leaks whatever `split.leaks` is."""
    return Gate(Path(settings.data.cache) / "audits" if settings.data.cache else None)


class Gate:
    """Refuse splits with leaks, comparing the images of a source once for all its splits.

    Args:
        remembered: folder that records the splits that passed; None audits every time.
    """

    def __init__(self, remembered: Path | None = None) -> None:
        self.remembered = remembered
        self._compared: tuple[str, Collection, Matches] | None = None

    def __call__(self, source: Source, split: Split) -> None:
        """Audit a source with its split and log the result. All parts are read, the test part for this purpose only.

        Raises:
            RequestError: a patient or a copy of an image is in two parts; the first is named.
        """
        passed = self.remembered / f"{key_of(source, split)}.json" if self.remembered else None
        if passed is not None and passed.is_file():
            log.info("audit: no leak, as recorded when this split was first used")
            return
        collection, matches = self._compare(source, split)
        try:
            judge(collection, matches, same_patient=split.same_patient).refuse()
        except RequestError as error:
            raise RequestError(f"{error} (--split.leaks allow)") from None
        log.info("audit: no patient and no image is in two parts")
        if collection.failed:  # they may leak undetected, so the split is not recorded as passed
            log.warning(f"audit: {count_of(len(collection.failed), 'slice')} can't be read, the first: {collection.failed[0]}")
        elif passed is not None:
            passed.parent.mkdir(parents=True, exist_ok=True)
            record = {"split": split.fingerprint, "slices": len(split.rows), "same": SAME}
            passed.write_text(json.dumps(record), encoding="utf-8")

    def _compare(self, source: Source, split: Split) -> tuple[Collection, Matches]:
        """Return the images with the parts of the split, and their matches."""
        asked = split_set(source, split)
        if self._compared is None or self._compared[0] != str(source.root):
            log.info("audit: comparing all slices with each other (once per split; --split.leaks allow skips it)")
            collection = collect([asked])
            self._compared = str(source.root), collection, find_matches(collection)
        _, collection, matches = self._compared
        records = {record.path: record for record in records_of(asked)}
        images = tuple(replace(image, record=records[image.record.path]) for image in collection.images)
        return replace(collection, images=images), matches


def key_of(source: Source, split: Split) -> str:
    """Return a key of the split, the files (size and modification time) and the version of the audit."""
    lines = [f"{FORMAT} {SAME} {split.fingerprint} {split.same_patient} {Path(source.root).resolve()}"]
    for row in sorted(split.rows, key=lambda row: row.path):
        file = Path(source.root) / row.path
        state = file.stat() if file.is_file() else None
        lines.append(f"{row.path} {state.st_size} {state.st_mtime_ns}" if state else row.path)
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:32]
