"""Patient IDs: groups of IDs that belong to one patient, and the keyed hashes that a model folder lists.

In the figshare set 42 of the 233 IDs form 18 groups such as MR040240, MR040240B, MR040240C: the same number with other letters.
It is an assumption that the letter counts the scans of one patient. If it is wrong, a split is slightly less flexible; if it is
right and ignored, test patients are seen in training. For some groups the nearest neighbours of their slices are in the group,
which supports it; for most the images are inconclusive.

Patient IDs are short: a hash without a secret can be inverted by hashing every possible ID. A model folder therefore lists
HMAC-SHA256 values under a random key of the run. The key stays in the run folder, beside the split that lists the patients;
it is never exported.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from bts.errors import RequestError
from bts.glossary import count_of

SamePatient = Literal["suffixes", "exact"]
"""Which IDs are the same patient: with `suffixes` MR040240 and MR040240B are one patient, with `exact` two."""

FILE_NAME = "patients.key"
KEY_BYTES = 32

_LETTERED = re.compile(r"(MR\d+)[A-Z]")


def patient_of(patient_id: str, same_patient: SamePatient = "suffixes") -> str:
    """Return the patient of an ID: without the scan letter of figshare's MR numbers, or with `exact` the ID itself.

    >>> patient_of("MR040240B"), patient_of("MR040240"), patient_of("100360"), patient_of("patient_B")
    ('MR040240', 'MR040240', '100360', 'patient_B')
    >>> patient_of("MR040240B", "exact")
    'MR040240B'
    """
    match = _LETTERED.fullmatch(patient_id) if same_patient == "suffixes" else None
    return match.group(1) if match else patient_id


def format_ids(ids: Iterable[str], *, width: int = 0) -> str:
    """Return the number of patients of some IDs, right-aligned, and that of the IDs where it differs.

    >>> format_ids(["MR040240B", "MR040240", "100360"]), format_ids(["100360"], width=12)
    ('2 patients (3 IDs)', '   1 patient')
    """
    named = set(ids)
    patients = {patient_of(each) for each in named}
    return f"{count_of(len(patients), 'patient'):>{width}}" + (f" ({len(named)} IDs)" if len(named) != len(patients) else "")


def make_key(run: Path) -> bytes:
    """Return the key of a run folder; a missing one is created, readable by its owner only.

    Raises:
        RequestError: the file can't be written or is not a key.
    """
    file = run / FILE_NAME
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = read_key(run)
        if key is not None:
            return key
        raise RequestError(f"{file}: not a file: remove it") from None
    except OSError as error:
        raise RequestError(f"{file}: can't be written ({error.strerror}): choose another folder") from error
    key = secrets.token_bytes(KEY_BYTES)
    with os.fdopen(handle, "w", encoding="ascii") as opened:
        opened.write(key.hex() + "\n")
    return key


def read_key(run: Path) -> bytes | None:
    """Return the key of a run folder, or None without one; raises `RequestError` for a file that is not a key."""
    file = run / FILE_NAME
    if not file.is_file():
        return None
    try:
        with file.open(encoding="ascii") as opened:
            key = bytes.fromhex(opened.read(2 * KEY_BYTES + 2).strip())
    except (OSError, ValueError) as error:
        raise RequestError(f"{file}: not a key of a run ({error}): copy the file from the original run folder") from error
    if len(key) != KEY_BYTES:
        raise RequestError(f"{file}: {len(key)} bytes, a key has {KEY_BYTES}: copy the file from the original run folder")
    return key


def key_name(key: bytes) -> str:
    """Return 16 hexadecimal digits that identify a key without revealing it."""
    return hashlib.sha256(b"bts patients key " + key).hexdigest()[:16]


def hashed_patient(patient: str, same_patient: SamePatient = "suffixes", *, key: bytes) -> str:
    """Return the keyed hash of a training patient for the model folder.

    >>> hashed_patient("MR040240B", key=b"secret") == hashed_patient("MR040240", key=b"secret")
    True
    >>> hashed_patient("MR040240", key=b"secret") == hashed_patient("MR040240", key=b"other")
    False
    """
    return hmac.new(key, patient_of(patient, same_patient).encode(), hashlib.sha256).hexdigest()
