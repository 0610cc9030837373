"""Where does a run say what it does? One logger, whose lines also go into the run's file."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

from bts.training.ranks import is_first

NOT_ACTIONABLE = (
    r"The '\w+' does not have many workers",  # the number is chosen: none on a CPU, which workers would only share
    r"Found \d+ module\(s\) in eval mode at the start of training",  # the frozen batch norms, on purpose
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning's own use of torch
)
"""Beginnings of Lightning's warnings that nobody can act on."""


@contextlib.contextmanager
def logged(path: Path) -> Iterator[None]:
    """Append everything that the logger `bts` says inside the block to the file at `path`."""
    logger = logging.getLogger("bts")
    if not is_first():  # one process speaks for all
        level = logger.level
        logger.setLevel(logging.ERROR)
        yield
        logger.setLevel(level)
        return
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


@contextlib.contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep back Lightning's advertisements and the warnings that nobody can act on."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            for message in NOT_ACTIONABLE:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
