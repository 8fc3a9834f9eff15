"""A compressor for a checkpoint: options checked, trained weights read from beside the checkpoint.

<student>/compressor.<name>.safetensors    tensors of a trained method by name
"""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from driftline_shared.errors import ConfigError, PairError
from driftline_shared.models.compression.compressed_model import CompressedModel, facts_of
from driftline_shared.models.compression.table import METHODS, checked, configured
from driftline_shared.models.compression.tower import check_reads
from driftline_shared.models.families.base import FamilyModel
from driftline_shared.models.families.table import family_of
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.pair.families import read_config
from driftline_shared.program.compressor import CompressorChoice


def weights_file(model_dir: Path, name: str) -> Path:
    """Where the trained weights of the method `name` lie beside a checkpoint."""
    return model_dir / f"compressor.{name}.safetensors"


def check_compressor(model_dir: Path, choice: CompressorChoice) -> None:
    """Raises ConfigError for a wrong name or option, where trained weights are missing, and where a
    checkpoint's family does not say of its tower what the method reads. Loads no model.
    """
    checked(choice.name, choice.options)
    file = weights_file(model_dir, choice.name)
    if METHODS[choice.name].trained and not file.is_file():
        raise ConfigError(
            f"compressor {choice.name} is a trained method and {file} is missing: make it with "
            f"`driftline lab train-compressor {choice.name} --out DIR`"
        )
    if (model_dir / "config.json").is_file():
        model_type = read_config(model_dir)["model_type"]
        check_reads(model_type, family_of(model_dir), METHODS[choice.name].compressor)


def compressed(
    model: MultimodalModel, model_dir: Path, choice: CompressorChoice
) -> CompressedModel:
    """`model`, as loaded from `model_dir`, behind the method `choice`; it shares all its weights.

    Raises ConfigError as `check_compressor`, PairError for a model that the driver cannot run.
    """
    check_compressor(model_dir, choice)
    name = choice.name
    if not isinstance(model, FamilyModel):
        raise PairError(f"compressor {name} needs a checkpoint, not a {type(model).__name__}")
    found = _read(weights_file(model_dir, name))
    weights = {key: tensor.to(model.device) for key, tensor in found.items()}
    return CompressedModel(model, configured(name, choice.options, facts_of(model), weights))


def _read(file: Path) -> dict[str, Tensor]:
    if not file.is_file():
        return {}
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise PairError(f"{file} cannot be read: {error}") from error
