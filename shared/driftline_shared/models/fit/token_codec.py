"""Fits a pair's token_codec.safetensors to its stored calibration tokens.

What an error of a token costs is read off the projectors, which are all that reads tokens: the
metric is the mean of J'J over calibration tokens, J a projector's Jacobian, of teacher and student
alike, each scaled to mean 1, and a tenth of the plain squared error.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from driftline_shared.callbacks import ignore
from driftline_shared.codec.tokens import TRANSFORM_CODECS, decode_tokens, encode_tokens
from driftline_shared.codec.transform.file import save_transform
from driftline_shared.codec.transform.fit import fit_transform
from driftline_shared.errors import PairError
from driftline_shared.pair.pair import (
    Draft,
    read_source_tokens,
    read_token_space,
    token_space_digest,
)
from driftline_shared.tokens import TokenSpace, VisualTokens

_MEASURED = 32
"""Pictures that the relative errors are of."""
_PLAIN = 0.1
"""Weight of the plain squared error in the metric: what no projector reads today may be tomorrow,
when its adapter has been trained.
"""
_PICTURES = 16
_DRAWS = 2
"""Random directions of a projector's output that its Jacobian is looked at along, for each token.
"""


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
    draft: Draft,
    out: Path | None = None,
    *,
    plain: bool = False,
    report: Callable[[str], None] = ignore,
) -> FittedCodec:
    """Fit to source.safetensors and write into `out`, by default the pair's folder.

    `plain`: every error costs the same; no model is loaded.

    Raises PairError for a pair without a fitted token space or a source set.
    """
    digest, grid = draft.spec.token_space.digest, draft.grid
    if not digest or grid is None:
        raise PairError(
            f"{draft.file}: the token space is not fitted yet; run `driftline models "
            f"fit-token-space {draft.dir} --images DIR --questions FILE`"
        )
    tokens = read_source_tokens(draft.dir)
    metric = None
    if not plain:
        report("asking the projectors what errors cost")
        metric = pair_metric(draft, tokens)
    report(f"fitting to {len(tokens)} pictures")
    transform = fit_transform(tokens, grid, metric)
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


def pair_metric(draft: Draft, tokens: NDArray[np.float16]) -> NDArray[np.float64]:
    """(D, D) of both models' projectors, or the student's alone where the teacher has another
    tower. Raises PairError for models that cannot be loaded.
    """
    from driftline_shared.models.loading import load_model

    sides = [draft.student]
    if token_space_digest(draft.teacher.dir) == token_space_digest(draft.student.dir):
        sides.append(draft.teacher)
    width = tokens.shape[2]
    metric = _PLAIN * np.eye(width)
    for side in sides:
        model = load_model(
            side.dir, prompt=side.prompt, device="cpu", dtype=None, canvas=draft.canvas
        )
        found = projector_metric(model.project, tokens)
        metric += found * width / np.trace(found) / len(sides)
        del model
    return metric


def projector_metric(
    project: Callable[[torch.Tensor], torch.Tensor], tokens: NDArray[np.float16]
) -> NDArray[np.float64]:
    """(D, D) the mean of J'J over (N, V, D) `tokens`, by random directions of the output."""
    generator = torch.Generator().manual_seed(0)
    width = tokens.shape[2]
    metric = np.zeros((width, width))
    for start in range(0, len(tokens), _PICTURES):
        part = torch.tensor(tokens[start : start + _PICTURES].astype(np.float32))
        for _ in range(_DRAWS):
            values = part.clone().requires_grad_(True)
            made = project(values)
            drawn = torch.randn(made.shape, generator=generator, dtype=torch.float32)
            (slopes,) = torch.autograd.grad((made.float() * drawn).sum(), values)
            flat = slopes.reshape(-1, width).double().numpy()
            metric += flat.T @ flat
    return metric / (len(tokens) * tokens.shape[1] * _DRAWS)


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
