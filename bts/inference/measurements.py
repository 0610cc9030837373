"""Measurements of one lesion in millimetres: diameters, extent, centroid and side of the head."""

from __future__ import annotations

import numpy as np

from bts.data.preprocess import percentiles

LEFT, RIGHT, CROSSES = "left", "right", "crosses the midline"
CROSSING_SHARE = 0.1
"""A lesion crosses the midline where at least this share of its voxels lies on the other side."""
HEAD_GREY = 0.1
"""A pixel above this share of the slice's range (0 to 99.5th percentile above the minimum) is of the head."""


def slice_spacing_mm(affine: np.ndarray) -> float:
    """Return the distance of neighbouring slices along their normal, from an affine (4, 4) of slice, row and column."""
    normal = np.cross(affine[:3, 1], affine[:3, 2])
    return abs(float(affine[:3, 0] @ normal)) / float(np.linalg.norm(normal))


def voxel_volume_mm3(affine: np.ndarray) -> float:
    """Return the volume of a voxel, the determinant of an affine (4, 4)."""
    return abs(float(np.linalg.det(affine[:3, :3])))


def positions_mm(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the positions (N, 3) of voxels (N, 3) of slice, row and column."""
    return np.asarray(voxels @ affine[:3, :3].T + affine[:3, 3])


def diameters_mm(mask: np.ndarray, affine: np.ndarray) -> tuple[float, float]:
    """Return the longest diameter of a mask (H, W) bool and the longest one perpendicular to it, as in RANO.

    Both are chords of the convex hull of the pixels' outline, which runs half a pixel from their centres. The pixels need
    be neither square nor at right angles.

    Args:
        mask: of one lesion in one slice, not empty.
        affine: (4, 4) from slice, row and column to mm.
    """
    from scipy.spatial import ConvexHull

    rows, columns = np.nonzero(mask)
    corners = [(rows + row, columns + column) for row, column in ((-0.5, 0), (0.5, 0), (0, -0.5), (0, 0.5))]
    outline = np.unique(np.concatenate([np.stack(each, 1) for each in corners]), axis=0)
    _, flat = np.linalg.qr(affine[:3, 1:3])  # an isometry takes the plane's two axes to the columns of `flat`
    points = outline @ flat.T
    hull = points[ConvexHull(points).vertices]  # counterclockwise
    distances = np.linalg.norm(hull[:, None] - hull[None], axis=2)
    first, last = (int(place) for place in np.unravel_index(distances.argmax(), distances.shape))
    along = (hull[last] - hull[first]) / distances[first, last]
    hull = np.roll(hull, -first, axis=0)
    middle = (last - first) % len(hull)
    below, above = hull[: middle + 1], np.concatenate([hull[middle:], hull[:1]])[::-1]  # both from first to last
    across = np.array([-along[1], along[0]])
    places = hull @ along  # the length of a chord is concave along the diameter, so a vertex lies on the longest one
    lengths = np.interp(places, above @ along, above @ across) - np.interp(places, below @ along, below @ across)
    return float(distances[first, last]), float(np.abs(lengths).max())


def side_of(left_to_right_mm: np.ndarray, midline_mm: float) -> str:
    """Return the side of the head that voxels lie on.

    Args:
        left_to_right_mm: (N,) first coordinate of their positions in RAS: it grows from left to right.
        midline_mm: that of the mid-sagittal plane.
    """
    share = float(np.mean(left_to_right_mm > midline_mm))
    if CROSSING_SHARE <= share <= 1 - CROSSING_SHARE:
        return CROSSES
    return RIGHT if share > 0.5 else LEFT


class Midline:
    """Position of the mid-sagittal plane: the centre of the head in the patient's axis from left to right.

    The head is taken to lie straight in the scanner; slices are added one by one and not kept.
    """

    def __init__(self, affine: np.ndarray) -> None:
        self.affine = affine
        self.voxels, self.total = 0, 0.0

    def add(self, index: int, image: np.ndarray) -> None:
        """Add the head in a slice, its pixels (H, W) that are not background."""
        lowest = float(image.min())
        head = image > lowest + HEAD_GREY * (float(percentiles(image, [99.5])[0]) - lowest)
        rows, columns = head.sum(1) @ np.arange(head.shape[0]), head.sum(0) @ np.arange(head.shape[1])
        count = int(head.sum())
        self.voxels += count
        self.total += float(self.affine[0] @ [index * count, rows, columns, count])

    @property
    def position_mm(self) -> float | None:
        """RAS coordinate; None before a slice was added."""
        return self.total / self.voxels if self.voxels else None
