"""The table of methods: name -> file. Adding a method is one file and one line here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from torch import Tensor

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressor import (
    Compression,
    ModelFacts,
    Options,
    TokenCompressor,
)


@dataclass(frozen=True, kw_only=True)
class Method:
    """Where a method is: classes `compressor` and `options` of `module`, and what it is for.

    `drop_only`: it drops tokens and neither merges nor adds any, and keeps position ids.
    """

    module: str
    compressor: str
    options: str
    images: bool
    videos: bool
    trained: bool = False
    drop_only: bool = False

    def load(self) -> tuple[type[TokenCompressor], type[Options]]:
        """The two classes; imports the module."""
        module = importlib.import_module(f"{__package__}.{self.module}")
        return getattr(module, self.compressor), getattr(module, self.options)


METHODS: dict[str, Method] = {
    "dycoke": Method(
        module="dycoke",
        compressor="DyCokeCompressor",
        options="DyCokeOptions",
        images=False,
        videos=True,
        drop_only=True,
    ),
    "fastv": Method(
        module="fastv",
        compressor="FastvCompressor",
        options="FastvOptions",
        images=True,
        videos=True,
        drop_only=True,
    ),
    "longvu": Method(
        module="longvu",
        compressor="LongVuCompressor",
        options="LongVuOptions",
        images=False,
        videos=True,
    ),
    "mod": Method(
        module="mod",
        compressor="ModCompressor",
        options="ModOptions",
        images=True,
        videos=True,
        trained=True,
    ),
    "prumerge": Method(
        module="prumerge",
        compressor="PrumergeCompressor",
        options="PrumergeOptions",
        images=True,
        videos=True,
    ),
    "quecc": Method(
        module="quecc",
        compressor="QueccCompressor",
        options="QueccOptions",
        images=True,
        videos=False,
        trained=True,
    ),
    "sparsevlm": Method(
        module="sparsevlm",
        compressor="SparseVlmCompressor",
        options="SparseVlmOptions",
        images=True,
        videos=True,
    ),
    "tome": Method(
        module="tome",
        compressor="TomeCompressor",
        options="TomeOptions",
        images=True,
        videos=True,
    ),
    "ts_llava": Method(
        module="ts_llava",
        compressor="TsLlavaCompressor",
        options="TsLlavaOptions",
        images=False,
        videos=True,
    ),
    "vidcom2": Method(
        module="vidcom2",
        compressor="VidCom2Compressor",
        options="VidCom2Options",
        images=False,
        videos=True,
        drop_only=True,
    ),
    "voco": Method(
        module="voco",
        compressor="VocoCompressor",
        options="VocoOptions",
        images=True,
        videos=True,
        trained=True,
    ),
    "vtw": Method(
        module="vtw",
        compressor="VtwCompressor",
        options="VtwOptions",
        images=True,
        videos=True,
        drop_only=True,
    ),
}


def checked(name: str, options: Mapping[str, Any]) -> Options:
    """`options` of the method `name`; needs no model. Raises ConfigError for what is wrong."""
    if name not in METHODS:
        raise ConfigError(f"compressor is {name!r}; known are {', '.join(sorted(METHODS))}")
    _, schema = METHODS[name].load()
    try:
        return schema.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "options"
        known = ", ".join(sorted(schema.model_fields))
        raise ConfigError(
            f"compressor {name}: {key}: {first['msg']}; its options are {known}"
        ) from error


def configured(
    name: str,
    options: Mapping[str, Any],
    facts: ModelFacts,
    weights: Mapping[str, Tensor] | None = None,
) -> Compression:
    """The method `name` with `options`. Raises ConfigError for a name or option that is wrong."""
    valid = checked(name, options)
    kind, _ = METHODS[name].load()
    return Compression(name=name, kind=kind, options=valid, facts=facts, weights=weights or {})
