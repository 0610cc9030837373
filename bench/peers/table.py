"""The peers' tables: on the terminal, and as docs/performance.md."""

from __future__ import annotations

from typing import Any

from bench.peers.catalogue import PEERS, REFERENCE
from bts.evaluation.intervals import Interval

HEAD = """# Performance

`bts` compared with the software that could be used in its place. Benchmarks of one machine each:
[with bf16](performance_machine.md), [without bf16](performance_no_bf16.md). What each offers: [Alternatives](alternatives.md).

## Which to choose

- If you have a GPU and a day, and need masks only: nnU-Net. It is planned for that: 1,000 epochs, strong augmentation, an
  ensemble of five folds. Its learning rate falls over these epochs, so that a training stopped after minutes shows its start.
- To write and change the training itself: MONAI, or a plain loop with segmentation-models-pytorch and timm.
- On a few cores, or for mask, class and map of a scan in one pass, with calibrated probabilities and intervals: `bts`.

## Peers

The same patients, pixels, cores and training time for all. Written by `python -m bench peers`.

    python -m bench peers --data data/figshare --minutes 10 30 60 --cores 2     # each in an environment of its own
    python -m bench peers --page docs/performance.md                            # this page
"""

LATE = 0.02
"""Share of a time by which a snapshot may be early or late without a mark."""


def text_of(interval: dict[str, Any] | None, digits: int = 3) -> str:
    """Return an interval as text, or a dash."""
    return "–" if interval is None else Interval(**interval).text(digits)


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "–" if value is None else f"{value:{form}}{unit}"


def _gib(mib: float) -> str:
    return f"{mib / 1024:.1f} GiB"


def _budget(row: dict[str, Any]) -> str:
    machine = row["machine"]
    where = f"GPU {machine['gpu']}" if row["device"] == "cuda" else f"{row['cores']} core{'s' * (row['cores'] > 1)}"
    return f"{row['minutes']:.1f} min, {where}, {machine['cpu']}"


def _dice(shot: dict[str, Any], asked: float) -> str:
    """Return the Dice after a time, with the time that it really had where that is another, or why there is none."""
    if shot["dice"] is None:
        return f"– ({shot['note']})"
    other = abs(shot["minutes"] - asked) > LATE * asked
    return text_of(shot["dice"]) + (f" ({shot['minutes']:.1f} min)" if other else "")


def score_table(results: dict[str, Any]) -> list[list[str]]:
    """Return the table of Dice after each time, and the difference to the reference at the last, head first."""
    names = [f"{minutes:g}" for minutes in results["settings"]["minutes"]]
    head = ["", *(f"Dice after {name} min" for name in names), f"minus {REFERENCE}, {names[-1]} min", "trained"]
    table = [head]
    for name, row in results["peers"].items():
        if "failed" in row:
            table.append([name, row["failed"], *[""] * (len(head) - 2)])
            continue
        shots = row["snapshots"]
        cells = [_dice(shots[each], float(each)) for each in names]
        table.append([name, *cells, shots[names[-1]].get("difference") or "", _budget(row)])
    return table


def cost_table(results: dict[str, Any]) -> list[list[str]]:
    """Return the table of speed, memory and disk, head first."""
    table = [
        [
            "",
            "training",
            "preparation",
            "one scan, warm",
            "one scan, cold",
            "peak memory, training",
            "environment",
            "model",
            "outputs",
        ]
    ]
    for name, row in results["peers"].items():
        if "failed" not in row:
            table.append(
                [
                    name,
                    _number(row["slices_per_s"], ".1f", " slices/s"),
                    _number(row["prepare_s"], ".0f", " s"),
                    _number(row["warm_ms"], ".0f", " ms"),
                    _number(row["cold_s"], ".1f", " s"),
                    _number(row["peak_mib"], ",.0f", " MiB"),
                    _gib(row["environment_mib"]),
                    _number(row["model_mib"], ".0f", " MiB"),
                    ", ".join(PEERS[name].outputs),
                ]
            )
    return table


def class_table(results: dict[str, Any]) -> list[list[str]]:
    """Return the table of classes and maps after the last time, head first."""
    last = f"{results['settings']['minutes'][-1]:g}"
    table = [["", f"class right, {last} min", "calibration error", "map inside the true mask"]]
    for name, row in results["peers"].items():
        found = row.get("snapshots", {}).get(last, {})
        if found.get("accuracy"):
            table.append([name, *(text_of(found.get(key)) for key in ("accuracy", "ece", "map_in_mask"))])
    return table


def terminal_table(results: dict[str, Any]) -> str:
    """Return all tables as text."""
    parts = []
    for table in (score_table(results), class_table(results), cost_table(results)):
        widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
        parts.append(
            "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table)
        )
    return "\n\n".join(["", *parts, *_notes(results)])


def _markdown(table: list[list[str]]) -> str:
    head, *rows = [f"| {' | '.join(row)} |" for row in table]
    return "\n".join([head, "|" + "---|" * len(table[0]), *rows]) + "\n"


def _notes(results: dict[str, Any]) -> list[str]:
    about = results["set"]
    notes = [
        f"test: {about['test']} slices of {results['patients']} patients of figshare's fold {about['fold']}, whole families; "
        f"trained on {about['train']}, validated on {about['val']}; all at {about['size']} x {about['size']} pixels; "
        "brackets: 95% intervals over patients; one seed",
        "training time: from the first step, its own validation included; preparation and the prediction of the test part do "
        "not count",
        "one scan, warm: from an array to mask, class and map in memory, batch 1, median of 25; cold: a whole process "
        "that reads a file and writes the mask, median of 3",
        "environment: as the registry has the packages, CUDA's libraries included; peak memory: of all its processes together",
    ]
    return [*notes, *(f"{name}: {_told(name, row)}" for name, row in results["peers"].items() if "failed" not in row)]


def _told(name: str, row: dict[str, Any]) -> str:
    last = list(row["snapshots"].values())[-1]
    parts = [
        PEERS[name].what,
        row["weights"],
        f"batch {row['batch']}",
        last["note"],
        f"load at the start {row['machine']['load']}",
    ]
    parts.append(", ".join(f"{package} {version}" for package, version in row["versions"].items()))
    return "; ".join([*parts, *([f"predicts with {row['runtime']}"] if row["runtime"] else [])])


def peers_page(results: dict[str, Any]) -> str:
    """Return the page."""
    parts = [HEAD]
    if results["settings"]["quick"]:
        parts.append("\n**A rehearsal on a few patients (`--quick`): these numbers are not meaningful.**\n")
    for table in (score_table(results), class_table(results), cost_table(results)):
        parts.append("\n" + _markdown(table))
    return "".join([*parts, "\n", *(f"- {note}\n" for note in _notes(results))])
