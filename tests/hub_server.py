"""A small stand-in for the Hugging Face hub on this machine: repositories with commits, private and gated ones, and tokens."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

TOKEN = "hf_of_the_owner"


@dataclass
class Repo:
    """A repository: the files of each commit by its hash, the newest last."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, files: dict[str, bytes]) -> str:
        """Add a commit with files beside those of the last one; return its hash."""
        all_files = {**(list(self.commits.values()) or [{}])[-1], **files}
        oid = hashlib.sha1(repr(sorted(all_files.items())).encode()).hexdigest()
        self.commits[oid] = all_files
        return oid


class Hub(http.server.ThreadingHTTPServer):
    """Answers as the hub does to what `huggingface_hub` asks; `asked` lists method and path of each request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.repos: dict[str, Repo] = {}
        self.asked: list[str] = []
        self.claimed_bytes: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Run a hub in a thread."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield hub
        hub.shutdown()
        thread.join()


class Answers(http.server.BaseHTTPRequestHandler):
    """One request."""

    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        if self.path == "/":
            return self.answer(b"")
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)", self.path):
            repo = self.server.repos.get(found[1])
            if repo is None or (repo.private and not self.signed_in):
                return self.refuse(404 if self.signed_in else 401, "RepoNotFound")
            return self.answer({"id": found[1], "private": repo.private, "sha": list(repo.commits or ["0" * 40])[-1]})
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path)
        repo = self.server.repos.get(found[1]) if found else None
        if found is None or repo is None or (repo.private and not self.signed_in):
            return self.refuse(404 if self.signed_in else 401, "RepoNotFound")
        if repo.gated and not self.signed_in:
            return self.refuse(401, "GatedRepo")
        commit = list(repo.commits)[-1] if found[2] == "main" else found[2]
        if commit not in repo.commits:
            return self.refuse(404, "RevisionNotFound")
        if found[3] not in repo.commits[commit]:
            return self.refuse(404, "EntryNotFound")
        body = repo.commits[commit][found[3]]
        return self.answer(body, ETag=f'"{hashlib.sha1(body).hexdigest()}"', X_Repo_Commit=commit, name=found[3])

    def do_POST(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.signed_in:
            return self.refuse(401, "")
        if self.path == "/api/validate-yaml":
            return self.answer({"errors": [], "warnings": []})
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked.get('organization') or 'me'}/{asked['name']}"
            if not name.startswith("me/"):
                return self.refuse(403, "")
            if name in self.server.repos:
                return self.answer({"url": f"{self.server.url}/{name}"}, status=409)
            self.server.repos[name] = Repo(private=asked.get("private") or asked.get("visibility") == "private")
            return self.answer({"url": f"{self.server.url}/{name}"})
        name, action = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", self.path).groups()
        if action == "preupload":
            files = json.loads(body)["files"]
            return self.answer(
                {"files": [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in files]}
            )
        values = [each["value"] for each in map(json.loads, body.splitlines()) if each["key"] == "file"]
        oid = self.server.repos[name].commit({each["path"]: base64.b64decode(each["content"]) for each in values})
        return self.answer({"commitOid": oid, "commitUrl": f"{self.server.url}/{name}/commit/{oid}"})

    @property
    def signed_in(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def refuse(self, status: int, code: str) -> None:
        self.answer({"error": "refused"}, status=status, X_Error_Code=code)

    def answer(self, body: Any, *, status: int = 200, name: str = "", **headers: str) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.send_header("Content-Length", str(self.server.claimed_bytes.get(name, len(content))))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""
