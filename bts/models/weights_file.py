"""Weights of a model folder: a safetensors file whose header is compared with the network before anything is allocated.

The format (https://github.com/huggingface/safetensors): 8 bytes with the header's length N, N bytes of JSON with type, shape
and place of every tensor, then the tensors one behind another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from bts.errors import RequestError
from bts.models.architecture import Architecture
from bts.models.card_rules import shortened

if TYPE_CHECKING:
    import torch

LARGEST_HEADER = 8 * 2**20
LARGEST_WEIGHTS = 2 * 2**30
"""Bytes of all tensors together; the largest encoder that was measured, resnext101_32x32d, has 1.8 GiB."""
LARGEST_FILE = LARGEST_WEIGHTS + LARGEST_HEADER + 8
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
TYPES = {"torch.float32": "F32", "torch.int64": "I64", "torch.bool": "BOOL", "torch.float64": "F64", "torch.int32": "I32"}
"""Types that networks have, in the format's words."""
SMALLER = {"F32": ("F32", "F16", "BF16")}
"""Type in the network -> types in which a file may hold it: a small model has its kernels in 16 bits."""
AGAIN = "cut short or changed, copy the folder again"


class Stored(NamedTuple):
    """Type, in the format's words, and shape of one tensor."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def values(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


def read_checked(file: Path, architecture: Architecture) -> bytes:
    """Return the bytes of a weights file whose header names exactly the tensors of the network; the header is read first.

    Raises:
        RequestError: no safetensors file, one of another network, or a network that is too large.
    """
    expected = expected_tensors(architecture)
    try:
        with file.open("rb") as handle:
            size = file.stat().st_size
            if size > LARGEST_FILE:
                raise RequestError(f"{file}: {size:,} bytes, at most {LARGEST_FILE:,} are read")
            head, found = _read_header(handle, size)
            refuse_others(found, expected, where=file.parent)
            return head + handle.read(size - len(head))
    except ValueError as error:
        raise RequestError(f"{file}: no whole safetensors file ({shortened(str(error))}): {AGAIN}") from error
    except OSError as error:
        raise RequestError(f"{file}: can't be read ({error.strerror or error})") from error


def refuse_others(found: Mapping[str, Stored], expected: Mapping[str, Stored], *, where: Path) -> None:
    """Raise `RequestError` where names, shapes or types in a file are not those of the network."""
    for name in sorted({*found, *expected}):
        if name not in found or name not in expected:
            what = "is missing" if name not in found else "is unknown to the network"
        elif found[name].shape != expected[name].shape:
            what = f"has shape {list(found[name].shape)}, expected {list(expected[name].shape)}"
        elif found[name].dtype not in SMALLER.get(expected[name].dtype, (expected[name].dtype,)):
            what = f"is of type {found[name].dtype}, expected {expected[name].dtype}"
        else:
            continue
        raise RequestError(f"{where}: the weights are not those of the card ({shortened(name)} {what})")


@lru_cache(maxsize=8)
def expected_tensors(architecture: Architecture) -> dict[str, Stored]:
    """Return the tensors of a network by name. It is built without memory for them, on torch's `meta` device.

    Raises:
        RequestError: an encoder that can't be used, or tensors of more than `LARGEST_WEIGHTS` bytes.
    """
    state = build_without_memory(architecture)
    found = {name: Stored(TYPES[str(value.dtype)], tuple(value.shape)) for name, value in state.items()}
    total = sum(each.values * ITEM_BYTES[each.dtype] for each in found.values())
    if total > LARGEST_WEIGHTS:
        raise RequestError(
            f"encoder '{architecture.encoder}': a network of {total / 2**30:.1f} GiB, at most {LARGEST_WEIGHTS / 2**30:g} GiB "
            "are loaded"
        )
    return found


def build_without_memory(architecture: Architecture) -> dict[str, torch.Tensor]:
    """Return the state dict of a network whose tensors have shapes and no values."""
    import torch
    from torch.overrides import TorchFunctionMode

    from bts.models.networks import create_network

    class ScheduleOnCpu(TorchFunctionMode):
        """Keep what encoders compute schedules with, and read values of, on the CPU."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            given = dict(kwargs or {})
            if func in (torch.linspace, torch.arange) and given.get("device") is None:
                given["device"] = "cpu"
            return func(*args, **given)

    with torch.device("meta"), ScheduleOnCpu():
        return create_network(architecture).state_dict()


def first_non_finite(tensors: Mapping[str, torch.Tensor]) -> str | None:
    """Return the name of the first tensor that holds NaN or infinity, None if all values are finite."""
    import torch

    return next((name for name, value in tensors.items() if not torch.isfinite(value).all()), None)


def refuse_non_finite(tensors: Mapping[str, torch.Tensor], *, where: Path) -> None:
    """Raise `RequestError` if weights hold NaN or infinity; called wherever weights are saved to or loaded from a folder."""
    if name := first_non_finite(tensors):
        raise RequestError(
            f"{where}: the weights '{shortened(name)}' hold NaN or infinity, expected finite numbers: the training diverged; "
            "train again with a lower learning rate (--optim.lr)"
        )


def _read_header(file: BinaryIO, size: int) -> tuple[bytes, dict[str, Stored]]:
    """Return the bytes up to the first tensor and the tensors by name; raises `ValueError` where the format is broken."""
    first = file.read(8)
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > min(LARGEST_HEADER, size - 8):
        raise ValueError(f"{size:,} bytes, a header of {length:,} bytes")
    text = file.read(length)
    try:
        values = json.loads(text.decode("utf-8"), object_pairs_hook=_once)
    except RecursionError as error:
        raise ValueError("a header that is nested too deeply") from error
    if not isinstance(values, dict):
        raise ValueError("a header without tensors")
    values.pop("__metadata__", None)
    places = [(_stored(name, value), *value["data_offsets"], name) for name, value in values.items()]
    end = 0
    for stored, start, stop, name in sorted(places, key=lambda each: (each[1], each[2])):
        if start != end or stop - start != stored.values * ITEM_BYTES[stored.dtype]:
            raise ValueError(f"tensor {name} at bytes {start} to {stop}")
        end = stop
    if 8 + length + end != size:
        raise ValueError(f"{size:,} bytes, its header tells of {8 + length + end:,}")
    return first + text, {name: stored for stored, _, _, name in places}


def _stored(name: str, value: Any) -> Stored:
    """Return type and shape of one entry of a header whose values are of the right types and not negative."""
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"tensor {name} without type, shape and place")
    shape, offsets = value["shape"], value["data_offsets"]
    numbers = [*shape, *offsets] if isinstance(shape, list) and isinstance(offsets, list) else [None]
    if value["dtype"] not in ITEM_BYTES or len(shape) > 8 or len(offsets) != 2:
        raise ValueError(f"tensor {name} of type {value['dtype']!r} with {len(shape)} sides")
    if any(type(number) is not int or not 0 <= number <= LARGEST_WEIGHTS for number in numbers):
        raise ValueError(f"tensor {name} of shape {shape} at {offsets}")
    return Stored(value["dtype"], tuple(shape))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a duplicate name in the header")
    return found
