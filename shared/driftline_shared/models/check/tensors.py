"""Whether a checkpoint holds every tensor of its model, and numbers in them; no model is run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from driftline_shared.errors import PairError
from driftline_shared.pair.weights import headers, read_tensor


def check_whole(model_dir: Path) -> None:
    """Raise PairError for tensors that are missing, unexpected, of another shape or not finite.

    Names and shapes are compared where torch is; values are read tensor by tensor.
    """
    try:
        from driftline_shared.models.whole import check_tensors
    except ModuleNotFoundError:
        pass  # a warning about the grid says that torch is missing
    else:
        check_tensors(model_dir)
    for name, header in headers(model_dir).items():
        if header.dtype not in ("I64", "BOOL") and not _is_finite(read_tensor(header, name)):
            raise PairError(
                f"{model_dir}: {name} holds NaN or infinity",
                fix="Take a copy that was saved in float32 or bfloat16: float16 overflows.",
            )


def _is_finite(values: np.ndarray) -> bool:
    # The two ends are NaN where any value is.
    return values.size == 0 or bool(np.isfinite(values.min()) and np.isfinite(values.max()))
