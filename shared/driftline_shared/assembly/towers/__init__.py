"""Vision towers that transformers does not have, made known to its Auto classes on request."""

from __future__ import annotations


def register_towers() -> None:
    """Let `from_pretrained` read the towers of this folder; safe to call again."""
    from transformers import AutoConfig, AutoModel

    from driftline_shared.assembly.towers.efficientnet_lite import (
        EfficientNetLiteConfig,
        EfficientNetLiteModel,
    )

    AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig, exist_ok=True)
    AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel, exist_ok=True)
