"""Fixtures of the inference tests: two known models, and results held to the schema in the docs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fake_models import BrightRuntime, make_card


@pytest.fixture(scope="session")
def seg() -> BrightRuntime:
    """Segmenter that outlines what is bright."""
    return BrightRuntime(make_card("seg"))


@pytest.fixture(scope="session")
def cls() -> BrightRuntime:
    """Classifier that says glioma to everything."""
    return BrightRuntime(make_card("cls"), class_logits=[0, 1, 0], cam=[[0, 0.5], [1, 0]])


@pytest.fixture(scope="session")
def schema() -> dict[str, Any]:
    """Schema of `result.json`."""
    found: dict[str, Any] = json.loads((Path(__file__).parents[2] / "docs" / "result.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(found)
    return found


@pytest.fixture(scope="session")
def check_result(schema: dict[str, Any]) -> Callable[[Path], dict[str, Any]]:
    """Return the `result.json` of a folder, validated."""
    validator = jsonschema.Draft202012Validator(schema)

    def check(folder: Path) -> dict[str, Any]:
        result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        validator.validate(result)
        return result

    return check
