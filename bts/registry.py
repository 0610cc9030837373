"""Registries of named items, nearest spellings, and classes by import path."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar, cast

from bts.errors import RequestError

T = TypeVar("T")
TRUSTED = "BTS_TRUSTED_CLASSES"
"""Environment variable with the import paths, separated by commas, of classes that a model folder may name."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `" (did you mean 'resnet50'?)"` for the nearest known name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{near[0]}'?)" if near else ""


class Registry(Generic[T]):
    """Items of one kind by name. A contract test iterates over it, so registering an item puts it under test.

    Args:
        kind: what the items are, for messages.
        base: class from which a class given by its import path must inherit; None accepts no import paths.

    >>> shapes = Registry[type]("shape")
    >>> @shapes.register("square")
    ... class Square: ...
    >>> shapes["square"].__name__
    'Square'
    """

    def __init__(self, kind: str, *, base: type | None = None) -> None:
        self.kind, self.base = kind, base
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers its object under `name`; a name that is taken is a programming error."""

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

    def find(self, name: str) -> T:
        """Return the item `name`, or the class at an import path such as `my_package.MySource`.

        Raises:
            RequestError: no item has this name, or the path leads to no class that inherits from `base`.
        """
        if name in self or self.base is None or not is_import_path(name):
            return self[name]
        found = import_path(name, self.kind)
        if not (isinstance(found, type) and self.base in found.__mro__):  # a protocol supports no issubclass
            base = f"{self.base.__module__}.{self.base.__name__}"
            raise RequestError(f"{self.kind} '{name}': expected a class that inherits from {base}, found {found!r}")
        return cast(T, found)

    def adopt(self, name: str) -> T:
        """Return `find(name)`, and register a class that is given by its import path under this path.

        For names that the user gives in settings: what is built from them later needs no second look.
        """
        self._items[name] = found = self.find(name)
        return found

    def load(self, name: str) -> T:
        """Return the item that a file names. A class is imported only if the user trusts its path: files may be a stranger's.

        Raises:
            RequestError: no item has this name, or an import path that is neither adopted nor in `BTS_TRUSTED_CLASSES`.
        """
        if name in self or self.base is None or not is_import_path(name):
            return self[name]
        if name in os.environ.get(TRUSTED, "").split(","):
            return self.adopt(name)
        raise RequestError(
            f"{self.kind} '{name}' is a class outside of bts, which no file may make bts import: "
            f"set {TRUSTED}={name} if you trust it"
        )

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._items))

    def __len__(self) -> int:
        return len(self._items)


def is_import_path(name: str) -> bool:
    """Return whether a name has the form of an import path, such as `my_package.MySource`."""
    return "." in name and all(part.isidentifier() for part in name.split("."))


def import_path(path: str, kind: str) -> Any:
    """Return the object at an import path such as `my_package.MySource`; `kind` names it in the error.

    Raises:
        RequestError: the module cannot be imported, or has no such name.
    """
    module, _, name = path.rpartition(".")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise RequestError(
            f"{kind} '{path}': no module named '{error.name}': install it, or add its folder to PYTHONPATH"
        ) from error
    except Exception as error:  # the module is a user's own and may raise anything
        line = str(error).splitlines()[0] if str(error) else "no message"
        raise RequestError(f"{kind} '{path}': importing '{module}' failed ({type(error).__name__}: {line})") from error
    if not hasattr(found, name):
        raise RequestError(f"{kind} '{path}': module '{module}' has no '{name}'{suggestion(name, vars(found))}")
    return getattr(found, name)
