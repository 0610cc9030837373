"""Models on the Hugging Face hub: fetched by `hf://owner/name@revision`, and pushed.

Of a repository `model.json` and `model.safetensors` alone are fetched, and read as any other model folder: as untrusted.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bts.errors import RequestError
from bts.models.card_rules import LARGEST_CARD
from bts.models.folder import CARD, WEIGHTS

if TYPE_CHECKING:
    from huggingface_hub import HfApi

ADDRESS = re.compile(r"hf:/{1,2}(?P<repo>[^@]*)(?:@(?P<revision>.*))?")
"""Of a model on the hub. One slash too, as `pathlib.Path` merges the two of a command line."""
REPO = re.compile(r"[A-Za-z0-9_][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95}", re.ASCII)
REVISION = re.compile(r"[\w.-]+(/[\w.-]+)*", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
FORM = "owner/name, of letters, digits, '-', '_' and '.'"


def find_on_hub(model: str | Path) -> Path | None:
    """Return the model folder of `hf://owner/name` or `hf://owner/name@revision` in the hub's cache, None for other paths.

    The revision is a commit, a tag or a branch [main]. A commit that is in the cache is not asked for again; without a network,
    what was fetched last of a tag or a branch is used.

    Raises:
        RequestError: no address of that form, no such model, none that may be read, or no answer and none in the cache.
    """
    found = ADDRESS.fullmatch(model if isinstance(model, str) else model.as_posix())
    if found is None:
        return None
    revision = found["revision"]
    if not REPO.fullmatch(found["repo"]) or (revision is not None and not REVISION.fullmatch(revision)):
        raise RequestError(f"{model}: expected hf://owner/name or hf://owner/name@revision, with {FORM}")
    return fetch(found["repo"], revision or "main")


def push_files(repo: str, files: Mapping[str, bytes], *, public: bool) -> str:
    """Write files into a repository of the hub in one commit, and return the address of that commit: `hf://owner/name@commit`.

    A repository that does not exist is created, private unless `public`.

    Raises:
        RequestError: no such owner, no token that may write there, no answer, or a repository that is public against `public`.
    """
    refuse_repo(repo)
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    with _in_one_line(repo, offline="nothing is sent"):
        _refuse_offline()
        api.create_repo(repo, private=not public, exist_ok=True)
        _refuse_public(api, repo, public=public)
        operations = [CommitOperationAdd(name, content) for name, content in files.items()]
        commit = api.create_commit(repo, operations, commit_message="Upload a model of bts")
    return f"hf://{repo}@{commit.oid}"


def refuse_repo(repo: str) -> None:
    """Raise `RequestError` for what can't be the name of a repository."""
    if not REPO.fullmatch(repo):
        raise RequestError(f"repository '{repo}': expected {FORM}")


@functools.cache  # a command asks several times for the folder of a model
def fetch(repo: str, revision: str) -> Path:
    """Return the folder in the cache with both files, after their sizes were compared with what is read at most."""
    from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    from bts.models.hub import offline_unless_reachable
    from bts.models.weights_file import LARGEST_FILE

    limits = {CARD: LARGEST_CARD, WEIGHTS: LARGEST_FILE}
    pinned = COMMIT.fullmatch(revision)
    places = [try_to_load_from_cache(repo, name, revision=revision) for name in limits] if pinned else [None]
    if all(isinstance(place, str) for place in places):
        return Path(str(places[0])).parent
    with _in_one_line(f"hf://{repo}@{revision}", offline="and the cache has none"), offline_unless_reachable():
        if not constants.HF_HUB_OFFLINE:
            for name, largest in limits.items():
                size = get_hf_file_metadata(hf_hub_url(repo, name, revision=revision)).size
                if size is None or size > largest:
                    raise RequestError(
                        f"hf://{repo}@{revision}: {name} has {size or 0:,} bytes, at most {largest:,} are fetched"
                    )
        folders = {Path(hf_hub_download(repo, name, revision=revision)).parent for name in limits}
    if len(folders) > 1:
        raise RequestError(f"hf://{repo}@{revision}: changed while it was fetched: try again, or name a commit as revision")
    return folders.pop()


def _refuse_offline() -> None:
    """Raise at once where the hub does not respond: its client would try again for a minute."""
    from huggingface_hub import constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    from bts.models.hub import offline_unless_reachable

    with offline_unless_reachable():
        if constants.HF_HUB_OFFLINE:
            raise OfflineModeIsEnabled("offline")


def _refuse_public(api: HfApi, repo: str, *, public: bool) -> None:
    if not public and not api.model_info(repo).private:
        raise RequestError(f"{repo}: the repository is public: add --public to publish there, or name another one")


@contextmanager
def _in_one_line(where: str, *, offline: str) -> Iterator[None]:
    """Turn what the hub's client raises into `RequestError`; `offline` says what follows where there was no answer."""
    from huggingface_hub import errors

    from bts.models.hub import no_answer

    sign_in = "sign in with `hf auth login` or set HF_TOKEN"
    try:
        yield
    except errors.GatedRepoError as error:
        raise RequestError(f"{where}: access must be granted by the owner: ask for it on its page, and {sign_in}") from error
    except errors.RevisionNotFoundError as error:
        raise RequestError(f"{where}: the repository has no such revision") from error
    except errors.RepositoryNotFoundError as error:
        raise RequestError(f"{where}: no such repository on the hub, or a private one: check the name, or {sign_in}") from error
    except errors.LocalEntryNotFoundError as error:
        raise RequestError(f"{where}: the hub does not respond, {offline}") from error
    except errors.EntryNotFoundError as error:
        raise RequestError(f"{where}: no model of bts: {CARD} or {WEIGHTS} is missing") from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise RequestError(
                f"{where}: the hub refuses access ({status}): {sign_in}, with a token that may do this"
            ) from error
        raise RequestError(
            f"{where}: the hub answers with status {status} ({error.server_message or 'no reason given'})"
        ) from error
    except no_answer() as error:
        raise RequestError(f"{where}: the hub does not respond, {offline}") from error
