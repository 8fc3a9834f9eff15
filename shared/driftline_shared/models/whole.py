"""Whether a checkpoint is whole: what is loaded is what its files hold, and all of it is.

transformers draws a tensor at random where the files hold none, and passes over what the model has
no place for; either would answer, wrongly and differently at each start. So both are errors here.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from driftline_shared.assembly.towers import register_towers
from driftline_shared.errors import PairError
from driftline_shared.pair.pair import Canvas
from driftline_shared.pair.plain import check_plain
from driftline_shared.tokens import Grid

BLANK, GREY = 64, 127
"""Edge in pixels, where a pair names no canvas, and value of the picture a tower is tried on."""

NAMES_SHOWN = 3
"""Tensors that a sentence names; it counts the others."""

_OF_NO_WEIGHT = ("rotary_emb.inv_freq", ".position_ids", ".num_batches_tracked")
"""Endings of tensors that older releases stored beside the weights and that newer ones compute."""


class Tower(Protocol):
    """What `check_tower` looks at."""

    grid: Grid

    def encode(self, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """See `MultimodalModel.encode`."""


def load_net(model_dir: Path, **options: Any) -> Any:
    """The model of transformers in `model_dir`, whole. `options`: as `from_pretrained` takes them.

    Raises PairError, which names the tensors, for a checkpoint that is quantized already, whose
    files lack a tensor of the model, hold one that it has no place for or of another shape, and for
    one that transformers cannot load.
    """
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging as transformers_logging

    register_towers()
    # Our own programs show progress; a bar per model would tear their screens.
    transformers_logging.disable_progress_bar()
    check_plain(model_dir)
    if options.get("quantization_config") is not None:
        check_tensors(model_dir)  # a weight that is quantized as it is read takes any shape
    with _told_once():
        try:
            net, found = AutoModelForImageTextToText.from_pretrained(
                model_dir,
                use_safetensors=True,
                local_files_only=True,
                # Found among the shapes below, and named.
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                **options,
            )
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise PairError(
                f"{model_dir} cannot be loaded: {_first_line(error)}", fix=_FETCH
            ) from error
    if problem := _loading_problem(found):
        raise PairError(f"{model_dir} is not whole: {problem}", fix=_FETCH)
    return net


def skeleton(model_dir: Path) -> Any:
    """The model that `load_net` would give, on the meta device: its modules, none of its weights.

    Raises OSError or ValueError for a config that transformers cannot read.
    """
    from transformers import AutoConfig, AutoModelForImageTextToText

    register_towers()
    config = AutoConfig.from_pretrained(model_dir, local_files_only=True)
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)


def check_tensors(model_dir: Path) -> None:
    """As `load_net`, of names and shapes alone: no weight is read."""
    load_net(model_dir, device_map={"": "meta"})


def check_values(net: nn.Module, model_dir: Path) -> None:
    """Raise PairError for weights, quantized or not, that are not finite."""
    bad = [name for name, values in _floating(net) if not _is_finite(values)]
    if bad:
        raise PairError(
            f"{model_dir}: {_listed(bad)} {_verb(bad)} NaN or infinity",
            fix="Take a copy that was saved in float32 or bfloat16: float16 overflows.",
        )


def check_vocabulary(net: Any, tokenizer: Any, model_dir: Path) -> None:
    """Raise PairError where the tokenizer knows more tokens than the embedding has rows."""
    most = max(tokenizer.get_vocab().values(), default=-1) + 1
    for part in (net.get_input_embeddings(), net.get_output_embeddings()):
        rows = most if part is None else int(part.weight.shape[0])
        # Quantization leaves both as they are.
        if rows < most:
            raise PairError(
                f"{model_dir}: the tokenizer knows {most} tokens, the embedding has {rows} rows",
                fix="Take tokenizer and weights of one checkpoint.",
            )


def check_tower(model: Tower, canvas: Canvas | None, model_dir: Path) -> None:
    """Have the tower read one blank picture; PairError where it cannot, where its tokens are not
    those of the grid, and where they are not finite.
    """
    height, width = (canvas.height, canvas.width) if canvas is not None else (BLANK, BLANK)
    frames = () if canvas is None or canvas.frames == 1 else (canvas.frames,)
    blank = np.full((*frames, height, width, 3), GREY, dtype=np.uint8)
    try:
        tokens = model.encode([blank])
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise PairError(
            f"{model_dir}: the tower cannot read what its image processor prepares: "
            f"{_first_line(error)}",
            fix="Take config.json and preprocessor_config.json of one checkpoint.",
        ) from error
    if tokens.shape[1] != model.grid.num_tokens:
        raise PairError(
            f"{model_dir}: the tower gives {tokens.shape[1]} tokens of a picture, its grid has "
            f"{model.grid.num_tokens}",
            fix="Take config.json and preprocessor_config.json of one checkpoint.",
        )
    if not _is_finite(tokens):
        raise PairError(
            f"{model_dir}: the tower's tokens hold NaN or infinity",
            fix='Set dtype = "float32" or "bfloat16", or take another copy of the checkpoint.',
        )


def _loading_problem(found: Mapping[str, Any]) -> str:
    missing = sorted(found.get("missing_keys") or ())
    unexpected = sorted(
        key for key in found.get("unexpected_keys") or () if not key.endswith(_OF_NO_WEIGHT)
    )
    mismatched = sorted(found.get("mismatched_keys") or ())
    parts = []
    if missing:
        parts.append(f"its files lack {_listed(missing)}")
    if mismatched:
        shapes = [f"{key} {list(theirs)} for {list(ours)}" for key, theirs, ours in mismatched]
        parts.append(f"other shapes than its config says: {_listed(shapes)}")
    if unexpected:
        parts.append(f"the model that its config names has no place for {_listed(unexpected)}")
    parts += [_first_line(error) for error in found.get("error_msgs") or ()][:1]
    return "; ".join(parts)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    more = len(names) - NAMES_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _verb(names: Sequence[str]) -> str:
    return "holds" if len(names) == 1 else "hold"


def _floating(net: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights and buffers in floating point; of quantized weights their scales."""
    for name, value in (*net.named_parameters(), *net.named_buffers()):
        if value.is_floating_point():
            yield name, value
        for scales in (
            getattr(value, "SCB", None),
            getattr(getattr(value, "quant_state", None), "absmax", None),
        ):
            if scales is not None and scales.is_floating_point():
                yield name, scales


def _is_finite(values: torch.Tensor) -> bool:
    # The two ends are NaN where any value is; a mask would take a quarter of the weights again.
    return values.numel() == 0 or all(bool(torch.isfinite(end)) for end in torch.aminmax(values))


def _first_line(error: object) -> str:
    text = str(error).strip() or type(error).__name__
    return text.partition("\n")[0][:300]


@contextmanager
def _told_once() -> Iterator[None]:
    """Without the report that transformers logs: the error says it."""
    loggers = [logging.getLogger(f"transformers.{name}") for name in _REPORTING]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


_REPORTING = ("modeling_utils", "utils.loading_report", "distributed.tensor_parallel")
_FETCH = (
    "Fetch the checkpoint again, whole, with the config that belongs to it; `driftline models "
    "check` says whether it is."
)
