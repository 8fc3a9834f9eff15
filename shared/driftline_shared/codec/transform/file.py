"""token_codec.safetensors: the tables of the transform codec beside a pair's other fitted files."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from driftline_shared.codec.transform import ans, symbols
from driftline_shared.errors import PairError
from driftline_shared.tokens import TokenTransform

FILE = "token_codec.safetensors"

MAX_WIDTH = 4_096
"""Most channels of a token: the basis then has 32 MiB."""
_MAX_LEVELS = 64
_MAX_FILE_BYTES = 48 << 20
_MOST = 1e6
"""Of mean, scale and unit: no number of steps then leaves float32."""

_KINDS = {
    "mean": np.float32,
    "basis": np.int16,
    "sizes": np.float64,
    "log_scales": np.int16,
    "frequencies": np.uint16,
}


def transform_of(
    *,
    mean: NDArray[np.float32],
    basis: NDArray[np.int16],
    scale: float,
    unit: float,
    log_scales: NDArray[np.int16],
    frequencies: NDArray[np.uint16],
) -> TokenTransform:
    """Tables with their digest. Raises PairError for what could not be decoded with."""
    return _transform(_arrays(mean, basis, scale, unit, log_scales, frequencies))


def _transform(arrays: dict[str, NDArray[Any]]) -> TokenTransform:
    """See `transform_of`; `arrays` as the file names them."""
    _check_shapes({name: array.shape for name, array in arrays.items()})
    _check_values(arrays)
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}\0{array.shape}\0".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
    return TokenTransform(
        digest=digest.digest(),
        mean=arrays["mean"],
        basis=arrays["basis"],
        scale=float(arrays["sizes"][0]),
        unit=float(arrays["sizes"][1]),
        log_scales=arrays["log_scales"],
        frequencies=arrays["frequencies"],
    )


def save_transform(transform: TokenTransform, folder: Path) -> Path:
    """Write the file into `folder`."""
    path = folder / FILE
    save_file(
        _arrays(
            transform.mean,
            transform.basis,
            transform.scale,
            transform.unit,
            transform.log_scales,
            transform.frequencies,
        ),
        path,
    )
    return path


def load_transform(folder: Path, width: int) -> TokenTransform | None:
    """The tables in `folder` for tokens of `width` channels; None where there are none.

    Sizes are checked before anything is read. Raises PairError for a file that is none.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise PairError(f"it has more than {_MAX_FILE_BYTES} bytes")
        with safe_open(path, framework="numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            _check_shapes({name: tuple(one.get_shape()) for name, one in slices.items()}, width)
            arrays = {name: file.get_tensor(name) for name in _KINDS}
        wrong = [name for name, kind in _KINDS.items() if arrays[name].dtype != kind]
        if wrong:
            raise PairError(f"{', '.join(wrong)} have another type than they should")
        return _transform(arrays)
    except (OSError, SafetensorError, PairError) as error:
        raise PairError(
            f"{path} cannot be used: {error}; run `driftline models fit-token-codec`"
        ) from error


def _arrays(
    mean: NDArray[np.float32],
    basis: NDArray[np.int16],
    scale: float,
    unit: float,
    log_scales: NDArray[np.int16],
    frequencies: NDArray[np.uint16],
) -> dict[str, NDArray[Any]]:
    return {
        "mean": np.ascontiguousarray(mean),
        "basis": np.ascontiguousarray(basis),
        "sizes": np.array([scale, unit], dtype=np.float64),
        "log_scales": np.ascontiguousarray(log_scales),
        "frequencies": np.ascontiguousarray(frequencies),
    }


def _check_shapes(shapes: dict[str, tuple[int, ...]], width: int | None = None) -> None:
    if set(shapes) != set(_KINDS):
        raise PairError(f"it holds {sorted(shapes)}, not {sorted(_KINDS)}")
    found = shapes["mean"][0] if len(shapes["mean"]) == 1 else 0
    if not 1 <= found <= MAX_WIDTH or (width is not None and found != width):
        raise PairError(f"its tokens have {found} channels, the pair's {width or 'at least one'}")
    levels = shapes["log_scales"][0] if len(shapes["log_scales"]) == 2 else 0
    right = {
        "basis": (found, found),
        "sizes": (2,),
        "log_scales": (levels, found),
        "frequencies": (*symbols.ALPHABETS, symbols.NUM_MAGNITUDES),
    }
    if not 1 <= levels <= _MAX_LEVELS or any(shapes[name] != one for name, one in right.items()):
        raise PairError(f"its arrays have the wrong shapes ({shapes})")


def _check_values(arrays: dict[str, NDArray[Any]]) -> None:
    scale, unit = (float(one) for one in arrays["sizes"])
    if not (np.isfinite(arrays["mean"]).all() and np.abs(arrays["mean"]).max() < _MOST):
        raise PairError("its mean is not finite")
    if not (1 / _MOST < scale < _MOST and 1 / _MOST < unit < _MOST) or math.frexp(unit)[0] != 0.5:
        raise PairError("its scale or unit is out of range")
    frequencies = arrays["frequencies"].astype(np.int64)
    rest = frequencies[..., 1:]
    if (frequencies.sum(axis=-1) != ans.TOTAL).any() or frequencies.min() < 1 or (rest % 2).any():
        raise PairError("its frequencies do not sum to what they should")
