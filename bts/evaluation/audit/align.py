"""Are two candidates the same picture? One is laid on the other by shifting and stretching it, then their detail is compared.

The candidates come from boxes that were found in each picture by itself, so they may be some percent off. Gauss-Newton on
four numbers (shift and stretch along rows and columns, Lucas & Kanade 1981) takes that out. Copies then agree to the noise
of their storage, while neighbouring slices of one head don't, however they are shifted.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from bts.evaluation.audit.descriptor import orient, ranks
from bts.evaluation.audit.views import interpolation

BATCH = 256
"""Pairs that are aligned at a time."""
COARSE_POINTS, FINE_POINTS = 24, 48
"""Points a side of the grids on which a pair is aligned, first on thumbnails of half the size."""
COARSE_FLOOR = 0.8
"""Correlation after the coarse alignment under which a pair is given up: copies with 10% of the head cut off reach 0.87."""


def correlation(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return the correlation (N,) of the pixels of two stacks (N, S, S)."""
    a, b = (x.reshape(len(x), -1) - x.reshape(len(x), -1).mean(1, keepdims=True) for x in (one, two))
    return np.einsum("np,np->n", a, b) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-9)


def detail(views: np.ndarray) -> np.ndarray:
    """Return what tells one slice from its neighbour: ranks of the pixels less their surroundings, (N, S, S).

    Ranks make contrast and gamma irrelevant; without the surroundings the shape that all heads share is gone.
    """
    rank = ranks(views).astype(np.float32)
    fine = rank - ndimage.gaussian_filter(rank, (0, 3, 3), mode="nearest")
    return ndimage.gaussian_filter(fine, (0, 0.6, 0.6), mode="nearest")


def same_picture(thumbs: np.ndarray, hits: np.ndarray, boxes: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return for each candidate pair how alike the two are once aligned, 1 for copies.

    Args:
        thumbs: (N, S, S) uint8.
        hits: structured array of `neighbours.nearest`, P pairs.
        boxes: (P, 4) the part of picture `a` that is compared, as shares of its sides before it is turned.
        targets: (P, 4) the part of picture `b`.

    Returns:
        (P,) correlation of detail, -1 where the coarse look already parts them.
    """
    scores = np.full(len(hits), -1, np.float32)
    for orientation in np.unique(hits["turn"]):
        turned = np.flatnonzero(hits["turn"] == orientation)
        for start in range(0, len(turned), BATCH):
            chosen = turned[start : start + BATCH]
            moving = orient(thumbs[hits["a"][chosen]], int(orientation)).astype(np.float32)
            fixed = thumbs[hits["b"][chosen]].astype(np.float32)
            scores[chosen] = _score(moving, fixed, turn_box(boxes[chosen], int(orientation)), targets[chosen])
    return scores


def _score(moving: np.ndarray, fixed: np.ndarray, boxes: np.ndarray, targets: np.ndarray) -> np.ndarray:
    coarse, fitted = align(halve(moving), halve(fixed), boxes, targets, points=COARSE_POINTS, steps=5)
    scores = np.full(len(moving), -1, np.float32)
    likely = np.flatnonzero(coarse > COARSE_FLOOR)
    if len(likely):
        _, fitted = align(moving[likely], fixed[likely], fitted[likely], targets[likely], points=FINE_POINTS, steps=4)
        found, wanted = _cut(moving[likely], fitted, FINE_POINTS), _cut(fixed[likely], targets[likely], FINE_POINTS)
        scores[likely] = correlation(detail(found), detail(wanted))
    return scores


def turn_box(boxes: np.ndarray, orientation: int) -> np.ndarray:
    """Return where boxes (N, 4) lie once their picture is turned."""
    turned = boxes[:, [2, 3, 0, 1]] if orientation & 4 else boxes.copy()
    if orientation & 2:
        turned[:, :2] = 1 - turned[:, [1, 0]]
    if orientation & 1:
        turned[:, 2:] = 1 - turned[:, [3, 2]]
    return turned


def halve(thumbs: np.ndarray) -> np.ndarray:
    """Return thumbnails (N, S, S) at half their side."""
    n, side, _ = thumbs.shape
    return thumbs.reshape(n, side // 2, 2, side // 2, 2).mean((2, 4), dtype=np.float32)


def align(
    moving: np.ndarray, fixed: np.ndarray, boxes: np.ndarray, target: np.ndarray, *, points: int, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return how well a box of each moving picture can be made to fit a box of the fixed one, and the box that fits.

    Args:
        moving, fixed: (N, S, S) pictures.
        boxes: (N, 4) where to start in the moving ones, as shares of the sides.
        target: (N, 4) boxes of the fixed ones.
        points: the boxes are compared on a grid of so many points a side.
        steps: of Gauss-Newton; the best position met is what counts.

    Returns:
        Correlation (N,) and boxes (N, 4).
    """
    wanted = _cut(fixed, target, points)
    position, best_box = boxes.astype(np.float32), boxes.astype(np.float32)
    best = np.full(len(boxes), -1, np.float32)
    for step in range(steps + 1):
        found = _cut(moving, position, points)
        score = correlation(found, wanted)
        better = score > best
        best, best_box = np.where(better, score, best), np.where(better[:, None], position, best_box)
        if step < steps:
            position = np.where(better[:, None], position + _step(found, wanted, position), best_box)
    return best, best_box


def _cut(pictures: np.ndarray, boxes: np.ndarray, points: int) -> np.ndarray:
    size = pictures.shape[1]
    rows = interpolation(boxes[:, 0], boxes[:, 1], points=points, size=size)
    columns = interpolation(boxes[:, 2], boxes[:, 3], points=points, size=size)
    return rows @ pictures @ np.swapaxes(columns, 1, 2)


def _step(found: np.ndarray, wanted: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Return the change (N, 4) of the boxes that best explains what is still different, beside gain and offset."""
    n, points, _ = found.shape
    down, right = np.gradient(found, axis=(1, 2))  # change for one grid point
    share = ((np.arange(points) + 0.5) / points).astype(np.float32)
    row, column = share[:, None], share[None, :]
    terms = [down * (1 - row), down * row, right * (1 - column), right * column, found, np.ones_like(found)]
    design = np.stack([term.reshape(n, -1) for term in terms], axis=1)  # (N, 6, P)
    normal = design @ np.swapaxes(design, 1, 2)
    normal += np.eye(6, dtype=np.float32) * (1e-4 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 6 + 1e-6)
    solved = np.linalg.solve(normal, design @ wanted.reshape(n, -1, 1))[:, :, 0]
    gain = np.where(np.abs(solved[:, 4]) > 0.1, solved[:, 4], np.inf)
    moved = np.clip(solved[:, :4] / gain[:, None] / points, -0.05, 0.05)  # in grid points, then as share of the box
    height, width = position[:, 1] - position[:, 0], position[:, 3] - position[:, 2]
    return (moved * np.stack([height, height, width, width], axis=1)).astype(np.float32)
