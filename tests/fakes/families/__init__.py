"""Tiny random checkpoints of every family, saved and loaded as any other; never shipped."""

from __future__ import annotations

from types import ModuleType

from tests.fakes.families import llava

FAMILIES: dict[str, ModuleType] = {
    "llava": llava,
}
"""Name -> a module with MODEL_TYPE, PROMPT, CANVAS, make_checkpoint() and library_inputs()."""
