"""EfficientNet-Lite0 as a vision tower: two feature maps of one picture, read as a grid of tokens.

Architecture: EfficientNet (arXiv 1905.11946) as TensorFlow's `efficientnet/lite` builds it: ReLU6,
no squeeze-and-excitation, "same" padding. Batch norms are folded into the convolutions before them
(`driftline_shared.assembly`), so the tower holds plain convolutions with biases.

A token is one cell of the last map (stride 32) beside what the middle map (stride 16) holds there:
its 2 x 2 cells, averaged. The last map says what is seen; the middle one keeps strokes and edges.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, cat, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

STEM_WIDTH = 32

STAGES = (
    # repeats, kernel, stride of the first block, expansion, output channels
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
MIDDLE_STAGE = 4
"""The last stage at stride 16."""

TOKEN_WIDTH = STAGES[-1][-1] + STAGES[MIDDLE_STAGE][-1]


class EfficientNetLiteConfig(PretrainedConfig):
    """`patch_size` is the stride of the last map: image_size / patch_size tokens a side."""

    model_type = "efficientnet_lite"

    def __init__(
        self,
        image_size: int = 224,
        patch_size: int = 32,
        hidden_size: int = TOKEN_WIDTH,
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_size = hidden_size


class SamePadConv(nn.Conv2d):
    """A convolution padded so that the output has ceil(input / stride) cells a side.

    The odd cell of padding goes to the right and below, as in TensorFlow.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int = 1):
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=True)

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        pads = []
        for size in (maps.shape[3], maps.shape[2]):
            total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        return super().forward(F.pad(maps, pads))


class InvertedBottleneck(nn.Module):
    """Widen, filter each channel, narrow; added to the input where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = nn.Conv2d(inputs, inner, 1) if expansion != 1 else None
        self.depthwise = SamePadConv(inner, inner, kernel, stride, groups=inner)
        self.project = nn.Conv2d(inner, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H / stride, W / stride)."""
        inner = maps if self.expand is None else F.relu6(self.expand(maps))
        narrow = self.project(F.relu6(self.depthwise(inner)))
        return maps + narrow if self.residual else narrow


class EfficientNetLiteModel(PreTrainedModel):
    """Pixels to tokens; has no classifier."""

    config_class = EfficientNetLiteConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules = ("InvertedBottleneck",)

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__(config)
        self.stem = SamePadConv(3, STEM_WIDTH, 3, 2)
        inputs, stages = STEM_WIDTH, []
        for repeats, kernel, stride, expansion, outputs in STAGES:
            blocks = []
            for number in range(repeats):
                step = stride if number == 0 else 1
                blocks.append(InvertedBottleneck(inputs, outputs, kernel, step, expansion))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.post_init()

    def feature_maps(self, pixel_values: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> the output of every stage."""
        maps = F.relu6(self.stem(pixel_values))
        outputs = []
        for stage in self.stages:
            maps = stage(maps)
            outputs.append(maps)
        return outputs

    def forward(
        self, pixel_values: Tensor, return_dict: bool | None = None, **_ignored: Any
    ) -> BaseModelOutput:
        """(B, 3, H, W) -> tokens (B, V, D), row by row, as the last and only hidden state."""
        maps = self.feature_maps(pixel_values)
        middle = F.avg_pool2d(maps[MIDDLE_STAGE], 2, ceil_mode=True)
        tokens = cat([maps[-1], middle], dim=1).flatten(2).transpose(1, 2)
        return BaseModelOutput(last_hidden_state=tokens, hidden_states=(tokens,))
