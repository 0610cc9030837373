"""Fetching from a PACS and storing into it: a real Orthanc, and a small PACS for what goes wrong."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import made_series
import pacs_servers
import pytest

from bts.data.dicomweb import DicomWeb, check_uid, results_to_store, sent_openly
from bts.errors import RequestError

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed: pip install 'bts[dicom]'")
pytest.importorskip("dicomweb_client", reason="dicomweb-client is not installed: pip install 'bts[pacs]'")


@pytest.fixture(autouse=True)
def _no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BTS_DICOMWEB_USER", "BTS_DICOMWEB_PASSWORD", "BTS_DICOMWEB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[pacs_servers.SmallPacs]:
    with pacs_servers.SmallPacs(made_series.write_series(tmp_path / "series")).running() as running:
        yield running


def fetched(pacs: pacs_servers.SmallPacs, folder: Path) -> list[tuple[int, int]]:
    return list(DicomWeb(pacs.url).fetch(pacs.study, pacs.series, folder))


@pytest.mark.skipif(not pacs_servers.has_orthanc(), reason=pacs_servers.NO_ORTHANC)
def test_an_orthanc_takes_a_series_and_gives_the_same_voxels_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BTS_DICOMWEB_USER", "doctor")
    monkeypatch.setenv("BTS_DICOMWEB_PASSWORD", "secret")
    sent = sorted(made_series.write_series(tmp_path / "series").glob("*.dcm"))
    study, series = (pydicom.dcmread(sent[0])[name].value for name in ("StudyInstanceUID", "SeriesInstanceUID"))
    with pacs_servers.orthanc(tmp_path / "orthanc", password="secret") as url:  # pragma: allowlist secret
        DicomWeb(url).store(study, sent)
        assert [(each.uid, each.modality) for each in DicomWeb(url).series(study)] == [(series, "MR")]
        assert list(DicomWeb(url).fetch(study, series, tmp_path / "got"))[-1] == (len(sent), len(sent))
        with pytest.raises(RequestError, match=r"storing 1\.dcm: the PACS refuses \(409 Conflict\): look into its log$"):
            DicomWeb(url).store("1.2.3", sent[:1])
        with pytest.raises(RequestError, match=r"no study 1\.2\.3 there, or no series in it: check the UID$"):
            DicomWeb(url).series("1.2.3")
        monkeypatch.setenv("BTS_DICOMWEB_PASSWORD", "wrong")
        with pytest.raises(RequestError, match=r"asks for a password, or refuses this one \(401\): set BTS_DICOMWEB_USER and"):
            DicomWeb(url).series(study)
    for path in sent:
        data = pydicom.dcmread(path)
        assert pydicom.dcmread(tmp_path / "got" / f"{data.SOPInstanceUID}.dcm") == data


def test_a_fetch_that_broke_off_goes_on_where_it_stopped(pacs: pacs_servers.SmallPacs, tmp_path: Path) -> None:
    uids = list(pacs.files)
    pacs.answers[uids[2]] = "broken"
    with pytest.raises(RequestError, match=r"series [\d.]+, 2 of 6 instances fetched: the answer broke off: run .* --resume$"):
        fetched(pacs, tmp_path / "got")
    assert sorted(path.stem for path in (tmp_path / "got").iterdir()) == sorted(uids[:2])
    pacs.answers.clear()
    pacs.asked.clear()
    assert fetched(pacs, tmp_path / "got") == [(number, 6) for number in range(7)]
    assert [path.rpartition("/")[2] for path in pacs.asked if "/instances/" in path] == uids[2:]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (401, r"study [\d.]+: the PACS asks for a password, or refuses this one \(401\): set BTS_DICOMWEB_USER and "),
        (403, r"study [\d.]+: this user may not do that \(403\): ask the administrator of the PACS$"),
        (404, r"study [\d.]+: not found \(404\): check the address and the UIDs$"),
        (503, r"study [\d.]+: the PACS refuses \(503 Service Unavailable\): look into its log$"),
        ("broken", r"study [\d.]+: the answer broke off: run the command again with --resume$"),
        ("<html>a login page</html>", r"study [\d.]+: no DICOMweb answer \(.*\): check the address$"),
    ],
)
def test_what_a_pacs_may_answer_is_one_line(pacs: pacs_servers.SmallPacs, answer: int | str, message: str) -> None:
    pacs.answers["/series"] = answer
    with pytest.raises(RequestError, match=message) as caught:
        DicomWeb(pacs.url).series(pacs.study)
    assert str(caught.value).startswith(pacs.url)
    assert "\n" not in str(caught.value)


def test_objects_that_are_refused_are_named_with_the_reason(pacs: pacs_servers.SmallPacs, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"1 of 1 objects were refused \(reason 0x0110\): 1\.dcm$"):
        DicomWeb(pacs.url).store(pacs.study, [tmp_path / "series" / "1.dcm"])


def test_a_pacs_that_is_down_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(RequestError, match=rf"^{url}: study 1\.2: no connection: check the address, and that the PACS runs$"):
        DicomWeb(url).series("1.2")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed: no certificate can be made")
def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    def serve() -> None:
        try:
            with context.wrap_socket(listening.accept()[0], server_side=True):
                pass
        except (ssl.SSLError, OSError):  # the client hangs up
            pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(RequestError, match=r"its TLS certificate can't be verified: set REQUESTS_CA_BUNDLE to the file"):
            DicomWeb(f"https://localhost:{listening.getsockname()[1]}").series("1.2")
        thread.join()


@pytest.mark.parametrize(
    ("variables", "netrc", "expected"),
    [
        (
            {"BTS_DICOMWEB_USER": "doctor", "BTS_DICOMWEB_PASSWORD": "secret"},  # pragma: allowlist secret
            "",
            "Basic ZG9jdG9yOnNlY3JldA==",
        ),
        ({"BTS_DICOMWEB_TOKEN": "a-token"}, "machine 127.0.0.1 login other password other", "Bearer a-token"),
        ({}, "machine 127.0.0.1 login doctor password secret", "Basic ZG9jdG9yOnNlY3JldA=="),
        ({}, "", None),
    ],
)
def test_credentials_come_from_environment_or_netrc(
    pacs: pacs_servers.SmallPacs,
    variables: dict[str, str],
    netrc: str,
    expected: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "netrc").write_text(netrc)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with caplog.at_level("DEBUG"):
        DicomWeb(pacs.url).series(pacs.study)
    assert set(pacs.logins) == {expected}
    assert not [text for text in ("secret", "a-token", "ZG9jdG9y") if text in caplog.text]


def test_half_a_login_and_credentials_in_the_address_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match=r"^credentials in the address end up in logs: leave them out and set") as caught:
        DicomWeb("https://doctor:secret@pacs.example/dicom-web")  # pragma: allowlist secret
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("BTS_DICOMWEB_USER", "doctor")
    with pytest.raises(RequestError, match=r"^only one of BTS_DICOMWEB_USER and BTS_DICOMWEB_PASSWORD is set: set both"):
        DicomWeb("https://pacs.example/dicom-web")


@pytest.mark.parametrize("url", ["pacs.example/dicom-web", "ftp://pacs.example", "https://", "file:///etc/passwd"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(RequestError, match=r"is not a DICOMweb address: expected one such as https://pacs\.example/dicom-web$"):
        DicomWeb(url)


def test_an_identifier_that_would_name_a_file_elsewhere_is_refused(pacs: pacs_servers.SmallPacs, tmp_path: Path) -> None:
    pacs.files = {"../../evil": b""}
    with pytest.raises(RequestError, match=r"^'\.\./\.\./evil' is not a UID \(instance\): expected numbers with dots"):
        fetched(pacs, tmp_path / "a" / "b" / "got")
    assert [path.name for path in tmp_path.rglob("*evil*")] == []
    for wrong in ("", "1..2", "1.2.", "1.2/3", "1" * 65):
        with pytest.raises(RequestError, match=r"is not a UID \(study\)"):
            check_uid(wrong, what="study")
    assert check_uid("1.2.840.0", what="study") == "1.2.840.0"


def test_only_the_results_of_the_study_are_stored(tmp_path: Path) -> None:
    for name in ("mine", "other"):
        made_series.write_series(tmp_path / "all" / name)
    study = pydicom.dcmread(tmp_path / "all" / "mine" / "1.dcm").StudyInstanceUID
    assert {path.parent.name for path in results_to_store(tmp_path / "all", study)} == {"mine"}


def test_only_a_plain_connection_to_another_machine_is_open() -> None:
    assert sent_openly("http://pacs.example/dicom-web")
    assert not sent_openly("https://pacs.example/dicom-web")
    assert not sent_openly("http://127.0.0.1:8042/dicom-web")
