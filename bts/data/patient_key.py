"""Key of a run under which its training patients are hashed: who has it can ask for a patient, and nobody can try out IDs.

Patient IDs are short. A hash without a secret is undone by hashing every ID that there could be, so a model folder lists
HMAC-SHA256 values under a random key of the run. The key stays in the run folder, beside the split that names the patients;
it is in no model folder and in nothing that is exported.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from pathlib import Path

from bts.data.families import Group, person
from bts.errors import RequestError

FILE_NAME = "patients.key"
KEY_BYTES = 32


def make_key(run: Path) -> bytes:
    """Return the key of a run folder, made where there is none, readable by its owner alone.

    Raises:
        RequestError: it can't be written, or what is there is no key.
    """
    file = run / FILE_NAME
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        key = read_key(run)
        if key is not None:
            return key
        raise RequestError(f"{file}: no file: remove it") from None
    except OSError as error:
        raise RequestError(f"{file}: can't be written ({error.strerror}): choose another folder") from error
    key = secrets.token_bytes(KEY_BYTES)
    with os.fdopen(handle, "w", encoding="ascii") as opened:
        opened.write(key.hex() + "\n")
    return key


def read_key(run: Path) -> bytes | None:
    """Return the key of a run folder, None where there is none; raises `RequestError` for a file that is no key."""
    file = run / FILE_NAME
    if not file.is_file():
        return None
    try:
        with file.open(encoding="ascii") as opened:
            key = bytes.fromhex(opened.read(2 * KEY_BYTES + 2).strip())
    except (OSError, ValueError) as error:
        raise RequestError(f"{file}: no key of a run ({error}): take the file from the original run folder") from error
    if len(key) != KEY_BYTES:
        raise RequestError(f"{file}: {len(key)} bytes, a key has {KEY_BYTES}: take the file from the original run folder")
    return key


def key_name(key: bytes) -> str:
    """Return 16 hexadecimal digits by which a model folder tells its key from others; they give nothing of it away."""
    return hashlib.sha256(b"bts patients key " + key).hexdigest()[:16]


def hashed_patient(patient: str, group: Group = "family", *, key: bytes) -> str:
    """Return the value under which a model folder lists a training patient.

    >>> hashed_patient("MR040240B", key=b"secret") == hashed_patient("MR040240", key=b"secret")
    True
    >>> hashed_patient("MR040240", key=b"secret") == hashed_patient("MR040240", key=b"other")
    False
    """
    return hmac.new(key, person(patient, group).encode(), hashlib.sha256).hexdigest()
