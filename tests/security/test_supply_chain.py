"""Locked packages of the page, licences of all packages, and the checks of `make lint` for secrets and vulnerabilities."""

from __future__ import annotations

import gzip
import hashlib
import json
import platform
import re
import shutil
import subprocess
import sys
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from bts.errors import RequestError
from tools import licences, secrets_command, vulnerabilities_command
from tools.__main__ import main
from tools.declared import CORE, closure, declared

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements" / "app.lock.txt"
OF_THE_PAGE = (CORE, "app", "onnx", "openvino", "dicom")
LOCKED_FOR = ("Linux", "x86_64", "CPython", (3, 11))


def locked() -> dict[str, tuple[str, list[str]]]:
    """Version and hashes by package of the lock file, read as pip reads it: a backslash continues a line."""
    text = LOCK.read_text(encoding="utf-8").replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            pin, *options = line.split()
            name, version = re.fullmatch(r"([\w.-]+)==([\w.]+)", pin).groups()  # type: ignore[union-attr]
            found[canonicalize_name(name)] = (version, options)
    return found


def constrained() -> dict[str, str]:
    pins = [line.split("#")[0].strip() for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()]
    needs = [Requirement(pin) for pin in pins if pin]
    return {
        canonicalize_name(need.name): str(need.specifier).removeprefix("==")
        for need in needs
        if need.marker is None or need.marker.evaluate({"python_version": "3.11"})
    }


def test_every_locked_package_has_one_version_and_sha256_hashes() -> None:
    assert len(locked()) > 100
    for version, options in locked().values():
        assert version
        assert options
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", option) for option in options)


def test_the_lock_holds_the_versions_of_the_constraints() -> None:
    versions = constrained()
    assert {name: version for name, (version, _) in locked().items() if versions.get(name, version) != version} == {}
    assert {"torch", "gradio", "openvino", "numpy"} <= set(locked()) & set(versions)


def test_the_constraints_serve_the_cpu_wheels_of_pytorch_too() -> None:
    versions = constrained()
    for name in ("torch", "torchvision"):
        assert Requirement(f"{name}=={versions[name]}").specifier.contains(f"{versions[name]}+cpu")
    assert [name for name in versions if re.match(r"nvidia|cuda|triton", name)] == []  # they would come beside CPU wheels


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(("torch", "indices"), [("cpu", 1), ("", 0)])
def test_make_install_takes_the_wheels_that_are_asked_for_and_shows_pips_progress(
    torch: str, indices: int, tmp_path: Path
) -> None:
    asked = ["make", "--dry-run", "install", f"TORCH={torch}", f"VENV={tmp_path / 'new'}", f"PY={sys.executable}"]
    lines = subprocess.run(asked, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    (line,) = [line for line in lines if "--editable" in line]
    assert line.count("--extra-index-url https://download.pytorch.org/whl/cpu") == indices
    assert "--quiet" not in line


@pytest.mark.skipif(
    (platform.system(), platform.machine(), platform.python_implementation(), sys.version_info[:2]) != LOCKED_FOR,
    reason="the lock is for CPython 3.11 on Linux x86-64: elsewhere other packages are installed",
)
def test_the_lock_holds_everything_that_the_page_needs() -> None:
    needed = closure([need for group in OF_THE_PAGE for need in declared()[group]])
    assert needed - set(locked()) == set()


def test_a_locked_version_meets_setup_cfg() -> None:
    for need in (need for group in OF_THE_PAGE for need in declared()[group]):
        assert need.specifier.contains(locked()[canonicalize_name(need.name)][0]), need


def test_the_page_of_licences_names_every_declared_package() -> None:
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| ([\w.-]+) \| [^|]+ \| [^|]+ \| [^|]+ \| [^|]+ \|$", page, flags=re.MULTILINE))
    assert {canonicalize_name(need.name) for needs in declared().values() for need in needs} - named == set()
    for model in licences.bundled_weights():
        assert f"| `{model.name}` | {model.licence} |" in page


def test_the_viewer_is_the_file_of_npm_and_its_licences_are_stated() -> None:
    static = ROOT / "bts/apps/web/static"
    licence = (static / "niivue.LICENSES.txt").read_text(encoding="utf-8")
    digest = hashlib.sha256(gzip.decompress((static / "niivue.umd.js.gz").read_bytes())).hexdigest()
    assert f"SHA-256 of the uncompressed file: {digest}" in licence
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    for package_name in re.findall(r"^-{80}\n([^ \n]+) [\d.]+ \(", licence, flags=re.MULTILINE):
        assert f"`{package_name}`" in page, package_name


def package(folder: Path, *fields: str) -> PathDistribution:
    info = folder / "thing-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", "Name: thing", "Version: 1.0", *fields]) + "\n")
    return PathDistribution(info)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (["License-Expression: MIT AND (Apache-2.0 OR BSD-2-Clause)"], "MIT AND (Apache-2.0 OR BSD-2-Clause)"),
        (["License: Apache 2.0"], "Apache-2.0"),
        (["License: long text", "Classifier: License :: OSI Approved :: MIT License"], "MIT"),
    ],
)
def test_a_stated_licence_is_read(fields: list[str], expected: str, tmp_path: Path) -> None:
    assert licences.licence_of(package(tmp_path, *fields), groups=("app",)).expression == expected


@pytest.mark.parametrize(
    "fields",
    [[], ["License: UNKNOWN"], ["Classifier: License :: OSI Approved :: BSD License"], ["License-Expression: AGPL-3.0"]],
)
def test_a_licence_that_nobody_read_stops_the_page(fields: list[str], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"thing 1.0: expected a known licence in its metadata.*RESOLVED"):
        licences.licence_of(package(tmp_path, *fields), groups=("app",))


def test_a_package_that_is_not_installed_stops_the_page() -> None:
    with pytest.raises(RequestError, match=r"no-such-thing is not installed: `make licences`"):
        closure([Requirement("no-such-thing>=1")])


def test_a_closure_follows_extras_and_markers() -> None:
    assert closure([Requirement("jsonargparse>=4")]) < closure([Requirement("jsonargparse[signatures]>=4")])
    assert closure([Requirement("no-such-thing; python_version < '3'")]) == set()


def test_weights_from_an_unknown_set_stop_the_page(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(
        next(licences.BUNDLED.glob("*/model.json")).parent, folder, ignore=shutil.ignore_patterns("*.onnx", "*.saf*")
    )
    card = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    (folder / "model.json").write_text(json.dumps(card | {"trained_on": "10 elsewhere slices of 3 patients"}))
    with pytest.raises(RequestError, match="elsewhere: licence not known"):
        licences.bundled_weights(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        "key = '" + "AKIA" + "Q" * 12 + "3Z7X'",
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        "pass" + "word = 'correct horse battery'",
    ],
)
def test_a_planted_secret_fails_the_scan(line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("detect_secrets", reason="detect-secrets is not installed: pip install 'bts[dev]'")
    (tmp_path / "settings.py").write_text(line + "\n")
    assert main(["secrets", str(tmp_path / "settings.py")]) == 1
    assert "settings.py:1" in capsys.readouterr().out


def test_hashes_are_no_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("detect_secrets", reason="detect-secrets is not installed: pip install 'bts[dev]'")
    with_hashes = [LOCK, *licences.BUNDLED.glob("*/SHA256SUMS"), ROOT / "bts" / "data" / "download.py"]
    assert main(["secrets", *map(str, with_hashes)]) == 0
    assert f"secrets: none in {len(with_hashes)} files" in capsys.readouterr().out


def test_git_names_the_files_that_are_scanned() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone")
    assert {"setup.cfg", "bts/privacy.py"} <= set(secrets_command.tracked())


ANSWER = {
    "dependencies": [
        {"name": "safe", "version": "1.0", "vulns": []},
        {
            "name": "bad",
            "version": "2.0",
            "vulns": [{"id": "PYSEC-1", "fix_versions": ["2.1"]}, {"id": "X-2", "fix_versions": []}],
        },
        {"name": "own", "skip_reason": "Dependency not found on PyPI and could not be audited: own (1)"},
    ]
}


def test_a_known_vulnerability_is_a_failure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pip_audit", reason="pip-audit is not installed: pip install 'bts[dev]'")
    monkeypatch.setattr(vulnerabilities_command, "ask", lambda pins: vulnerabilities_command.findings(json.dumps(ANSWER), ""))
    assert main(["vulnerabilities"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "bad 2.0: PYSEC-1, fixed in 2.1",
        "bad 2.0: X-2, fixed in no version",
    ]


def test_a_service_that_answers_about_nothing_is_not_an_all_clear() -> None:
    answer = {"dependencies": ANSWER["dependencies"][2:]}
    with pytest.raises(vulnerabilities_command.NotReached, match="no advisory service"):
        vulnerabilities_command.findings(json.dumps(answer), "")


def test_a_failure_of_pip_audit_itself_is_no_skip() -> None:
    with pytest.raises(RequestError, match="pip-audit failed: pip-audit: error: unrecognized arguments"):
        vulnerabilities_command.findings("", "usage: pip-audit\npip-audit: error: unrecognized arguments: --what")


def test_a_service_that_can_t_be_reached_is_said_and_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pip_audit", reason="pip-audit is not installed: pip install 'bts[dev]'")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert main(["vulnerabilities"]) == 0
    assert capsys.readouterr().out.startswith("vulnerabilities: NOT CHECKED, the advisory service can't be reached")


def test_a_pin_is_read_without_its_hashes(tmp_path: Path) -> None:
    file = tmp_path / "lock.txt"
    file.write_text("# a comment\nOne_Thing==1.0 \\\n    --hash=sha256:00\ntwo==2; python_version < '3'\nthree==3  # why\n")
    assert vulnerabilities_command.pins_of(file) == ["one-thing==1.0", "three==3"]
