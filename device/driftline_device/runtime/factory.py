"""Which runtime executes a pair: an explicit table, with heavy packages imported only when used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from driftline_device.runtime.runtime import Runtime
from driftline_shared.errors import ConfigError

if TYPE_CHECKING:
    from driftline_shared.models.pair import Pair

RuntimeName = Literal["torch"]


def make_runtime(
    pair: Pair, *, name: RuntimeName = "torch", device: str = "cpu", threads: int | None = 1
) -> Runtime:
    """The runtime `name` with version 0 of `pair`; ConfigError if its packages are missing."""
    try:
        from driftline_device.runtime.torch import TorchRuntime
    except ModuleNotFoundError as missing:
        if (missing.name or "").startswith("driftline"):
            raise
        raise ConfigError(
            f"runtime {name!r} needs {missing.name}: pip install 'driftline[device-torch]'"
        ) from missing
    return TorchRuntime(pair, device=device, threads=threads)
