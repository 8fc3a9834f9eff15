"""The table of methods: name -> file. Adding a method is one file and one line here."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Method:
    """`where`: "file.Prefix" for the classes PrefixCompressor and PrefixOptions of file.py here.

    `images`, `videos`: what it is made for. `trained`: it has weights of its own. `drop_only`: it
    drops tokens and neither merges nor adds any, and keeps position ids.
    """

    where: str
    images: bool = field(default=False, kw_only=True)
    videos: bool = field(default=False, kw_only=True)
    trained: bool = field(default=False, kw_only=True)
    drop_only: bool = field(default=False, kw_only=True)

    def load(self) -> tuple[type[TokenCompressor], type[Options]]:
        """The two classes; imports the module."""
        file, _, prefix = self.where.partition(".")
        module = importlib.import_module(f"{__package__}.{file}")
        return getattr(module, f"{prefix}Compressor"), getattr(module, f"{prefix}Options")


METHODS: dict[str, Method] = {
    "dycoke": Method("dycoke.DyCoke", videos=True, drop_only=True),
    "fastv": Method("fastv.Fastv", images=True, videos=True, drop_only=True),
    "longvu": Method("longvu.LongVu", videos=True),
    "mod": Method("mod.Mod", images=True, videos=True, trained=True),
    "prumerge": Method("prumerge.Prumerge", images=True, videos=True),
    "quecc": Method("quecc.Quecc", images=True, trained=True),
    "sparsevlm": Method("sparsevlm.SparseVlm", images=True, videos=True),
    "tome": Method("tome.Tome", images=True, videos=True),
    "ts_llava": Method("ts_llava.TsLlava", videos=True),
    "vidcom2": Method("vidcom2.VidCom2", videos=True, drop_only=True),
    "voco": Method("voco.Voco", images=True, videos=True, trained=True),
    "vtw": Method("vtw.Vtw", images=True, videos=True, drop_only=True),
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
