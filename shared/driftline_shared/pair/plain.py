"""A checkpoint in floating point: one that was saved quantized is named. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from driftline_shared.errors import PairError
from driftline_shared.pair.families import read_config
from driftline_shared.pair.weights import headers

_PLAIN = {"F64", "F32", "F16", "BF16", "I64", "BOOL"}
"""Types that unquantized checkpoints are stored in; whole numbers are counters and places."""

_FIX = (
    "Take the checkpoint in floating point that it was made from: device and cloud quantize it "
    "themselves, in the same way."
)


def check_plain(model_dir: Path) -> None:
    """Raise PairError for a checkpoint whose weights were saved quantized (bitsandbytes, GPTQ, AWQ,
    FP8 ...), and for one with an adapter beside the weights, which would be put on them.
    """
    if found := next(_quantizations(read_config(model_dir)), None):
        raise PairError(f"{model_dir} was saved quantized: {found}", fix=_FIX)
    packed = {n: h.dtype for n, h in headers(model_dir).items() if h.dtype not in _PLAIN}
    if packed:
        name, dtype = next(iter(sorted(packed.items())))
        raise PairError(
            f"{model_dir} was saved quantized: {len(packed)} tensors are stored in {dtype} or its "
            f"like ({name})",
            fix=_FIX,
        )
    if (model_dir / "adapter_config.json").is_file():
        raise PairError(
            f"{model_dir} holds an adapter (adapter_config.json) beside its weights",
            fix="Merge it into the weights, or import it: `driftline models adapter import`.",
        )


def _quantizations(config: Mapping[str, Any]) -> Iterator[str]:
    """What config.json, or a part of it, says about quantized weights."""
    for name, value in config.items():
        if not isinstance(value, Mapping):
            continue
        if name in ("quantization_config", "compression_config"):
            method = str(value.get("quant_method") or value.get("quant_algo") or "of some kind")
            yield method + _bits(value)
        else:
            yield from _quantizations(value)


def _bits(table: Mapping[str, Any]) -> str:
    for num, key in ((4, "load_in_4bit"), (8, "load_in_8bit")):
        if table.get(key):
            return f", {num} bit"
    bits = table.get("bits", table.get("w_bit"))
    return f", {bits} bit" if isinstance(bits, int) else ""
