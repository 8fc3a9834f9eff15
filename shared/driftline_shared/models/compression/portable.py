"""The table of methods that run on any arrays: beside a checkpoint, and beside an export's graphs,
where there is no torch. Adding one is one file, its import and its line here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.compressor import (
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
from driftline_shared.models.compression.methods.prumerge import PrumergeCompressor, PrumergeOptions
from driftline_shared.models.compression.methods.pyramiddrop import (
    PyramidDropCompressor,
    PyramidDropOptions,
)
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
from driftline_shared.models.compression.methods.vtw import VtwCompressor, VtwOptions
from driftline_shared.program.compressor import CompressorChoice
from driftline_shared.program.nearest import nearest
from driftline_shared.program.section import explained
from driftline_shared.tokens import Grid


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

    def is_made_for(self, grid: Grid) -> bool:
        """Whether it is for what has this grid, images or clips of several frames."""
        return self.videos if grid.frames > 1 else self.images

    def checked(self, name: str, options: Mapping[str, Any]) -> Options:
        """`options` of this method, called `name`. Raises ConfigError for what is wrong."""
        try:
            return self.options.model_validate(dict(options))
        except ValidationError as error:
            raise explained(
                error, self.options, f"compressor {name}: compressor_options"
            ) from error


PORTABLE: dict[str, Method] = {
    "dart": Method(DartCompressor, DartOptions, images=True, videos=True, drop_only=True),
    "divprune": Method(
        DivPruneCompressor, DivPruneOptions, images=True, videos=True, drop_only=True
    ),
    "dycoke": Method(DyCokeCompressor, DyCokeOptions, videos=True, drop_only=True),
    "evs": Method(EvsCompressor, EvsOptions, videos=True, drop_only=True),
    "fastv": Method(FastvCompressor, FastvOptions, images=True, videos=True, drop_only=True),
    "holitom": Method(HoliTomCompressor, HoliTomOptions, videos=True),
    "longvu": Method(LongVuCompressor, LongVuOptions, videos=True),
    "prumerge": Method(PrumergeCompressor, PrumergeOptions, images=True, videos=True),
    "pyramiddrop": Method(PyramidDropCompressor, PyramidDropOptions, images=True, videos=True),
    "sparsevlm": Method(SparseVlmCompressor, SparseVlmOptions, images=True, videos=True),
    "tome": Method(TomeCompressor, TomeOptions, images=True, videos=True),
    "ts_llava": Method(TsLlavaCompressor, TsLlavaOptions, videos=True),
    "vidcom2": Method(VidCom2Compressor, VidCom2Options, videos=True, drop_only=True),
    "visionzip": Method(VisionZipCompressor, VisionZipOptions, images=True, videos=True),
    "vtw": Method(VtwCompressor, VtwOptions, images=True, videos=True, drop_only=True),
}


NEED_TORCH = frozenset({"mod", "quecc", "voco"})
"""Names of the other methods, which `table.py` adds."""


def checked_portable(choice: CompressorChoice) -> Options:
    """The options of a method that exports run, too; needs no model. Raises ConfigError for another
    method, and for an option that is wrong.
    """
    if choice.name in NEED_TORCH:
        raise ConfigError(
            f"compressor is {choice.name!r}; exports run {', '.join(sorted(PORTABLE))}: take one "
            'of them, or runtime = "torch" with the pair itself, which runs others, too'
        )
    if choice.name not in PORTABLE:
        raise unknown(choice.name, PORTABLE)
    return PORTABLE[choice.name].checked(choice.name, choice.options)


def unknown(name: str, known: Iterable[str]) -> ConfigError:
    """What is raised for a name that no method has; `known`: those that can run here."""
    names = sorted(known)
    return ConfigError(
        f"compressor is {name!r}; known are {', '.join(names)}{nearest(name, names)}"
    )
