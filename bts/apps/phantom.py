"""The `bts phantom` command: write a synthetic set in figshare's layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bts.apps.run import DONE, OneLineParser, say
from bts.glossary import count_of


def command(argv: Sequence[str]) -> int:
    """Write a phantom set and return the exit status."""
    parser = OneLineParser(
        prog="bts phantom", description="Write a synthetic set in figshare's layout. The same seed gives the same files."
    )
    parser.add_argument("out", type=Path, metavar="OUT", nargs="?", help="output folder, without slices")
    parser.add_argument("--out", type=Path, dest="out_option", metavar="OUT", help="same as the positional argument")
    parser.add_argument(
        "--patients",
        type=int,
        default=60,
        metavar="N",
        help="number of patient IDs with a tumour, equally of three classes; one in twelve is the second ID of a patient [60]",
    )
    parser.add_argument("--healthy", type=int, default=0, metavar="N", help="number of patients without a tumour [0]")
    parser.add_argument(
        "--slices",
        type=int,
        nargs=2,
        default=(4, 8),
        metavar=("MIN", "MAX"),
        help="minimum and maximum number of slices per patient [4 8]",
    )
    parser.add_argument("--side", type=int, default=512, metavar="N", help="rows and columns of a slice [512]")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="random seed [0]")
    options = parser.parse_args(argv)
    out = options.out_option or options.out
    if out is None:
        parser.error("expected a folder to write to: `bts phantom OUT`")
    from bts.data.patient_ids import format_ids
    from bts.data.phantom import plan_patients, write_phantom

    numbers = {"healthy": options.healthy, "seed": options.seed, "side": options.side}
    count = write_phantom(out, patients=options.patients, slices_per_patient=tuple(options.slices), **numbers)
    patients = format_ids(each.patient for each in plan_patients(options.patients, tuple(options.slices), **numbers))
    say(f"{count_of(count, 'synthetic slice')} of {patients} in {out}")
    say(f"to train on them: python train_seg.py --data.root {out} --model.weights none")
    return DONE
