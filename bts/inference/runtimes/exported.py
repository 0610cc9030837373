"""What stands in an exported file?"""
from __future__ import annotations
from bts.glossary import Task
MASK=("mask",)
CLASS=("class_logits","class_probabilities","cam","features")
def outputs_of(task: Task) -> tuple[str, ...]:
    """x."""
    return (() if task == "cls" else MASK) + (() if task == "seg" else CLASS)
