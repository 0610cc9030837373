"""Series of a study from a PACS by DICOMweb (QIDO, WADO), and results back to it (STOW).

Credentials come from the environment or from netrc, and go into the request alone. TLS certificates are verified.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bts.atomic import replacing
from bts.errors import InputError, RequestError

USER, PASSWORD, TOKEN = "BTS_DICOMWEB_USER", "BTS_DICOMWEB_PASSWORD", "BTS_DICOMWEB_TOKEN"
CONNECT_S, ANSWER_S = 10, 120
"""Seconds after which a PACS counts as down, and after which an answer that stands still is given up."""
AS_STORED = (("application/dicom", "*"),)
"""Media type of an instance in the transfer syntax in which the PACS keeps it."""
UID = re.compile(r"[0-9]+(\.[0-9]+)*")
LONGEST_UID = 64
HOW_TO_LOG_IN = f"set {USER} and {PASSWORD}, or {TOKEN}, or write the host into ~/.netrc"


@dataclass(frozen=True)
class RemoteSeries:
    """One series of a study in a PACS.

    Attributes:
        uid: SeriesInstanceUID.
        modality: such as MR, or an empty string.
        description: SeriesDescription, or an empty string.
    """

    uid: str
    modality: str
    description: str


class DicomWeb:
    """A PACS under a DICOMweb address.

    Args:
        url: such as `https://pacs.example/dicom-web`, without credentials.

    Raises:
        RequestError: dicomweb-client is missing, or the address is no address.
    """

    def __init__(self, url: str) -> None:
        try:
            import requests
            from dicomweb_client.api import DICOMwebClient
        except ImportError as error:
            raise RequestError("talking to a PACS needs dicomweb-client: pip install 'bts[dicom,pacs]'") from error
        parts = urlsplit(url)
        if parts.username is not None or parts.password is not None:
            raise RequestError(f"credentials in the address end up in logs: leave them out and {HOW_TO_LOG_IN}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RequestError(f"'{url}' is not a DICOMweb address: expected one such as https://pacs.example/dicom-web")
        for library in ("dicomweb_client", "retrying"):  # their warnings repeat what is raised, with a traceback
            logging.getLogger(library).addHandler(logging.NullHandler())
        self.url, session = url.rstrip("/"), requests.Session()
        session.auth = _credentials()
        self.client = DICOMwebClient(self.url, session=session, timeout=(CONNECT_S, ANSWER_S))
        self.client.set_http_retry_params(retry=False)

    def series(self, study: str) -> list[RemoteSeries]:
        """Return the series of a study.

        Raises:
            RequestError: there is no such study, or the PACS does not answer as it should.
        """
        check_uid(study, what="study")
        with self._errors_named(f"study {study}"):
            rows = _all_pages(
                lambda offset: self.client.search_for_series(study, fields=["SeriesDescription"], offset=offset), "0020000E"
            )
            found = [
                RemoteSeries(uid=uid, modality=_text(row, "00080060"), description=_text(row, "0008103E"))
                for uid, row in rows.items()
            ]
        if not found:
            raise RequestError(f"{self.url}: no study {study} there, or no series in it: check the UID")
        for each in found:
            check_uid(each.uid, what="series")
        return found

    def fetch(self, study: str, series: str, folder: Path) -> Iterator[tuple[int, int]]:
        """Fetch the instances of a series that are not in a folder yet; yield how many are there, and of how many.

        Each file is written whole or not at all, and named by its SOPInstanceUID, so that a fetch that breaks off is resumed.

        Raises:
            RequestError: the PACS does not answer as it should.
        """
        with self._errors_named(f"series {series}"):
            uids = _all_pages(lambda offset: self.client.search_for_instances(study, series, offset=offset), "00080018")
        folder.mkdir(parents=True, exist_ok=True)
        for done, uid in enumerate(uids):
            yield done, len(uids)
            path = folder / f"{check_uid(uid, what='instance')}.dcm"
            if path.exists():
                continue
            with self._errors_named(f"series {series}, {done} of {len(uids)} instances fetched"):
                instance = self.client.retrieve_instance(study, series, uid, media_types=AS_STORED)
            with replacing(path) as part:
                instance.save_as(part, enforce_file_format=True)
        yield len(uids), len(uids)

    def store(self, study: str, paths: Sequence[Path]) -> None:
        """Store DICOM files in a study.

        Raises:
            RequestError: the PACS refuses one of them, or does not answer as it should.
        """
        from pydicom import dcmread

        names = ", ".join(path.name for path in paths)
        with self._errors_named(f"storing {names}"):
            answer = self.client.store_instances([dcmread(path) for path in paths], study)
        failed = answer.get("FailedSOPSequence") or []
        if failed:
            reasons = ", ".join(sorted({f"reason {int(each.get('FailureReason', 0)):#06x}" for each in failed}))
            raise RequestError(f"{self.url}: {len(failed)} of {len(paths)} objects were refused ({reasons}): {names}")

    @contextmanager
    def _errors_named(self, what: str) -> Iterator[None]:
        """Turn what goes wrong into one line: what was asked for, what came, what to do."""
        import requests

        try:
            yield
        except requests.exceptions.SSLError as error:
            raise RequestError(
                f"{self.url}: its TLS certificate can't be verified: set REQUESTS_CA_BUNDLE to the file of your authority"
            ) from error
        except requests.exceptions.HTTPError as error:
            raise RequestError(f"{self.url}: {what}: {_refusal(error)}") from error
        except requests.exceptions.ChunkedEncodingError as error:
            raise RequestError(f"{self.url}: {what}: the answer broke off: run the command again with --resume") from error
        except requests.exceptions.Timeout as error:
            raise RequestError(
                f"{self.url}: {what}: no answer in time: is the PACS running? Try again with --resume"
            ) from error
        except requests.exceptions.ConnectionError as error:
            raise RequestError(f"{self.url}: {what}: no connection: check the address, and that the PACS runs") from error
        except (ValueError, KeyError, AttributeError, TypeError, OSError) as error:
            reason = " ".join(str(error).split())[:120]
            raise RequestError(f"{self.url}: {what}: no DICOMweb answer ({reason}): check the address") from error


def check_uid(uid: str, *, what: str) -> str:
    """Return an identifier that is one: it names a file, and a PACS could send anything.

    Raises:
        RequestError: it has other characters than digits and dots, or too many.
    """
    if len(uid) > LONGEST_UID or not UID.fullmatch(uid):
        raise RequestError(f"'{uid[:80]}' is not a UID ({what}): expected numbers with dots, at most {LONGEST_UID} characters")
    return uid


def sent_openly(url: str) -> bool:
    """Return whether images and credentials would leave this machine unencrypted."""
    parts = urlsplit(url)
    return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


def _refusal(error: Any) -> str:
    status = error.response.status_code
    if status == 401:
        return f"the PACS asks for a password, or refuses this one (401): {HOW_TO_LOG_IN}"
    if status == 403:
        return "this user may not do that (403): ask the administrator of the PACS"
    if status == 404:
        return "not found (404): check the address and the UIDs"
    return f"the PACS refuses ({status} {error.response.reason}): look into its log"


def _credentials() -> Any:
    """Return what adds the credentials of the environment to a request; None leaves it to netrc.

    Raises:
        RequestError: a user without a password, or the reverse.
    """
    user, password, token = (os.environ.get(name) for name in (USER, PASSWORD, TOKEN))
    if token:
        return _bearer(token)
    if (user is None) != (password is None):
        raise RequestError(f"only one of {USER} and {PASSWORD} is set: set both, or neither")
    return None if user is None or password is None else (user, password)


def _bearer(token: str) -> Any:
    """Return the login with a token; as a mere header it would lose against an entry of netrc."""
    from requests.auth import AuthBase

    class Bearer(AuthBase):
        def __call__(self, request: Any) -> Any:
            request.headers["Authorization"] = f"Bearer {token}"
            return request

    return Bearer()


def _all_pages(search: Callable[[int | None], list[dict[str, Any]]], tag: str) -> dict[str, dict[str, Any]]:
    """Return the rows of all pages of an answer by a tag that is unique; it ends with a page that holds nothing new.

    dicomweb-client's own paging never ends where a server ignores the offset.
    """
    found: dict[str, dict[str, Any]] = {}
    while True:
        page = {_text(row, tag): row for row in search(len(found) or None)}
        if page.keys() <= found.keys():
            return found
        found |= page


def _text(row: dict[str, Any], tag: str) -> str:
    values = row.get(tag, {}).get("Value") or [""]
    return str(values[0])


def results_to_store(folder: Path, study: str) -> list[Path]:
    """Return the DICOM objects among the results in a folder that belong to a study.

    Raises:
        InputError: one can't be read.
    """
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    found = []
    for path in sorted(folder.glob("*/*.dcm")):
        try:
            header = dcmread(path, stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
        except (OSError, InvalidDicomError) as error:
            raise InputError(f"{path}: no readable DICOM ({error}): infer again without --resume") from error
        if header.get("StudyInstanceUID") == study:
            found.append(path)
    return found
