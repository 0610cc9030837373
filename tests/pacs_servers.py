"""PACS for tests on a loopback port: a real Orthanc with a temporary folder, and a small one that fails as it is told."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
NO_ORTHANC = "no Orthanc with DICOMweb is installed: apt-get install orthanc orthanc-dicomweb"


def has_orthanc() -> bool:
    return shutil.which("Orthanc") is not None and PLUGIN.exists()


@contextmanager
def orthanc(folder: Path, *, password: str | None = None) -> Iterator[str]:
    """Run an Orthanc and yield its DICOMweb address; with a password, the user is `doctor`."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder.mkdir()
    settings = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": password is not None,
        "RegisteredUsers": {} if password is None else {"doctor": password},
        "Plugins": [str(PLUGIN)],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(["Orthanc", folder / "orthanc.json"], stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_for(port, process, folder / "log")
            yield f"http://127.0.0.1:{port}/dicom-web"
        finally:
            process.terminate()
            process.wait(60)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    while process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/system", timeout=10)
        except urllib.error.HTTPError:  # it asks for a password
            return
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"Orthanc ended at its start: {log.read_text()[-500:]}")


class SmallPacs:
    """A PACS with one series. Whatever `answers` names for a path's end is sent in place of the right answer.

    Attributes:
        url: its address.
        asked: method and path of each request, in order.
        logins: Authorization header of each request, or None.
        answers: end of a path -> status, or `broken` for an answer that ends early, or a text.
    """

    def __init__(self, folder: Path) -> None:
        from pydicom import dcmread

        self.files = {dcmread(path).SOPInstanceUID: path.read_bytes() for path in folder.glob("*.dcm")}
        header = dcmread(next(folder.glob("*.dcm")))
        self.study, self.series = str(header.StudyInstanceUID), str(header.SeriesInstanceUID)
        self.asked: list[str] = []
        self.logins: list[str | None] = []
        self.answers: dict[str, int | str] = {}
        self.modality = "MR"
        self.url = ""

    @contextmanager
    def running(self) -> Iterator[SmallPacs]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def answer(self, path: str) -> tuple[str, bytes]:
        """Return content type and body of the right answer to a GET."""
        if path.endswith("/series"):
            row: dict[str, Any] = {
                "0020000E": {"vr": "UI", "Value": [self.series]},
                "00080060": {"vr": "CS", "Value": [self.modality]},
            }
            return "application/dicom+json", json.dumps([row]).encode()
        if path.endswith("/instances"):
            rows = [{"00080018": {"vr": "UI", "Value": [uid]}} for uid in self.files]
            return "application/dicom+json", json.dumps(rows).encode()
        data = self.files[path.rpartition("/")[2]]
        body = b"--xx\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--xx--"
        return 'multipart/related; type="application/dicom"; boundary=xx', body


def _handler(pacs: SmallPacs) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            pacs.asked.append(f"GET {path}")
            pacs.logins.append(self.headers.get("Authorization"))
            told = next((told for end, told in pacs.answers.items() if path.endswith(end)), None)
            if isinstance(told, int):
                self.send_error(told)
                return
            kind, body = ("text/html", told.encode()) if told and told != "broken" else pacs.answer(path)
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if told == "broken" else body)

        def do_POST(self) -> None:
            pacs.asked.append(f"POST {self.path}")
            self.rfile.read(int(self.headers["Content-Length"]))
            failed = {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0x0110]}}]}
            body = json.dumps({"00081198": failed}).encode()
            self.send_response(202)
            self.send_header("Content-Type", "application/dicom+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    return Handler
