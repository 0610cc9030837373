"""Affine registration of candidate pairs, and the correlation of their detail afterwards.

Candidate boxes were found in each image separately and may be a few percent off, and some copies are rotated by a few degrees.
Gauss-Newton on the six parameters of an affine map (Lucas & Kanade 1981) corrects that. Copies then agree up to compression
noise; neighbouring slices of one head do not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import ndimage

from bts.audit.descriptor import orient, ranks
from bts.progress import phase

BATCH = 256
"""Pairs aligned at a time."""
COARSE_POINTS, FINE_POINTS = 24, 48
"""Side of the sampling grids: coarse, on thumbnails of half the size, then fine."""
LONGEST_STEP = 0.05
"""Largest change of a parameter in one step, as a share of the grid; the linearisation does not hold beyond it."""
COARSE_FLOOR = 0.8
"""Pairs below this correlation after the coarse alignment are rejected; copies with 10% of the head cut off reach 0.87."""
COARSE_FLOORS = {1: 0.7, 2: 0.78}
"""Correlation after one and two steps of the coarse alignment up to which a pair is given up. All 9,452 pairs of 1,300 real
images that reach a score of 0.8 are above 0.80 after one step and above 0.82 after two."""
NO_FLOORS: Mapping[int, float] = {}


def correlation(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return the correlation (N,) of the pixels of two stacks (N, S, S)."""
    a, b = (x.reshape(len(x), -1) - x.reshape(len(x), -1).mean(1, keepdims=True) for x in (one, two))
    return np.einsum("np,np->n", a, b) / np.maximum(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-9)


def detail(views: np.ndarray) -> np.ndarray:
    """Return the ranks of the pixels minus their local mean, (N, S, S): the detail that separates neighbouring slices.

    Ranks remove contrast and gamma; subtracting the local mean removes the shape that all heads share.
    """
    rank = ranks(views).astype(np.float32)
    fine = rank - ndimage.gaussian_filter(rank, (0, 3, 3), mode="nearest")
    return ndimage.gaussian_filter(fine, (0, 0.6, 0.6), mode="nearest")


def aligned_correlation(thumbs: np.ndarray, hits: np.ndarray, boxes: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the correlation of each candidate pair after alignment, 1 for copies.

    Args:
        thumbs: (N, S, S) uint8.
        hits: structured array of `neighbours.nearest`, P pairs.
        boxes: (P, 4) compared part of image `a`, as shares of its sides, in its own orientation.
        targets: (P, 4) compared part of image `b`.

    Returns:
        (P,) correlation of detail, -1 where the coarse alignment already rejects the pair.
    """
    scores = np.full(len(hits), -1, np.float32)
    with phase("aligning candidates", len(hits), unit="pairs") as aligned:
        for orientation in np.unique(hits["turn"]):
            turned = np.flatnonzero(hits["turn"] == orientation)
            for start in range(0, len(turned), BATCH):
                chosen = turned[start : start + BATCH]
                moving = orient(thumbs[hits["a"][chosen]], int(orientation)).astype(np.float32)
                fixed = thumbs[hits["b"][chosen]].astype(np.float32)
                scores[chosen] = _score(moving, fixed, turn_box(boxes[chosen], int(orientation)), targets[chosen])
                aligned.advance(len(chosen))
    return scores


def _score(moving: np.ndarray, fixed: np.ndarray, boxes: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the scores (N,) of oriented images (N, S, S) and their partners."""
    coarse, fitted, _ = align(
        halve(moving), halve(fixed), box_map(boxes), box_map(targets), points=COARSE_POINTS, steps=5, floors=COARSE_FLOORS
    )
    scores = np.full(len(moving), -1, np.float32)
    likely = np.flatnonzero(coarse > COARSE_FLOOR)
    if len(likely):
        wanted = _cut(fixed[likely], box_map(targets[likely]), FINE_POINTS)
        _, _, found = align(
            moving[likely], fixed[likely], fitted[likely], box_map(targets[likely]), points=FINE_POINTS, steps=5
        )
        scores[likely] = correlation(detail(found), detail(wanted))
    return scores


def turn_box(boxes: np.ndarray, orientation: int) -> np.ndarray:
    """Return boxes (N, 4) after their image is reoriented."""
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


def box_map(boxes: np.ndarray) -> np.ndarray:
    """Return the affine maps (N, 2, 3) from a grid over [-0.5, 0.5] squared to boxes (N, 4).

    Row i of a map gives the row or column as a share of the image side: `m[i, 0] + m[i, 1] * v + m[i, 2] * u`, where v runs
    down the grid and u to the right.
    """
    rows, columns = boxes[:, :2], boxes[:, 2:]
    maps = np.zeros((len(boxes), 2, 3), np.float32)
    maps[:, 0, 0], maps[:, 0, 1] = rows.mean(1), rows[:, 1] - rows[:, 0]
    maps[:, 1, 0], maps[:, 1, 2] = columns.mean(1), columns[:, 1] - columns[:, 0]
    return maps


def align(
    moving: np.ndarray,
    fixed: np.ndarray,
    start: np.ndarray,
    target: np.ndarray,
    *,
    points: int,
    steps: int,
    floors: Mapping[int, float] = NO_FLOORS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Register the moving images to a part of the fixed ones.

    Args:
        moving, fixed: (N, S, S) float32 images.
        start: (N, 2, 3) initial maps (`box_map`) into the moving images.
        target: (N, 2, 3) maps into the fixed images.
        points: side of the sampling grid.
        steps: number of Gauss-Newton steps; the best position found counts.
        floors: correlation after a number of steps up to which a pair is given up.

    Returns:
        Correlation (N,), maps (N, 2, 3), and the moving images sampled through them (N, points, points).
    """
    wanted = _cut(fixed, target, points)
    best, best_map = np.full(len(start), -1, np.float32), start.astype(np.float32)
    best_found = np.zeros_like(wanted)
    active, position = np.arange(len(start)), best_map
    for step in range(steps + 1):
        found = _cut(moving, position, points, chosen=active)
        score = correlation(found, wanted[active])
        better = score > best[active]  # a step that does not improve ends the search of its pair
        active, position, found, score = active[better], position[better], found[better], score[better]
        best[active], best_map[active], best_found[active] = score, position, found
        likely = score > floors.get(step, -1)
        active = active[likely]
        if step == steps or not len(active):
            break
        position = position[likely] @ _step(found[likely], wanted[active])
    return best, best_map, best_found


def _cut(images: np.ndarray, maps: np.ndarray, points: int, *, chosen: np.ndarray | None = None) -> np.ndarray:
    """Sample the images (N, S, S), or the `chosen` of them, through maps: (maps, points, points), bilinear, repeated edges."""
    size = images.shape[1]
    chosen = np.arange(len(maps)) if chosen is None else chosen
    at = ((np.arange(points) + 0.5) / points - 0.5).astype(np.float32)
    place = maps[:, :, 0, None, None] + maps[:, :, 1, None, None] * at[:, None] + maps[:, :, 2, None, None] * at
    place = np.clip(place * size - 0.5, 0, size - 1)  # (N, 2, points, points), in pixels
    corner = np.minimum(place.astype(np.int32), size - 2)
    down, right = (place - corner).transpose(1, 0, 2, 3)
    flat = images.reshape(-1)
    first = corner[:, 0] * size + corner[:, 1] + (chosen.astype(np.int32) * size * size)[:, None, None]
    above = flat[first] * (1 - right) + flat[first + 1] * right
    below = flat[first + size] * (1 - right) + flat[first + size + 1] * right
    return above * (1 - down) + below * down


def _step(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the Gauss-Newton update of the grid, with gain and offset as nuisance parameters, as matrices (N, 3, 3)."""
    n, points, _ = found.shape
    down, right = np.gradient(found, 1 / points, axis=(1, 2))
    at = ((np.arange(points) + 0.5) / points - 0.5).astype(np.float32)
    v, u = at[:, None], at[None, :]
    terms = [down, down * v, down * u, right, right * v, right * u, found, np.ones_like(found)]
    design = np.stack([term.reshape(n, -1) for term in terms], axis=1)  # (N, 8, P)
    normal = design @ np.swapaxes(design, 1, 2)
    scale = np.sqrt(np.maximum(np.diagonal(normal, axis1=1, axis2=2), 1e-6))  # the terms differ in scale
    normal = normal / (scale[:, :, None] * scale[:, None, :]) + 1e-4 * np.eye(8, dtype=np.float32)
    solved = np.linalg.solve(normal, (design @ wanted.reshape(n, -1, 1)) / scale[:, :, None])[:, :, 0] / scale
    gain = np.where(np.abs(solved[:, 6:7]) > 0.1, solved[:, 6:7], np.inf)
    change = np.clip(solved[:, :6] / gain, -LONGEST_STEP, LONGEST_STEP).reshape(n, 2, 3)
    steps = np.tile(np.eye(3, dtype=np.float32), (n, 1, 1))
    steps[:, 1:, :] += change
    return steps
