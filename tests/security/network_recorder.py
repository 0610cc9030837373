"""Records every connection and name lookup of child processes, from Python and from native code, and refuses outgoing ones.

Python's own calls are seen by an audit hook (`sitecustomize.py` on the child's path); native code by a small library that is
preloaded, where the system is Linux and has a C compiler.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

from bts.privacy import SWITCHES

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(__file__).with_name("network_recorder.c")
OF_THIS_SESSION = (
    "CI",
    "TF_BUILD",
    "JENKINS_URL",
    "MPLCONFIGDIR",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "HF_HOME",
    "TORCH_HOME",
    "NO_PROXY",
    "no_proxy",
    *SWITCHES,
)
"""Variables that a child must not inherit: some libraries send nothing in a CI job, and the switches are what is tested."""

HOOK = """
import errno, os, sys

def hook(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = args[1]
        if not isinstance(address, tuple):
            return
        where, local = str(address[0]), ("127.", "::1", "localhost", "::ffff:127.")
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        where, local = args[0], ("127.", "::1", "localhost", "0.0.0.0")
        where = "" if where is None else where.decode() if isinstance(where, bytes) else str(where)
    else:
        return
    what = "lookup" if "get" in event else event.removeprefix("socket.")
    file = os.open(os.environ["NETWORK_RECORD"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(file, f"{os.environ.get('NETWORK_RECORD_AS', '')}\\t{what}\\t{where}\\n".encode())
    os.close(file)
    if where and not where.startswith(local):
        raise OSError(errno.ENETUNREACH, "refused by the test")

sys.addaudithook(hook)
"""


class Call(NamedTuple):
    """One recorded call: the command that made it, what it was (connect, lookup, ...), and its address or name."""

    during: str
    what: str
    where: str

    @property
    def leaves_the_machine(self) -> bool:
        """Whether the address is not a loopback address, or the name is not that of this machine."""
        try:
            return not (ip_address(self.where).is_loopback or ip_address(self.where).is_unspecified)
        except ValueError:
            return self.where not in ("", "localhost")


class NetworkRecorder:
    """Prepares the environment of child processes, and returns what they did.

    Attributes:
        home: home folder of the children, empty at first.
        native: whether native code is seen too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self._log, self._hooks, self._library = folder / "calls.txt", folder / "hooks", folder / "network_recorder.so"
        self.home.mkdir(parents=True)
        self._hooks.mkdir()
        (self._hooks / "sitecustomize.py").write_text(HOOK, encoding="utf-8")
        compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
        self.native = compiler is not None and sys.platform == "linux"
        if compiler is not None and self.native:
            subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", self._library, SOURCE, "-ldl"], check=True)

    def environment(self, during: str) -> dict[str, str]:
        """Return the environment of a child whose calls are recorded under the name `during`."""
        kept = {name: value for name, value in os.environ.items() if name not in OF_THIS_SESSION}
        return kept | {
            "HOME": str(self.home),
            "USERPROFILE": str(self.home),
            "PYTHONPATH": os.pathsep.join([str(self._hooks), str(ROOT)]),
            "NETWORK_RECORD": str(self._log),
            "NETWORK_RECORD_AS": during,
            **({"LD_PRELOAD": str(self._library)} if self.native else {}),
        }

    def calls(self) -> list[Call]:
        """Return what was recorded, in order."""
        lines = self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []
        return [Call(*line.split("\t")) for line in lines]

    def outgoing(self) -> list[Call]:
        """Return the recorded calls that leave this machine."""
        return [call for call in self.calls() if call.leaves_the_machine]
