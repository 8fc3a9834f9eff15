"""Tiny random checkpoints of every family, saved and loaded as any other; never shipped."""

from __future__ import annotations

from types import ModuleType

from tests.fakes.families import (
    idefics3,
    llava,
    llava_onevision,
    llava_onevision_video,
    qwen2_5_vl,
    qwen3_vl,
    smolvlm,
)

FAMILIES: dict[str, ModuleType] = {
    "llava": llava,
    "llava_onevision": llava_onevision,
    "llava_onevision_video": llava_onevision_video,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
}
"""Name -> a module with MODEL_TYPE, PROMPT, CANVAS, make_checkpoint() and library_inputs()."""
