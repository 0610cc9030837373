"""The `bts audit` command: leaks, contradicting labels, and confounding of class and publisher in data sets and splits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bts.apps.run import DONE, SOME_FAILED, OneLineParser, printable, say
from bts.atomic import write_text
from bts.errors import RequestError
from bts.progress import phase
from bts.registry import suggestion

if TYPE_CHECKING:
    from bts.audit.images import AuditSet

EPILOG = """
examples:
  bts audit folders:data/kaggle                        its Training and Testing folders
  bts audit figshare:data/figshare --split runs/seg/TIME/split.csv
  bts audit figshare:data/figshare brisc:data/brisc --recover figshare
  bts audit figshare:data/figshare brisc:data/brisc --recover figshare --leak-gap

exit status: 0 no finding, 1 leak, class from a single publisher, or unreadable image, 2 invalid request
"""


def command(argv: Sequence[str]) -> int:
    """Audit the sources and return the exit status."""
    parser = OneLineParser(
        prog="bts audit",
        description="Check data sets and splits for leakage (patients and copies of images in two parts) and confounding "
        "(classes that come from a single publisher).",
        epilog=EPILOG,
    )
    parser.add_argument(
        "sets",
        nargs="+",
        metavar="SOURCE",
        help="NAME:FOLDER (`bts sources` lists the names), or a folder, .csv, .npz; prefix WORD= to rename the set",
    )
    parser.add_argument(
        "--split", action="append", default=[], metavar="[SET=]FILE", help="split CSV to use instead of the published parts"
    )
    parser.add_argument(
        "--same-patient",
        choices=("suffixes", "exact"),
        default="suffixes",
        help="which patient IDs count as one patient [suffixes]",
    )
    parser.add_argument("--recover", metavar="SET", help="recover the patients of the other sets' images (recovered_*.csv)")
    parser.add_argument(
        "--leak-gap",
        action="store_true",
        help="measure what the leakage of patients adds to the accuracy: the same test images with and without their patients' "
        "other slices in the training images, on frozen ImageNet features",
    )
    parser.add_argument(
        "--model.weights",
        dest="weights",
        metavar="FILE",
        help="weights of MobileNetV2 for --leak-gap: a file, or `none` for random ones [ImageNet's, from timm's hub]",
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="output folder [results/audit/TIME]")
    options = parser.parse_args(argv)
    if options.weights and not options.leak_gap:
        raise RequestError("--model.weights is for --leak-gap: add it, or leave the weights out")
    with phase("starting"):
        from bts.audit.run import find_leaks
        from bts.audit.summary import summary
        from bts.audit.tables import write_tables
        from bts.report.audit_page import write_page

    network = None
    if options.leak_gap:  # weights that can't be had are refused before the images are read
        from bts.experiments.leak_gap import frozen_network, leak_gap_table, measure_leak_gaps, write_leak_gaps

        network = frozen_network(options.weights or "imagenet")
    sets = with_splits(open_sets(options.sets), options.split)
    out = options.out or Path("results") / "audit" / time.strftime("%Y-%m-%d_%H-%M-%S")
    out.mkdir(parents=True, exist_ok=True)
    with phase("auditing"):
        findings = find_leaks(sets, same_patient=options.same_patient, recover=options.recover)
        write_tables(findings, out, reference=options.recover)
        write_text(out / "index.html", write_page(findings, sets, reference=options.recover))
    say("\n".join(map(printable, summary(findings, reference=options.recover))))
    say(f"page: {out / 'index.html'}; all leaks: {out / 'leaks.csv'}")
    if network is not None:
        gaps = measure_leak_gaps(findings, network)
        write_leak_gaps(out, gaps)
        say(f"\n{leak_gap_table(gaps)}\nleak gap: {out / 'leak_gap.csv'}, {out / 'leak_gap.png'}")
    bad = findings.leaking or findings.confounded or findings.collection.failed
    return SOME_FAILED if bad else DONE


def open_sets(texts: Sequence[str]) -> list[AuditSet]:
    """Open the sets given by arguments; a set is named after its source, with a number if repeated.

    `WORD=NAME:FOLDER` names a set WORD.
    """
    from bts.audit.images import AuditSet
    from bts.data.sources.catalogue import detect_source, open_source, sources

    found: list[AuditSet] = []
    for argument in texts:
        given, text = split_set_name(argument)
        name, _, root = text.partition(":")
        is_misspelt = bool(root or suggestion(text, sources))  # refused with the nearest name
        if name in sources or (is_misspelt and not Path(text).exists()):
            root = root or str(Path("data") / name)
        else:
            name, root = detect_source(Path(text)), text
        called = given or name
        same = sum(each.name.partition("#")[0] == called for each in found)
        found.append(AuditSet(name=f"{called}#{same + 1}" if same else called, source=open_source(name, root)))
    return found


def split_set_name(argument: str) -> tuple[str, str]:
    """Split an argument into the name before `=`, if any, and the rest.

    >>> split_set_name("kaggle=folders:data/kaggle"), split_set_name("folders:data/kaggle"), split_set_name("data/a=b")
    (('kaggle', 'folders:data/kaggle'), ('', 'folders:data/kaggle'), ('', 'data/a=b'))
    """
    name, sign, rest = argument.partition("=")
    return (name, rest) if sign and name.isidentifier() and not Path(argument).exists() else ("", argument)


def with_splits(sets: list[AuditSet], splits: Sequence[str]) -> list[AuditSet]:
    """Return the sets with the parts and patients of split files."""
    from bts.audit.run import with_split_file

    for text in splits:
        name, _, file = text.partition("=") if "=" in text else (sets[0].name, "", text)
        if name not in {each.name for each in sets}:
            raise RequestError(f"--split {text}: no set '{name}' here: choose one of {', '.join(each.name for each in sets)}")
        if "=" not in text and len(sets) > 1:
            raise RequestError(f"--split {text}: several sets are audited: write --split SET={text}")
        sets = [with_split_file(each, Path(file)) if each.name == name else each for each in sets]
    return sets
