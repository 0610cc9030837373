"""May a training start on this split? Not where a held-out slice was seen, unless the settings say so; asked once a split."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from bts.audit.findings import judge
from bts.audit.matches import SAME, Matches, find_matches
from bts.audit.pictures import Collection, collect, records_of
from bts.audit.run import split_set
from bts.data.sources.base import Source
from bts.data.split import Split
from bts.errors import RequestError
from bts.settings import Settings

log = logging.getLogger("bts.audit")

Check = Callable[[Source, Split], None]
ALLOWED = "leaks are allowed (split.leaks): the scores of this run may be earned on slices that it has seen"
FORMAT = 1
"""Raised when the audit learns to find more, so that splits passed before are audited again."""


def gate(settings: Settings) -> Check:
    """Return what a training asks before it starts: the audit, or, where `split.leaks` is `allow`, only a line in its log."""
    return (lambda source, split: log.warning(ALLOWED)) if settings.split.leaks == "allow" else make_gate(settings)


def make_gate(settings: Settings) -> Gate:
    """Return a gate that lets no leak pass, whatever `split.leaks` says."""
    return Gate(Path(settings.data.cache) / "audits" if settings.data.cache else None)


class Gate:
    """Refuses splits that leak. Compares the pictures of a source once for all splits that it is asked about.

    Args:
        remembered: folder that keeps which splits passed, so that the next run need not ask; None audits each time.
    """

    def __init__(self, remembered: Path | None = None) -> None:
        self.remembered = remembered
        self._compared: tuple[str, Collection, Matches] | None = None

    def __call__(self, source: Source, split: Split) -> None:
        """Audit a source with its split and say so. All parts are read, the test part for this comparison only.

        Raises:
            RequestError: a patient, or the same picture in any guise, stands on two sides; the first is named.
        """
        passed = self.remembered / f"{key_of(source, split)}.json" if self.remembered else None
        if passed is not None and passed.is_file():
            log.info("audit: no leak, as found when this split was first used")
            return
        collection, matches = self._compare(source, split)
        try:
            judge(collection, matches, group=split.group).refuse()
        except RequestError as error:
            raise RequestError(f"{error} (--split.leaks allow)") from None
        log.info("audit: no patient and no picture stands on two sides")
        if collection.failed:  # they may leak unseen: asked again next time
            log.warning(f"audit: {len(collection.failed)} slices can't be read, the first: {collection.failed[0]}")
        elif passed is not None:
            passed.parent.mkdir(parents=True, exist_ok=True)
            passed.write_text(
                json.dumps({"split": split.fingerprint, "slices": len(split.rows), "same": SAME}), encoding="utf-8"
            )

    def copies(self, source: Source, split: Split) -> list[tuple[str, str]]:
        """Return the pairs of paths that show the same picture, in any guise, wherever the split (of all slices) puts them."""
        collection, matches = self._compare(source, split)
        paths = [picture.record.path for picture in collection.pictures]
        return [(paths[match.one], paths[match.other]) for match in matches.found]

    def _compare(self, source: Source, split: Split) -> tuple[Collection, Matches]:
        """Return the pictures, on the sides where the split puts them, and which are the same."""
        asked = split_set(source, split)
        if self._compared is None or self._compared[0] != str(source.root):
            log.info("audit: comparing all slices with each other (once a split; --split.leaks allow leaves it out)")
            with tqdm(desc="auditing", unit="slice", leave=False, disable=None) as bar:
                collection = collect([asked], progress=lambda done, total: _advance(bar, done, total))
            self._compared = str(source.root), collection, find_matches(collection)
        _, collection, matches = self._compared
        records = {record.path: record for record in records_of(asked)}
        pictures = tuple(replace(picture, record=records[picture.record.path]) for picture in collection.pictures)
        return replace(collection, pictures=pictures), matches


def key_of(source: Source, split: Split) -> str:
    """Return a key that changes with the split, the files (size and time of change) and the way of the audit."""
    told = [f"{FORMAT} {SAME} {split.fingerprint} {split.group} {Path(source.root).resolve()}"]
    for row in sorted(split.rows, key=lambda row: row.path):
        file = Path(source.root) / row.path
        state = file.stat() if file.is_file() else None
        told.append(f"{row.path} {state.st_size} {state.st_mtime_ns}" if state else row.path)
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]


def _advance(bar: tqdm, done: int, total: int) -> None:
    bar.total = total
    bar.update(done - bar.n)
