"""Models on the hub: what leaves the machine, what comes back, and one line for each obstacle; the hub runs on this machine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fake_models import write_model
from hub_server import TOKEN, Hub, Repo, running_hub
from huggingface_hub import constants

from bts.apps import cli
from bts.apps.evaluate import default_folder
from bts.errors import RequestError
from bts.inference.model_selection import model_folder
from bts.inference.predictor import Predictor
from bts.models.fine_tune import find_model
from bts.models.folder import load_network, read_card
from bts.models.sharing import fetch, find_on_hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub on this machine, an empty cache, and no token but that of the owner."""
    with running_hub() as hub:
        monkeypatch.setattr(constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model folder with a card for readers beside the weights, and a file that nobody else needs."""
    folder = write_model(tmp_path / "tiny", "joint", encoder="test_resnet", name="first")
    (folder / "model.onnx").write_bytes(b"exported")
    (folder / "MODEL_CARD.md").write_text("# Model card: tiny\n\nAs it is.\n", encoding="utf-8")
    return folder


def files_of(model: Path) -> dict[str, bytes]:
    return {name: (model / name).read_bytes() for name in ("model.json", "model.safetensors")}


def test_a_pushed_model_comes_back_by_its_name(
    hub: Hub, model: Path, phantom_set: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["push", str(model), "me/tiny"]) == 0
    said = capsys.readouterr().out
    repo = hub.repos["me/tiny"]
    (commit,) = repo.commits
    assert repo.private
    assert set(repo.commits[commit]) == {"model.json", "model.safetensors", "README.md"}  # no exported file, nothing else
    assert f"pushed: hf://me/tiny@{commit}" in said

    by_path, by_name = (Predictor.load(joint=each, runtime="torch") for each in (model, Path("hf://me/tiny")))
    scan = next(phantom_set.glob("*.mat"))
    assert by_name.predict(scan).class_prob == pytest.approx(by_path.predict(scan).class_prob)
    assert find_model(f"hf://me/tiny@{commit}") == find_model("hf://me/tiny")  # initial weights of a training
    assert default_folder([Path("hf://me/tiny")], data="brisc", part="test") == Path("results/report_brisc")  # not in the cache


def test_what_leaves_names_no_patient_and_no_folder(finished_runs, hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    run = finished_runs["cls"]
    card = read_card(run.model)
    assert len(card.training_patients) > 1
    assert cli.main(["push", str(run.path), "me/of-a-run"]) == 0
    assert f"{len(card.training_patients)} hashes of patients are left out" in capsys.readouterr().out
    sent = hub.repos["me/of-a-run"].commits.popitem()[1]
    texts = (sent["model.json"] + sent["README.md"]).decode()
    patients = {line.split(",")[1] for line in run.split_file.read_text(encoding="utf-8").splitlines()[1:]}
    hidden = {*card.training_patients, card.patients_key, str(run.path.parent), *(each for each in patients if len(each) > 3)}
    assert [each for each in hidden if each in texts] == []


def test_the_page_is_in_the_hub_s_format_and_quotes_no_score_that_the_card_lacks(
    finished_runs, tmp_path: Path, model: Path
) -> None:
    pages = {}
    for name, each in {"run": finished_runs["cls"].path, "unscored": model}.items():
        assert cli.main(["push", str(each), "me/tiny", "--out", str(tmp_path / name)]) == 0
        _, head, pages[name] = (tmp_path / name / "README.md").read_text(encoding="utf-8").split("---\n", 2)
        pages[name + " head"] = yaml.safe_load(head)
    assert pages["run head"] == {
        "license": "apache-2.0",
        "library_name": "bts",
        "pipeline_tag": "image-classification",
        "tags": ["medical-imaging", "mri", "brain-tumor", "synthetic-data"],
        "metrics": ["accuracy", "f1"],
    }
    assert "metrics" not in pages["unscored head"]
    assert "As it is." in pages["unscored"]
    assert "hf://me/tiny" in pages["run"]


def test_nothing_is_sent_with_out(hub: Hub, model: Path, tmp_path: Path) -> None:
    assert cli.main(["push", str(model), "me/tiny", "--out", str(tmp_path / "out")]) == 0
    assert hub.asked == []


def test_a_public_repository_needs_public(hub: Hub, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hub.repos["me/open"] = Repo(private=False)
    assert cli.main(["push", str(model), "me/open"]) == 2
    assert "me/open: the repository is public: add --public to publish there" in capsys.readouterr().err
    assert hub.repos["me/open"].commits == {}
    assert cli.main(["push", str(model), "me/open", "--public"]) == 0
    assert len(hub.repos["me/open"].commits) == 1


def test_a_commit_is_fetched_once_and_a_branch_falls_back_to_the_cache(
    hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hub.repos["me/two"] = Repo()
    first = hub.repos["me/two"].commit(files_of(model))
    card = json.loads((model / "model.json").read_text(encoding="utf-8")) | {"name": "second"}
    hub.repos["me/two"].commit({"model.json": json.dumps(card).encode()})
    pinned, newest = find_on_hub(f"hf://me/two@{first}"), find_on_hub("hf://me/two")
    assert (read_card(pinned).name, read_card(newest).name) == ("first", "second")
    hub.asked.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    fetch.cache_clear()
    assert find_on_hub(f"hf://me/two@{first}") == pinned
    assert find_on_hub("hf://me/two") == newest
    assert hub.asked == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hf://me", "expected hf://owner/name or hf://owner/name@revision"),
        ("hf://me/a/b", "expected hf://owner/name"),
        ("hf://me/../x", "expected hf://owner/name"),
        ("hf://me/gone", "no such repository on the hub, or a private one: check the name, or sign in"),
        ("hf://me/hidden", "no such repository on the hub, or a private one: check the name, or sign in"),
        ("hf://me/gated", "access must be granted by the owner: ask for it on its page, and sign in"),
        ("hf://me/pickles", "no model of bts: model.json or model.safetensors is missing"),
        ("hf://me/pickles@v9", "hf://me/pickles@v9: the repository has no such revision"),
        ("hf://me/huge", "model.safetensors has 9,000,000,000 bytes, at most 2,155,872,264 are fetched"),
        ("hf://me/other", "model.safetensors: no whole safetensors file"),
    ],
)
def test_what_can_t_be_fetched_is_one_line(
    name: str, expected: str, hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    hub.repos |= {"me/hidden": Repo(private=True), "me/gated": Repo(gated=True), "me/pickles": Repo(), "me/other": Repo()}
    hub.repos["me/huge"] = Repo()
    for each in ("hidden", "gated", "huge"):
        hub.repos[f"me/{each}"].commit(files_of(model))
    hub.repos["me/pickles"].commit({"pytorch_model.bin": b"code"})
    hub.repos["me/other"].commit(files_of(model) | {"model.safetensors": b"code"})
    if name == "hf://me/huge":
        hub.claimed_bytes["model.safetensors"] = 9_000_000_000
    with pytest.raises(RequestError, match=re.escape(expected)) as caught:
        load_network(model_folder(name))
    assert "\n" not in str(caught.value)
    assert not any(line.endswith((".bin", "huge/resolve/main/model.safetensors")) for line in hub.asked if "GET" in line)


@pytest.mark.parametrize(
    ("repo", "token", "expected"),
    [
        ("tiny", TOKEN, "repository 'tiny': expected owner/name, of letters, digits"),
        ("others/tiny", TOKEN, "others/tiny: the hub refuses access (403): sign in"),
        ("me/tiny", "hf_wrong", "me/tiny: the hub refuses access (401): sign in"),
        ("me/tiny", None, "me/tiny: the hub refuses access (401): sign in with `hf auth login` or set HF_TOKEN"),
    ],
)
def test_what_can_t_be_pushed_is_one_line(
    repo: str, token: str | None, expected: str, hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("HF_TOKEN", token) if token else monkeypatch.delenv("HF_TOKEN")
    assert cli.main(["push", str(model), repo]) == 2
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1
    assert not any(each.commits for each in hub.repos.values())


def test_without_a_hub_one_line_says_so(hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(RequestError, match=r"hf://me/never@main: the hub does not respond, and the cache has none"):
        find_on_hub("hf://me/never")


def test_without_a_hub_nothing_is_sent(
    hub: Hub, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert cli.main(["push", str(model), "me/tiny"]) == 2
    assert "me/tiny: the hub does not respond, nothing is sent" in capsys.readouterr().err


def test_a_model_without_a_card_is_not_pushed(hub: Hub, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model / "MODEL_CARD.md").unlink()
    assert cli.main(["push", str(model), "me/tiny"]) == 2
    assert "no MODEL_CARD.md in it: push a run, or write the card first (`bts card RUN --out " in capsys.readouterr().err
    assert hub.asked == []


def test_a_card_that_is_no_text_is_not_pushed(hub: Hub, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (model / "MODEL_CARD.md").write_bytes(b"\xff\xfe")
    assert cli.main(["push", str(model), "me/tiny"]) == 2
    assert "MODEL_CARD.md: can't be read as UTF-8 text: write it anew (`bts card RUN --out " in capsys.readouterr().err
    assert hub.asked == []
