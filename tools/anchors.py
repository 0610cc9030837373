"""How does what was measured stand beside what others report, and beside the goal of this project?

What others report was gathered from their publications; most of it was measured on splits that can't be checked or that put
patients on two sides, and each row says so. Our column comes from the files of runs and from nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bts.evaluation.finished import Finished, leaks_allowed, measured_on
from bts.evaluation.headline import find
from bts.evaluation.intervals import Interval
from bts.glossary import NO_TUMOUR
from tools.results_kept import NOT_YET


@dataclass(frozen=True)
class Anchor:
    """One line of the comparison.

    Attributes:
        name: of the score, in words.
        source: the data set that it is measured on; empty where any will do.
        key: dotted place of our score in `metrics.json`.
        elsewhere: the best that can be checked, and on which split.
        goal: what ours must reach; None where only the difference to another line counts.
        better: `higher` or `lower`.
        split: `published` (leaks allowed), `by patient` (leaks refused), or empty where any will do.
        no_tumour: whether "no tumour" must be one of the classes, or must not be; None where it doesn't matter.
        recipe: whose benchmark counts where no named run fits, so that not the best of all is shown; empty where none does.
    """

    name: str
    source: str
    key: str
    elsewhere: str
    goal: float | None
    better: str = "higher"
    split: str = ""
    recipe: str = ""
    no_tumour: bool | None = None


KAGGLE, BRISC_CLASS, BRISC_MASK = "kaggle_backbones_mobilenetv2", "brisc_resnet18_cls", "brisc_resnet18_seg"
"""The recipes whose scores stand beside what others report: on Kaggle's set the one that had ImageNet weights."""

ANCHORS = (
    Anchor(
        "figshare: accuracy per slice",
        "figshare",
        "classification.slice.overall.accuracy",
        "0.911 (EfficientNet-B0, one fold by patient), 0.937 (ResNet18, five folds by patient); "
        "0.96 to 0.98 claimed with splits that can't be checked",
        0.95,
    ),
    Anchor(
        "figshare: Dice per slice",
        "figshare",
        "segmentation.slice.dice",
        "0.75 (attention U-Net, ResNet50), 0.828 (multi-scale CNN, split unknown)",
        0.83,
    ),
    Anchor(
        "Kaggle 7,023: accuracy per slice, published split",
        "folders",
        "classification.slice.overall.accuracy",
        "0.992 (published split, which leaks)",
        None,
        split="published",
        recipe=KAGGLE,
    ),
    Anchor(
        "Kaggle 7,023: accuracy per slice, by patient",
        "folders",
        "classification.slice.overall.accuracy",
        "0.952 (patient-disjoint)",
        0.96,
        split="by patient",
        recipe=KAGGLE,
    ),
    Anchor(
        "BRISC: accuracy per slice, published split",
        "brisc",
        "classification.slice.overall.accuracy",
        "0.992 to 0.993 (published split, which leaks)",
        None,
        split="published",
        recipe=BRISC_CLASS,
    ),
    Anchor(
        "BRISC: accuracy per slice, by patient",
        "brisc",
        "classification.slice.overall.accuracy",
        "not reported by anyone",
        None,
        split="by patient",
        recipe=BRISC_CLASS,
    ),
    Anchor(
        "BRISC: Dice per slice, published split",
        "brisc_seg",
        "segmentation.slice.dice",
        "0.877 (nnU-Net 2D), 0.903 (MiT-b5, 512 px), both on the published split, which leaks",
        0.90,
        split="published",
        recipe=BRISC_MASK,
    ),
    Anchor(
        "BRISC: Dice per slice, by patient",
        "brisc_seg",
        "segmentation.slice.dice",
        "not reported by anyone",
        None,
        split="by patient",
        recipe=BRISC_MASK,
    ),
    Anchor(
        "healthy slices with a mask drawn",
        "",
        "segmentation.healthy_with_mask",
        "0.614 (U-Net), 0.621 (nnU-Net), of 140 in BRISC",
        0.01,
        "lower",
    ),
    Anchor(
        "mask and class contradict each other",
        "",
        "together.contradiction",
        "0.090; 0.004 behind a gate",
        0.0,
        "lower",
        no_tumour=True,
    ),
    Anchor(
        "the same of a model without the class `no_tumour`: a class, but no mask",
        "",
        "together.contradiction",
        "not reported by anyone",
        None,
        "lower",
        no_tumour=False,
    ),
    Anchor("Grad-CAM energy in the true mask, class right", "", "explanation.right.cam_energy", "not reported by anyone", 0.5),
)


def beside_others(runs: Sequence[Finished], recipes: Mapping[str, Sequence[Finished]] | None = None) -> str:
    """Return a table of what others report, the goal, and our score from the first run that has it, pooled folds first.

    Args:
        runs: that were named.
        recipes: runs of benchmarks by the name of their recipe; only the recipe that a line names fills that line.
    """
    lines = ["| | elsewhere | goal | ours | measured on | goal reached |", "|---|---|---|---|---|---|"]
    pooled_first = sorted(runs, key=lambda done: not done.scores.get("by_fold"))
    for anchor in ANCHORS:
        fitting = [*pooled_first, *(recipes or {}).get(anchor.recipe, ())]
        done = next((done for done in fitting if _score(done, anchor) is not None), None)
        ours = _score(done, anchor) if done else None
        sign = "–" if anchor.goal is None else f"{'at least' if anchor.better == 'higher' else 'at most'} {anchor.goal:g}"
        cells = [ours.text(), measured_on(done), _verdict(ours, anchor)] if done and ours else [NOT_YET, "–", "–"]
        lines.append(f"| {anchor.name} | {anchor.elsewhere} | {sign} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _score(done: Finished, anchor: Anchor) -> Interval | None:
    if done.summary["synthetic"] or anchor.source not in ("", _source(done)):
        return None
    if anchor.split and anchor.split != ("published" if leaks_allowed(done) else "by patient"):
        return None
    classes = find(done.summary, "classification.slice.class") or {}
    if anchor.no_tumour is not None and anchor.no_tumour != (NO_TUMOUR in classes):
        return None
    found = find(done.summary, anchor.key)
    return found if isinstance(found, Interval) else None


def _source(done: Finished) -> str:
    return str(find(done.settings or {}, "data.source") or done.scores.get("source", ""))


def _verdict(ours: Interval, anchor: Anchor) -> str:
    if anchor.goal is None:
        return "–"
    gap = anchor.goal - ours.value if anchor.better == "higher" else ours.value - anchor.goal
    if gap > 0:
        return f"no, {gap:.3f} missing"
    far = ours.low if anchor.better == "higher" else ours.high
    sure = far is None or (far >= anchor.goal if anchor.better == "higher" else far <= anchor.goal)
    return "yes" if sure else f"yes, but the interval goes to {far:.3f}"
