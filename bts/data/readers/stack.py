"""Stacks of parallel frames: grouped, sorted along their normal, and checked that they make a volume."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bts.data.readers.frames import APART, Frame, Place
from bts.errors import InputError

SAME_MM = 0.01
"""Slices nearer than this are at the same place."""
SAME_DIRECTION = 5e-3
"""Difference of direction cosines (0.3 degrees) up to which two slices are parallel."""
UNIT = 0.01
"""Error of the length and of the right angle of an orientation's two vectors."""
SAME_SIZE = 0.01
"""Share by which the pixel spacing of slices of one volume may differ."""
UNEVEN = 0.05
"""Share by which the distance of two slices may differ from the usual one: scanners round positions."""
TILT_DEGREES = 1.0
"""Most angle between the line through the slices and their normal; the affine holds it up to here."""
LOCALIZER = 3
"""Orientations in one series that make it a localizer; two are two volumes."""
MOST_STACKS = 32
"""Most groups of parallel slices that are told apart in one series."""


def find_stacks(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames of equal size, spacing, orientation and stack together.

    Raises:
        InputError: a frame does not say where it lies, an orientation without a right angle, or stacks without end.
    """
    lost = [frame for frame in frames if frame.place is None]
    if lost:
        instead = "convert it to NIfTI (for instance by dcm2niix)" if lost[0].header.frames > 1 else "name single files"
        raise InputError(
            f"{len(lost)} of {len(frames)} slices have no {lost[0].missing}, so that they make no volume: export the series "
            f"again, or {instead}"
        )
    stacks: list[list[Frame]] = []
    for frame in frames:
        if is_skew(frame.at):
            raise InputError("its ImageOrientationPatient holds no two unit vectors at a right angle: export the series again")
        stack = next((each for each in stacks if _is_alike(each[0], frame)), None)
        if stack is None:
            if len(stacks) == MOST_STACKS:
                raise InputError(f"slices in more than {MOST_STACKS} orientations, sizes and stacks, which make no volume")
            stacks.append([frame])
        else:
            stack.append(frame)
    return stacks


def is_skew(place: Place) -> bool:
    """Tell whether the directions are no two unit vectors at a right angle."""
    return not np.allclose(place.directions @ place.directions.T, np.eye(2), rtol=0, atol=UNIT)


def count_orientations(stacks: Sequence[Sequence[Frame]]) -> int:
    """Return in how many orientations the stacks lie; the two sides of a plane are one."""
    normals: list[np.ndarray] = []
    for stack in stacks:
        normal = stack[0].at.normal
        if not any(abs(float(normal @ other)) > 1 - SAME_DIRECTION for other in normals):
            normals.append(normal)
    return len(normals)


def split_volumes(frames: list[Frame]) -> list[tuple[str, list[Frame]]]:
    """Return the volumes of one stack, each with what tells it apart; what nothing tells apart stays together.

    A field counts only if it takes no more values than there are slices at one place: an acquisition number that differs from
    slice to slice tells no volumes apart.
    """
    most = max(len(place) for place in _places(frames))
    if most == 1:
        return [("", frames)]
    for index, name in enumerate(APART):
        values: dict[str | float | None, list[Frame]] = defaultdict(list)
        for frame in frames:
            values[frame.apart[index]].append(frame)
        if 1 < len(values) <= most:
            ordered = sorted(values.items(), key=lambda item: (isinstance(item[0], str), item[0] is not None, item[0] or 0))
            return [
                (f"{name} {_in_words(value)} {inner}".strip(), part)
                for value, alike in ordered
                for inner, part in split_volumes(alike)
            ]
    return [("", frames)]


def _in_words(value: str | float | None) -> str:
    return "none" if value is None else value if isinstance(value, str) else f"{value:g}"


def sort_volume(frames: Sequence[Frame]) -> list[Frame]:
    """Return the frames of one volume in their order along the normal of their slices.

    Raises:
        InputError: two at one place, uneven increments or gantry tilt.
    """
    places = _places(frames)
    crowded = next((place for place in places if len(place) > 1), None)
    if crowded is not None:
        names = " and ".join(Path(frame.header.file).name for frame in crowded[:2])
        raise InputError(
            f"{len(crowded)} slices at one place ({names}), and nothing in their headers tells them apart: keep one of each"
        )
    ordered = [place[0] for place in places]
    _refuse_uneven(ordered)
    return ordered


def _refuse_uneven(ordered: Sequence[Frame]) -> None:
    """Refuse gaps between slices, and slices that are shifted against each other."""
    steps = np.diff(_heights(ordered))
    usual = float(np.median(steps))
    wrong = np.flatnonzero(np.abs(steps - usual) > UNEVEN * usual + SAME_MM)
    if wrong.size:
        worst = int(wrong[np.abs(steps[wrong] - usual).argmax()])
        missing = round(float(steps[worst]) / usual) - 1
        between = f"slices {worst + 1} and {worst + 2} of {len(ordered)} lie {steps[worst]:.4g} mm apart, others {usual:.4g} mm"
        what = f"{missing} missing between them" if missing > 0 else "uneven increments"
        raise InputError(f"{between} ({what}): export the complete series, or name single files")
    positions = np.array([frame.at.position for frame in ordered])
    across = positions[-1] - positions[0]
    straight = abs(float(across @ ordered[0].at.normal)) / float(np.linalg.norm(across))
    angle = float(np.degrees(np.arccos(min(straight, 1.0))))
    if angle > TILT_DEGREES:
        raise InputError(
            f"each slice is shifted against the one before (gantry tilt of {angle:.3g} degrees): convert the series to NIfTI "
            "with a program that corrects it, such as dcm2niix"
        )


def _is_alike(one: Frame, other: Frame) -> bool:
    return (
        one.header.shape == other.header.shape
        and one.stack == other.stack
        and bool(np.allclose(one.at.directions, other.at.directions, rtol=0, atol=SAME_DIRECTION))
        and bool(np.allclose(one.at.spacing_mm, other.at.spacing_mm, rtol=SAME_SIZE, atol=0))
    )


def _heights(frames: Sequence[Frame]) -> np.ndarray:
    """Return the place (n,) in mm of each frame along the normal."""
    return np.array([frame.at.position for frame in frames]) @ frames[0].at.normal


def _places(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the frames in the order of their places, those at the same place together."""
    heights = _heights(frames)
    places: list[list[Frame]] = []
    last = -np.inf
    for index in np.argsort(heights, kind="stable"):
        if heights[index] - last > SAME_MM:
            places.append([])
        last = heights[index]
        places[-1].append(frames[index])
    return places
