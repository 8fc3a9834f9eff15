"""The runtimes that are compared: an explicit table, each imported in its own process only."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from driftline_lab.bench.device.decoders.decoder import Decoder
from driftline_shared.errors import ConfigError

OURS = ("fp32", "int8", "int4", "int4-adapted")
"""Precisions of our graphs; `adapted`: under a full LoRA of rank 16 and other norms."""

DECODERS = ("torch", "genai", "llama.cpp", *(f"onnx-{name}" for name in OURS))

_PACKAGES = {
    "genai": ("onnxruntime_genai", "pip install onnxruntime-genai"),
    "llama.cpp": (
        "llama_cpp",
        # Its stock build may use instructions that this processor lacks.
        "CMAKE_ARGS='-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON "
        "-DGGML_AVX512=ON -DGGML_AVX512_VNNI=ON' pip install llama-cpp-python (without the AVX512 "
        "flags where the processor has none)",
    ),
}
"""Packages that only the comparison needs, and how they are installed."""


def check_installed(names: Sequence[str]) -> None:
    """Raises ConfigError for a name that is not known or whose package is missing."""
    for name in names:
        if name not in DECODERS:
            raise ConfigError(f"runtime {name!r} is not known; known are {', '.join(DECODERS)}")
        if name in _PACKAGES and find_spec(_PACKAGES[name][0]) is None:
            raise ConfigError(f"runtime {name} is not installed: {_PACKAGES[name][1]}")


def open_decoder(name: str, model: Path, threads: int) -> Decoder:
    """The decoder of that name on `model`, loaded."""
    check_installed([name])
    if name == "torch":
        from driftline_lab.bench.device.decoders.torch_decoder import TorchDecoder

        return TorchDecoder(model, threads)
    if name == "genai":
        from driftline_lab.bench.device.decoders.genai_decoder import GenaiDecoder

        return GenaiDecoder(model, threads)
    if name == "llama.cpp":
        from driftline_lab.bench.device.decoders.llama_decoder import LlamaDecoder

        return LlamaDecoder(model, threads)
    from driftline_lab.bench.device.decoders.onnx_decoder import OnnxDecoder

    precision, _, adapted = name.removeprefix("onnx-").partition("-")
    return OnnxDecoder(model, precision, threads, adapted=bool(adapted))
