"""The table of methods: name -> file. Adding a method is one file, its import and its line here."""

from __future__ import annotations

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
from driftline_shared.models.compression.methods.dart import DartCompressor, DartOptions
from driftline_shared.models.compression.methods.divprune import DivPruneCompressor, DivPruneOptions
from driftline_shared.models.compression.methods.dycoke import DyCokeCompressor, DyCokeOptions
from driftline_shared.models.compression.methods.evs import EvsCompressor, EvsOptions
from driftline_shared.models.compression.methods.fastv import FastvCompressor, FastvOptions
from driftline_shared.models.compression.methods.holitom import HoliTomCompressor, HoliTomOptions
from driftline_shared.models.compression.methods.longvu import LongVuCompressor, LongVuOptions
from driftline_shared.models.compression.methods.mod import ModCompressor, ModOptions
from driftline_shared.models.compression.methods.prumerge import PrumergeCompressor, PrumergeOptions
from driftline_shared.models.compression.methods.pyramiddrop import (
    PyramidDropCompressor,
    PyramidDropOptions,
)
from driftline_shared.models.compression.methods.quecc import QueccCompressor, QueccOptions
from driftline_shared.models.compression.methods.sparsevlm import (
    SparseVlmCompressor,
    SparseVlmOptions,
)
from driftline_shared.models.compression.methods.tome import TomeCompressor, TomeOptions
from driftline_shared.models.compression.methods.ts_llava import TsLlavaCompressor, TsLlavaOptions
from driftline_shared.models.compression.methods.vidcom2 import VidCom2Compressor, VidCom2Options
from driftline_shared.models.compression.methods.visionzip import (
    VisionZipCompressor,
    VisionZipOptions,
)
from driftline_shared.models.compression.methods.voco import VocoCompressor, VocoOptions
from driftline_shared.models.compression.methods.vtw import VtwCompressor, VtwOptions


@dataclass(frozen=True)
class Method:
    """`images`, `videos`: what it is made for. `trained`: it has weights of its own. `drop_only`:
    it drops tokens and neither merges nor adds any, and keeps position ids.
    """

    compressor: type[TokenCompressor]
    options: type[Options]
    images: bool = field(default=False, kw_only=True)
    videos: bool = field(default=False, kw_only=True)
    trained: bool = field(default=False, kw_only=True)
    drop_only: bool = field(default=False, kw_only=True)


METHODS: dict[str, Method] = {
    "dart": Method(DartCompressor, DartOptions, images=True, videos=True, drop_only=True),
    "divprune": Method(
        DivPruneCompressor, DivPruneOptions, images=True, videos=True, drop_only=True
    ),
    "dycoke": Method(DyCokeCompressor, DyCokeOptions, videos=True, drop_only=True),
    "evs": Method(EvsCompressor, EvsOptions, videos=True, drop_only=True),
    "fastv": Method(FastvCompressor, FastvOptions, images=True, videos=True, drop_only=True),
    "holitom": Method(HoliTomCompressor, HoliTomOptions, videos=True),
    "longvu": Method(LongVuCompressor, LongVuOptions, videos=True),
    "mod": Method(ModCompressor, ModOptions, images=True, videos=True, trained=True),
    "prumerge": Method(PrumergeCompressor, PrumergeOptions, images=True, videos=True),
    "pyramiddrop": Method(PyramidDropCompressor, PyramidDropOptions, images=True, videos=True),
    "quecc": Method(QueccCompressor, QueccOptions, images=True, trained=True),
    "sparsevlm": Method(SparseVlmCompressor, SparseVlmOptions, images=True, videos=True),
    "tome": Method(TomeCompressor, TomeOptions, images=True, videos=True),
    "ts_llava": Method(TsLlavaCompressor, TsLlavaOptions, videos=True),
    "vidcom2": Method(VidCom2Compressor, VidCom2Options, videos=True, drop_only=True),
    "visionzip": Method(VisionZipCompressor, VisionZipOptions, images=True, videos=True),
    "voco": Method(VocoCompressor, VocoOptions, images=True, videos=True, trained=True),
    "vtw": Method(VtwCompressor, VtwOptions, images=True, videos=True, drop_only=True),
}


def checked(name: str, options: Mapping[str, Any]) -> Options:
    """`options` of the method `name`; needs no model. Raises ConfigError for what is wrong."""
    if name not in METHODS:
        raise ConfigError(f"compressor is {name!r}; known are {', '.join(sorted(METHODS))}")
    schema = METHODS[name].options
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
    kind = METHODS[name].compressor
    return Compression(name=name, kind=kind, options=valid, facts=facts, weights=weights or {})
