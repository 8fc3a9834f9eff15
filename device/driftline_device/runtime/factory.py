"""Which runtime executes a pair: an explicit table, with heavy packages imported only when used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import structlog

from driftline_device.runtime.onnx.prepared import Prepared, read_prepared
from driftline_device.runtime.runtime import Runtime, UploadFrom
from driftline_shared.host.processors import num_processors
from driftline_shared.program.compressor import CompressorChoice
from driftline_shared.program.extras import needs_extra

if TYPE_CHECKING:
    from driftline_shared.models.compression.portable import Method
    from driftline_shared.pair.export_file import Export
    from driftline_shared.pair.pair import Pair

_log = structlog.get_logger(__name__)

RuntimeName = Literal["auto", "torch", "onnx"]
"""`auto`: onnx for an export, torch for a pair with its checkpoint."""

DEFAULT_PROVIDERS = ("CPUExecutionProvider",)

DEFAULT_THREADS = 1
"""CPU threads where neither a setting nor `driftline device prepare` says: a device has other
things to do.
"""


def make_runtime(
    pair: Pair,
    *,
    name: RuntimeName = "auto",
    device: str = "cpu",
    threads: int | None = None,
    precision: str = "",
    providers: Sequence[str] = DEFAULT_PROVIDERS,
    compressor: CompressorChoice | None = None,
    upload_from: UploadFrom = "all",
) -> Runtime:
    """The runtime `name` with version 0 of `pair`; ConfigError if its packages are missing.

    `device`: cpu or cuda, for torch. `threads`: of the CPU; None: what was prepared, else 1; 0: the
    library's choice. `precision`: of an export's graphs; empty: what was prepared, else int8.
    `providers`: of onnxruntime, in order of preference. `compressor`, `upload_from`: what
    images are read through; ConfigError for a name or option that is wrong.
    """
    if name == "auto":
        name = "torch" if pair.exported is None else "onnx"
    with needs_extra(f"runtime {name!r}", _EXTRAS[name], instead=_WITHOUT_TORCH):
        if name == "torch":
            return _torch(pair, device, threads, compressor, upload_from)
        return _onnx(pair, threads, precision, providers, compressor, upload_from)


def _torch(
    pair: Pair,
    device: str,
    threads: int | None,
    compressor: CompressorChoice | None,
    upload_from: UploadFrom,
) -> Runtime:
    from driftline_device.runtime.torch.runtime import TorchRuntime

    threads = DEFAULT_THREADS if threads is None else threads
    runtime = TorchRuntime(
        pair,
        device=device,
        threads=threads or num_processors(),
        compressor=compressor,
        upload_from=upload_from,
    )
    if compressor is not None:
        from driftline_shared.models.compression.table import METHODS

        _tell_if_not_made_for(compressor.name, METHODS[compressor.name], pair)
    return runtime


def _tell_if_not_made_for(name: str, method: Method, pair: Pair) -> None:
    grid = pair.token_space.grid
    if not method.is_made_for(grid):
        _log.warning(
            "compressor.not_made_for_this",
            compressor=name,
            pair=pair.name,
            reads="clips" if grid.frames > 1 else "images",
            fix="It runs; docs/compression.md says which methods are made for what.",
        )


def _onnx(
    pair: Pair,
    threads: int | None,
    precision: str,
    providers: Sequence[str],
    compressor: CompressorChoice | None,
    upload_from: UploadFrom,
) -> Runtime:
    from driftline_device.runtime.onnx.runtime import OnnxRuntime

    if pair.exported is not None and (not precision or threads is None):
        chosen = read_prepared(pair.dir, pair.exported.precisions)
        precision = precision or _precision(pair.exported, chosen)
        if threads is None:
            threads = chosen.threads if chosen else DEFAULT_THREADS
    threads = threads or num_processors()
    runtime = OnnxRuntime(
        pair,
        precision=precision,
        threads=threads,
        providers=providers,
        compressor=compressor,
        upload_from=upload_from,
    )
    if compressor is not None:
        from driftline_shared.models.compression.portable import PORTABLE

        _tell_if_not_made_for(compressor.name, PORTABLE[compressor.name], pair)
    return runtime


def precision_of(pair: Pair) -> str:
    """What the weights of `pair` are run in where no setting says it."""
    if pair.exported is None:
        return pair.quantization
    return _precision(pair.exported, read_prepared(pair.dir, pair.exported.precisions))


def _precision(export: Export, chosen: Prepared | None) -> str:
    """As prepared; else int8, which agrees with the twin and is fast everywhere."""
    if chosen is not None:
        return chosen.precision
    return "int8" if "int8" in export.precisions else "fp32"


_WITHOUT_TORCH = 'without torch a device runs exports (`driftline models export`), runtime = "onnx"'

_EXTRAS = {"torch": "device-torch", "onnx": "device"}
"""Name of a runtime -> the extra that holds its packages."""
