"""A scan as a JSON head and raw bytes, to pass it between processes without a pickle.

The side that unpacks does not trust the other one: every value of the head is checked, and no code comes with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bts.data.enhance import Box
from bts.data.readers.bounds import MAX_DICOM_FRAMES, MIB
from bts.data.readers.scan import Scan, Series, VolumeGeometry
from bts.data.slice import MAX_SIDE, Slice

MAX_WORDS = 1000
"""Most characters of one text in the head."""
MAX_HEADERS_BYTES = 64 * MIB
"""Most bytes of the headers of a series: a few kilobytes a slice."""
Take = Callable[[int], bytearray]
"""Returns the next bytes, as many as asked for."""


def pack(scan: Scan, headers: Mapping[str, bytes] | None = None) -> tuple[dict[str, Any], list[memoryview]]:
    """Return the head of a scan and the bytes of its slices: float32 pixels, then the mask where there is one.

    Args:
        scan: what was read.
        headers: of each file of its series, whose bytes come last; without them, or with too many, the series is left out.
    """
    with_series = scan.series is not None and headers and sum(map(len, headers.values())) <= MAX_HEADERS_BYTES
    head = {
        "slices": [_slice_head(item) for item in scan.slices],
        "volume": None if scan.volume is None else _volume_head(scan.volume),
        "blank": list(scan.blank),
        "series": _series_head(scan.series, headers) if with_series and scan.series and headers else None,
    }
    parts = []
    for item in scan.slices:
        parts.append(item.image.data.cast("B"))
        if item.mask is not None:
            parts.append(item.mask.view(np.uint8).data.cast("B"))
    if with_series and headers:
        parts += map(memoryview, headers.values())
    return head, parts


def unpack(head: dict[str, Any], take: Take, *, path: str, most: int, headers: Path | None = None) -> Scan:
    """Return the scan that was packed.

    Args:
        head: of `pack`.
        take: gives its bytes.
        path: that the scan and its slices get.
        most: bytes accepted in all.
        headers: folder for the headers of a DICOM series, which its `files` then are; None leaves the series out.

    Raises:
        ValueError: the head is not one of `pack`, or claims more than `most`.
        InputError: as `Slice`.
    """
    volume = None if head["volume"] is None else _volume(head["volume"])
    heads = _expect(head["slices"], list)
    shapes = [_sizes(each["shape"], 2) for each in heads]
    if not heads or sum(rows * columns * 5 for rows, columns in shapes) > most:
        raise ValueError("slices of no or too many bytes")
    blank = tuple(_whole(index, MAX_SIDE) for index in _expect(head["blank"], list))
    slices = [_slice(each, shape, take, path=path) for each, shape in zip(heads, shapes, strict=True)]
    _refuse_indices(slices, blank, volume)
    series = None
    if headers is not None and volume is not None and head["series"] is not None:
        series = _series(head["series"], take, headers, count=volume.shape[2])
    return Scan(path=path, slices=slices, volume=volume, blank=blank, series=series)


def _slice_head(item: Slice) -> dict[str, Any]:
    return {
        "shape": item.image.shape,
        "has_mask": item.mask is not None,
        "source": item.source,
        "label": item.label,
        "patient": item.patient,
        "spacing_mm": item.spacing_mm,
        "index": item.index,
        "content": item.content,
        "synthetic": item.synthetic,
        "warnings": item.warnings,
    }


def _slice(head: dict[str, Any], shape: tuple[int, ...], take: Take, *, path: str) -> Slice:
    count = shape[0] * shape[1]
    image = np.frombuffer(take(4 * count), np.float32).reshape(shape)
    mask = np.frombuffer(take(count), np.uint8).reshape(shape) != 0 if head["has_mask"] is True else None
    spacing = head["spacing_mm"]
    return Slice(
        image=image,
        source=_words(head["source"]),
        path=path,
        label=None if head["label"] is None else _words(head["label"]),
        mask=mask,
        patient=None if head["patient"] is None else _words(head["patient"]),
        spacing_mm=None if spacing is None else _pair(spacing),
        index=None if head["index"] is None else _whole(head["index"], MAX_SIDE),
        content=None if head["content"] is None else _box(head["content"], shape),
        synthetic=head["synthetic"] is True,
        warnings=tuple(_words(line) for line in _expect(head["warnings"], list)),
    )


def _volume_head(volume: VolumeGeometry) -> dict[str, Any]:
    return {
        "affine": volume.affine.tolist(),
        "shape": volume.shape,
        "axis": volume.axis,
        "orientation": volume.orientation.tolist(),
        "codes": volume.codes,
        "unit": volume.unit,
    }


def _volume(head: dict[str, Any]) -> VolumeGeometry:
    orientation = np.array(head["orientation"])
    if orientation.shape != (3, 2) or sorted(orientation[:, 0].tolist()) != [0, 1, 2] or set(orientation[:, 1]) - {-1, 1}:
        raise ValueError("no orientation of three axes")
    first, second, third = _sizes(head["shape"], 3)
    qform, sform = (_whole(code, 2**15) for code in head["codes"])
    return VolumeGeometry(
        affine=np.array(head["affine"], np.float64).reshape(4, 4),
        shape=(first, second, third),
        axis=_whole(head["axis"], 2),
        orientation=orientation.astype(int),
        codes=(qform, sform),
        unit=_words(head["unit"]),
    )


def _series_head(series: Series, headers: Mapping[str, bytes]) -> dict[str, Any]:
    places = {file: place for place, file in enumerate(headers)}
    return asdict(series) | {
        "files": [places[file] for file in series.files],
        "headers": [len(header) for header in headers.values()],
    }


def _series(head: dict[str, Any], take: Take, folder: Path, *, count: int) -> Series:
    """Return the series with its headers in a folder; `count` is that of its slices."""
    sizes = [_whole(size, MAX_HEADERS_BYTES) for size in _expect(head["headers"], list)]
    places = [_whole(place, len(sizes) - 1) for place in _expect(head["files"], list)]
    uids = tuple(_words(uid) for uid in _expect(head["instance_uids"], list))
    numbers = tuple(_whole(number, MAX_DICOM_FRAMES) for number in _expect(head["frame_numbers"], list))
    if sum(sizes) > MAX_HEADERS_BYTES or len(places) != count or len(uids) != count or len(numbers) not in (0, count):
        raise ValueError("headers that are not those of the slices")
    texts = ("study_uid", "series_uid", "frame_of_reference_uid", "modality", "description")
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{place}.dcm" for place in range(len(sizes))]
    for file, size in zip(files, sizes, strict=True):
        file.write_bytes(take(size))
    return Series(
        **{name: _words(head[name]) for name in texts},
        files=tuple(str(files[place]) for place in places),
        instance_uids=uids,
        frame_numbers=numbers,
        faults=tuple(_words(line) for line in _expect(head["faults"], list)),
    )


def _refuse_indices(slices: Sequence[Slice], blank: Sequence[int], volume: VolumeGeometry | None) -> None:
    """Refuse slices that don't fill the volume, or a lone picture that is not one."""
    if volume is None:
        if len(slices) != 1 or blank:
            raise ValueError("several slices without a volume")
        return
    indices = sorted([*(-1 if item.index is None else item.index for item in slices), *blank])
    if indices != list(range(volume.n_slices)) or any(item.image.shape != volume.slice_shape for item in slices):
        raise ValueError("slices that are not those of the volume")


def _expect(value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"a {type(value).__name__} where a {kind.__name__} belongs")
    return value


def _words(value: Any) -> str:
    return str(_expect(value, str)[:MAX_WORDS])


def _whole(value: Any, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise ValueError(f"{value!r:.40} where a number of 0 to {most} belongs")
    return value


def _box(value: Any, shape: tuple[int, ...]) -> Box:
    top, left, bottom, right = (_whole(place, MAX_SIDE) for place in _expect(value, list))
    if not (top < bottom <= shape[0] and left < right <= shape[1]):
        raise ValueError("no box inside of a slice")
    return Box(top, left, bottom, right)


def _sizes(value: Any, count: int) -> tuple[int, ...]:
    sizes = tuple(_whole(size, MAX_SIDE) for size in _expect(value, list))
    if len(sizes) != count or 0 in sizes:
        raise ValueError(f"no shape of {count} sizes")
    return sizes


def _pair(value: Any) -> tuple[float, float]:
    first, second = (_expect(part, float) for part in _expect(value, list))
    return first, second
