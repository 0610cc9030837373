"""The `bts push` command: publish a model on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser, say
from bts.errors import RequestError


def command(argv: Sequence[str]) -> int:
    """Push a model, or write what would be pushed, and return the exit status."""
    options = make_parser().parse_args(argv)
    from bts.inference.model_selection import model_folder
    from bts.models.card import published, to_json
    from bts.models.folder import CARD, WEIGHTS, read_card, read_weights
    from bts.models.sharing import push_files, refuse_repo
    from bts.report.hub_page import card_page, hub_page

    refuse_repo(options.repo)
    folder = model_folder(options.model)
    card = read_card(folder)
    page = hub_page(card, card_page(folder), repo=options.repo)
    files = {CARD: to_json(published(card)).encode(), WEIGHTS: read_weights(folder, card), "README.md": page.encode()}
    for name, content in files.items():
        say(f"{name:<17} {len(content):>13,} bytes")
    hashes = f"{len(card.training_patients)} hashes of patients are left out"
    say(f"with numbers of patients, scores, names of sets and classes; {hashes}")
    if options.out is not None:
        _write(options.out, files)
        say(f"written to {options.out}, nothing is sent")
        return DONE
    say(f"sending to {options.repo}, {'public' if options.public else 'private'}")
    say(f"pushed: {push_files(options.repo, files, public=options.public)}")
    return DONE


def _write(out: Path, files: dict[str, bytes]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (out / name).write_bytes(content)
    except OSError as error:
        raise RequestError(f"{out}: can't be written ({error.strerror}): choose another folder with --out") from error


def make_parser() -> OneLineParser:
    """Return the parser of `bts push`."""
    parser = OneLineParser(
        prog="bts push",
        description="Publish a model on the Hugging Face hub: weights, model.json without hashes of patients, and the model "
        "card as README.md. Sign in first with `hf auth login`, or set HF_TOKEN. The repository is private unless --public.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="run, model folder or bundled model")
    parser.add_argument("repo", metavar="OWNER/NAME", help="repository on the hub; it is created where there is none")
    parser.add_argument("--public", action="store_true", help="publish it for everybody [private]")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="write the files there, and send nothing")
    return parser
