"""Which things of a kind are there, and what was meant by a name that is none of them?"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from bts.errors import RequestError

T = TypeVar("T")


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `" (did you mean 'resnet50'?)"` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


class Registry(Generic[T]):
    """Names of one kind of thing. A contract test iterates over it, so registering puts a thing under test.

    >>> shapes = Registry[type]("shape")
    >>> @shapes.register("square")
    ... class Square: ...
    >>> shapes["square"].__name__
    'Square'
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that files its object under `name`; a name taken already is a programming error."""

        def keep(item: T) -> T:
            if name in self._items:
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._items[name] = item
            return item

        return keep

    def __getitem__(self, name: str) -> T:
        if name not in self._items:
            known = ", ".join(sorted(self._items))
            raise RequestError(f"unknown {self.kind} '{name}'{suggestion(name, self._items)}: choose one of {known}")
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._items))

    def __len__(self) -> int:
        return len(self._items)
