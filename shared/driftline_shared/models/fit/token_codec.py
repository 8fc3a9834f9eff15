"""Fits a pair's token_codec.safetensors to its stored calibration tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from driftline_shared.callbacks import ignore
from driftline_shared.codec.tokens import TRANSFORM_CODECS, decode_tokens, encode_tokens
from driftline_shared.codec.transform.file import save_transform
from driftline_shared.codec.transform.fit import fit_transform
from driftline_shared.errors import PairError
from driftline_shared.pair.pair import Draft, read_source_tokens, read_token_space
from driftline_shared.tokens import TokenSpace, VisualTokens

_MEASURED = 32
"""Pictures that the relative errors are of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FittedCodec:
    """What was written. `relative_errors`: by codec, squared error over variance of half of each
    picture's tokens, of calibration pictures.
    """

    file: str
    num_bytes: int
    digest: str
    relative_errors: dict[str, float]


def fit_pair_codec(
    draft: Draft, out: Path | None = None, *, report: Callable[[str], None] = ignore
) -> FittedCodec:
    """Fit to source.safetensors and write into `out`, by default the pair's folder.

    Raises PairError for a pair without a fitted token space or a source set.
    """
    digest, grid = draft.spec.token_space.digest, draft.grid
    if not digest or grid is None:
        raise PairError(
            f"{draft.file}: the token space is not fitted yet; run `driftline models "
            f"fit-token-space {draft.dir} --images DIR --questions FILE`"
        )
    tokens = read_source_tokens(draft.dir)
    report(f"fitting to {len(tokens)} pictures")
    transform = fit_transform(tokens, grid)
    folder = out or draft.dir
    folder.mkdir(parents=True, exist_ok=True)
    file = save_transform(transform, folder)
    report("measuring")
    space = replace(
        read_token_space(draft.dir, digest, grid, with_transform=False), transform=transform
    )
    return FittedCodec(
        file=str(file),
        num_bytes=file.stat().st_size,
        digest=transform.digest.hex(),
        relative_errors={name: _relative_error(tokens, space, name) for name in TRANSFORM_CODECS},
    )


def _relative_error(tokens: NDArray[np.float16], space: TokenSpace, codec: str) -> float:
    rng = np.random.default_rng(0)
    places = space.grid.num_tokens
    error = spread = 0.0
    for picture in tokens[:: max(1, len(tokens) // _MEASURED)][:_MEASURED].astype(np.float32):
        positions = np.sort(rng.permutation(places)[: max(1, places // 2)]).astype(np.int32)
        kept = VisualTokens(values=picture[positions], positions=positions, grid=space.grid)
        decoded = decode_tokens(encode_tokens(kept, space, codec), space)
        error += float(((decoded.values - kept.values) ** 2).sum(dtype=np.float64))
        spread += float(((kept.values - space.mean) ** 2).sum(dtype=np.float64))
    return error / max(spread, 1e-12)
