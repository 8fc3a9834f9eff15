"""The table of all methods, name -> file: those that run on any arrays (`portable.py`), and those
that torch alone runs. Adding one is one file, its import and its line in one of the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from driftline_shared.models.compression.compressor import (
    Compression,
    ModelFacts,
    Options,
)
from driftline_shared.models.compression.methods.mod import ModCompressor, ModOptions
from driftline_shared.models.compression.methods.quecc import QueccCompressor, QueccOptions
from driftline_shared.models.compression.methods.voco import VocoCompressor, VocoOptions
from driftline_shared.models.compression.portable import PORTABLE, Method, unknown

METHODS: dict[str, Method] = PORTABLE | {
    "mod": Method(ModCompressor, ModOptions, images=True, videos=True, trained=True),
    "quecc": Method(QueccCompressor, QueccOptions, images=True, trained=True),
    "voco": Method(VocoCompressor, VocoOptions, images=True, videos=True, trained=True),
}


def checked(name: str, options: Mapping[str, Any]) -> Options:
    """`options` of the method `name`; needs no model. Raises ConfigError for what is wrong."""
    if name not in METHODS:
        raise unknown(name, METHODS)
    return METHODS[name].checked(name, options)


def configured(
    name: str,
    options: Mapping[str, Any],
    facts: ModelFacts,
    weights: Mapping[str, Tensor] | None = None,
) -> Compression:
    """The method `name` with `options`. Raises ConfigError for a name or option that is wrong."""
    valid = checked(name, options)
    kind = METHODS[name].compressor
    return Compression(name=name, kind=kind, options=valid, facts=facts, weights=weights or {})
