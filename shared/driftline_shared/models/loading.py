"""Loaders: a checkpoint folder, or one side of a pair, as a `MultimodalModel`."""

from __future__ import annotations

from pathlib import Path

from driftline_shared.models.compression.loading import check_compressor, compressed
from driftline_shared.models.families.table import family_of
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.pair.pair import AdapterSpec, Canvas, Pair, Quantization
from driftline_shared.program.compressor import CompressorChoice


def load_model(
    model_dir: Path,
    *,
    prompt: str,
    adapter: AdapterSpec | None = None,
    quantization: Quantization = "none",
    twin: bool = False,
    device: str = "cpu",
    dtype: str | None = None,
    canvas: Canvas | None = None,
) -> MultimodalModel:
    """Load a checkpoint folder through the family its config names.

    `quantization` touches the language model only; with `twin` its weights are quantized and
    dequantized again, in fp32: what the cloud trains against. `dtype` is what an accelerator
    computes in (bfloat16 when None); a CPU computes in float32. `canvas`: the size images are
    brought to (None: the family's own). Raises PairError for an unknown family.
    """
    return family_of(model_dir)(
        model_dir,
        prompt=prompt,
        adapter=adapter,
        quantization=quantization,
        twin=twin,
        device=device,
        dtype=dtype,
        canvas=canvas,
    )


def load_teacher(pair: Pair, device: str = "cpu") -> MultimodalModel:
    """The teacher of a pair, in floating point, without an adapter."""
    return load_model(
        pair.teacher_dir,
        prompt=pair.teacher.prompt,
        device=device,
        dtype=pair.teacher.dtype,
        canvas=pair.canvas,
    )


def load_student(
    pair: Pair,
    *,
    twin: bool = False,
    device: str = "cpu",
    compressor: CompressorChoice | None = None,
) -> MultimodalModel:
    """The student of a pair with its adapter at version 0, quantized as devices run it.

    `twin`: its exact dequantized copy in floating point, for training. `compressor`: the method
    that it reads images through; ConfigError where its name, options or trained weights are not
    right, before anything is loaded.
    """
    if compressor is not None:
        check_compressor(pair.student_dir, compressor)
    student = load_model(
        pair.student_dir,
        prompt=pair.student.prompt,
        adapter=pair.adapter,
        quantization=pair.quantization,
        twin=twin,
        device=device,
        dtype=pair.student.dtype,
        canvas=pair.canvas,
    )
    return student if compressor is None else compressed(student, pair.student_dir, compressor)
