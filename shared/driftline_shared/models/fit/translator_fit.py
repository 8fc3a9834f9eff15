"""Fits a translator on images that both towers have seen, and says how well it does on others.

Images are split in three: fitted on, chosen by (ridge, when to stop), and held out. Nothing that is
reported was looked at before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from driftline_shared.errors import DataError
from driftline_shared.models.fit.translation import (
    TRANSLATOR_FILE,
    TranslatorKind,
    cell_map,
    hidden_width,
    translator_bytes,
)
from driftline_shared.models.fit.translator import Translator
from driftline_shared.models.loading import load_student, load_teacher
from driftline_shared.models.multimodal import MultimodalModel
from driftline_shared.pair.pair import Pair
from driftline_shared.pair.spec import TranslatorSpec
from driftline_shared.tokens import Grid

RIDGES = (1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Regularizations tried, relative to the variance of a standardized channel."""

MIN_IMAGES = 5
"""Fewer cannot be split in three."""

NUM_STEPS = 400
STEP_TOKENS = 512
LOOK_EVERY = 50
LEARNING_RATE = 3e-3

ENCODE_IMAGES = 8
"""Images encoded at a time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TranslatorError:
    """How far translated tokens are from the teacher's, on held-out images.

    `relative_error`: 1 - R^2 of each channel, mean over channels; 0 is perfect, 1 is no better than
    the mean. `cosine`: mean over tokens, channels standardized.
    """

    relative_error: float
    cosine: float
    num_images: int
    num_tokens: int


def fit_pair_translator(
    pair: Pair,
    images: Sequence[NDArray[np.uint8]],
    *,
    kind: TranslatorKind = "linear",
    rank: int = 0,
    seed: int = 0,
    device: str = "cpu",
) -> TranslatorSpec:
    """Fit the pair's translator on `images`, write it beside pair.toml; gives what [translator]
    then says.

    The models are loaded one after the other. Raises DataError for too few images, PairError for
    a translator that would be too large.
    """
    student = load_student(pair, device=device)
    student_grid, ours = student.grid, _encoded(student, images)
    del student
    teacher = load_teacher(pair, device)
    teacher_grid, theirs = teacher.grid, _encoded(teacher, images)
    del teacher
    translator, error = fit_translator(
        ours, theirs, student_grid, teacher_grid, kind=kind, rank=rank, seed=seed
    )
    translator.save(pair.dir / TRANSLATOR_FILE)
    return TranslatorSpec(
        kind=kind,
        rank=rank,
        relative_error=round(error.relative_error, 6),
        cosine=round(error.cosine, 6),
        num_images=error.num_images,
    )


def fit_translator(
    student_tokens: Tensor,
    teacher_tokens: Tensor,
    student_grid: Grid,
    teacher_grid: Grid,
    *,
    kind: TranslatorKind = "linear",
    rank: int = 0,
    seed: int = 0,
) -> tuple[Translator, TranslatorError]:
    """Fit on (N, V_s, D_s) and (N, V_t, D_t) tokens of the same N images, in float64.

    `rank` 0: full; else the reduced-rank regression of that rank (Izenman 1975). Raises DataError
    for tokens that do not fit the grids or are not finite, and for fewer than `MIN_IMAGES` images.
    """
    _check(student_tokens, teacher_tokens, student_grid, teacher_grid)
    widths = student_tokens.shape[2], teacher_tokens.shape[2]
    rank = rank if 0 < rank < min(widths) else 0
    translator_bytes(*widths, kind, rank)
    targets = teacher_tokens[:, torch.from_numpy(cell_map(student_grid, teacher_grid))]
    fit, choice, test = _split(len(student_tokens), seed)
    units = _Units.of(student_tokens[fit], targets[fit])
    moments = _Moments.of(student_tokens[fit], targets[fit], units)
    judged = _Moments.of(student_tokens[choice], targets[choice], units)
    ridge, weight = _chosen(moments, judged)
    if kind == "linear":
        moments = moments.plus(judged)
        weight = moments.solve(ridge)
    tensors = _linear(moments, weight, units, rank)
    translator = Translator(tensors=tensors, student_grid=student_grid, teacher_grid=teacher_grid)
    if kind == "mlp":
        tokens = [(student_tokens[part], targets[part]) for part in (fit, choice)]
        translator = _with_hidden(translator, units, *tokens, seed=seed)
    return translator, _error(translator, student_tokens[test], targets[test], units)


@dataclass(frozen=True, kw_only=True)
class _Units:
    """Means and standard deviations of the channels on the images fitted on, float64."""

    x_mean: Tensor
    x_scale: Tensor
    y_mean: Tensor
    y_scale: Tensor

    @staticmethod
    def of(x: Tensor, y: Tensor) -> _Units:
        """From (n, V, D) tokens. A channel that hardly varies gets the unit 1: it is a constant."""
        (x_mean, x_scale), (y_mean, y_scale) = _mean_and_scale(x), _mean_and_scale(y)
        return _Units(x_mean=x_mean, x_scale=x_scale, y_mean=y_mean, y_scale=y_scale)

    def standard(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """(V, D) tokens in these units, float64."""
        return (
            (x.double().cpu() - self.x_mean) / self.x_scale,
            (y.double().cpu() - self.y_mean) / self.y_scale,
        )


def _mean_and_scale(tokens: Tensor) -> tuple[Tensor, Tensor]:
    count = tokens.shape[0] * tokens.shape[1]
    mean = sum(image.double().cpu().sum(0) for image in tokens) / count
    assert isinstance(mean, Tensor)
    squares = sum((image.double().cpu() - mean).square().sum(0) for image in tokens) / count
    assert isinstance(squares, Tensor)
    varies = squares > 1e-12 * squares.max().clamp(min=1e-12)
    return mean, torch.where(varies, squares, torch.ones_like(squares)).sqrt()


@dataclass(frozen=True, kw_only=True)
class _Moments:
    """Sums over tokens in standard units: enough for every ridge, whatever the number of images."""

    count: int
    x: Tensor  # (D_s,)
    y: Tensor  # (D_t,)
    xx: Tensor  # (D_s, D_s)
    xy: Tensor  # (D_s, D_t)
    yy: Tensor  # (D_t,)

    @staticmethod
    def of(x: Tensor, y: Tensor, units: _Units) -> _Moments:
        widths = x.shape[2], y.shape[2]
        parts = [torch.zeros(n, dtype=torch.float64) for n in widths]
        xx = torch.zeros(widths[0], widths[0], dtype=torch.float64)
        xy = torch.zeros(widths, dtype=torch.float64)
        yy = torch.zeros(widths[1], dtype=torch.float64)
        for ours, theirs in zip(x, y, strict=True):
            a, b = units.standard(ours, theirs)
            parts = [parts[0] + a.sum(0), parts[1] + b.sum(0)]
            xx += a.T @ a
            xy += a.T @ b
            yy += b.square().sum(0)
        return _Moments(count=x.shape[0] * x.shape[1], x=parts[0], y=parts[1], xx=xx, xy=xy, yy=yy)

    def plus(self, other: _Moments) -> _Moments:
        return _Moments(**{key: one + vars(other)[key] for key, one in vars(self).items()})

    def centred(self) -> tuple[Tensor, Tensor]:
        """Sums of products about these tokens' own mean: (D_s, D_s) and (D_s, D_t)."""
        xx = self.xx - torch.outer(self.x, self.x) / self.count
        return xx, self.xy - torch.outer(self.x, self.y) / self.count

    def solve(self, ridge: float) -> Tensor:
        """(D_s, D_t) of the ridge regression."""
        xx, xy = self.centred()
        damped = xx + ridge * self.count * torch.eye(len(xx), dtype=xx.dtype)
        solved: Tensor = torch.linalg.solve(damped, xy)
        return solved

    def offset(self, weight: Tensor) -> Tensor:
        """(D_t,) in standard units."""
        return (self.y - self.x @ weight) / self.count


def _chosen(moments: _Moments, judged: _Moments) -> tuple[float, Tensor]:
    """The ridge that does best on the images to choose by, and its weights."""
    tried = []
    for ridge in RIDGES:
        weight = moments.solve(ridge)
        tried.append((_squares(weight, moments.offset(weight), judged), ridge, weight))
    _, ridge, weight = min(tried, key=lambda one: one[0])
    return ridge, weight


def _squares(weight: Tensor, offset: Tensor, over: _Moments) -> float:
    """Mean squared error in standard units, from moments alone."""
    total = over.yy - 2 * (weight * over.xy).sum(0) + (weight * (over.xx @ weight)).sum(0)
    cross = over.y - weight.T @ over.x
    total = total - 2 * offset * cross + over.count * offset.square()
    return float(total.mean()) / over.count


def _linear(moments: _Moments, weight: Tensor, units: _Units, rank: int) -> dict[str, Tensor]:
    """The map in the tokens' own units, float32."""
    back = 1.0 / units.x_scale[:, None]
    if not rank:
        tensors, whole = {"weight": back * weight * units.y_scale}, weight
    else:
        xx, _ = moments.centred()
        # The directions in which the full regression predicts most.
        directions = torch.linalg.eigh(weight.T @ xx @ weight).eigenvectors[:, -rank:]
        whole = weight @ directions @ directions.T
        tensors = {"down": back * (weight @ directions), "up": directions.T * units.y_scale}
    at = units.y_mean + moments.offset(whole) * units.y_scale
    tensors["bias"] = at - (units.x_mean / units.x_scale) @ whole * units.y_scale
    return {name: tensor.float().contiguous() for name, tensor in tensors.items()}


def _with_hidden(
    linear: Translator,
    units: _Units,
    fit: tuple[Tensor, Tensor],
    choice: tuple[Tensor, Tensor],
    *,
    seed: int,
) -> Translator:
    """`linear` with a hidden layer that learns what it leaves, from zero on; the best step's."""
    generator = torch.Generator().manual_seed(seed)
    ours, theirs = linear.student_width, linear.teacher_width
    hidden = hidden_width(ours, theirs)
    scale = units.y_scale.float()
    x, y = (part.flatten(0, 1).float().cpu() for part in fit)
    learnt = {
        "inner": torch.randn(ours, hidden, generator=generator) / ours**0.5,
        "inner_bias": torch.zeros(hidden),
        "outer": torch.zeros(hidden, theirs),
    }
    for tensor in learnt.values():
        tensor.requires_grad_(True)
    fixed = {"mean": units.x_mean.float(), "scale": units.x_scale.float()}
    model = replace(linear, tensors=linear.tensors | fixed | learnt)
    optimizer = torch.optim.AdamW(learnt.values(), lr=LEARNING_RATE, weight_decay=1e-2)
    best, least = _copy(model), _loss(model, *choice, scale)
    for step in range(1, NUM_STEPS + 1):
        rate = 0.5 * (1.0 + np.cos(np.pi * (step - 1) / NUM_STEPS))
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * rate
        rows = torch.randint(len(x), (min(STEP_TOKENS, len(x)),), generator=generator)
        loss = ((model(x[rows]) - y[rows]) / scale).square().mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % LOOK_EVERY == 0 and (now := _loss(model, *choice, scale)) < least:
            best, least = _copy(model), now
    return best


@torch.no_grad()
def _loss(model: Translator, x: Tensor, y: Tensor, scale: Tensor) -> float:
    sums = [
        float(((model(a) - b.float().cpu()) / scale).square().mean())
        for a, b in zip(x, y, strict=True)
    ]
    return float(np.mean(sums))


def _copy(model: Translator) -> Translator:
    held = {name: tensor.detach().clone() for name, tensor in model.tensors.items()}
    return replace(model, tensors=held)


@torch.no_grad()
def _error(translator: Translator, x: Tensor, y: Tensor, units: _Units) -> TranslatorError:
    """Errors on held-out tokens (n, V, D), image by image."""
    left, whole = torch.zeros(2, y.shape[2], dtype=torch.float64)
    cosines = []
    for ours, theirs in zip(x, y, strict=True):
        translated = (translator(ours).double() - units.y_mean) / units.y_scale
        true = (theirs.double().cpu() - units.y_mean) / units.y_scale
        left += (translated - true).square().sum(0)
        whole += true.square().sum(0)
        cosines.append(torch.cosine_similarity(translated, true, dim=-1).mean())
    # A channel that does not vary on these images has nothing to explain.
    varies = whole > 1e-9 * whole.max().clamp(min=1e-12)
    relative = float((left[varies] / whole[varies]).mean()) if bool(varies.any()) else 0.0
    return TranslatorError(
        relative_error=relative,
        cosine=float(torch.stack(cosines).mean()),
        num_images=len(x),
        num_tokens=x.shape[0] * x.shape[1],
    )


def _split(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images to fit on, to choose by and to hold out: three, one and one fifth."""
    order = torch.from_numpy(np.random.default_rng(seed).permutation(count))
    fifth = max(count // 5, 1)
    return order[2 * fifth :], order[fifth : 2 * fifth], order[:fifth]


def _check(student: Tensor, teacher: Tensor, student_grid: Grid, teacher_grid: Grid) -> None:
    if len(student) != len(teacher):
        raise DataError(f"{len(student)} images of the student, {len(teacher)} of the teacher")
    if len(student) < MIN_IMAGES:
        raise DataError(
            f"a translator is fitted on at least {MIN_IMAGES} images, not {len(student)}"
        )
    for who, tokens, grid in (
        ("student", student, student_grid),
        ("teacher", teacher, teacher_grid),
    ):
        if tokens.dim() != 3 or tokens.shape[1] != grid.num_tokens:
            raise DataError(f"the {who}'s tokens {tuple(tokens.shape)} do not fit its grid {grid}")
        if not bool(torch.isfinite(tokens).all()):
            raise DataError(f"the {who}'s tokens are not finite")


def _encoded(model: MultimodalModel, images: Sequence[NDArray[np.uint8]]) -> Tensor:
    """(N, V, D) float32 on the CPU."""
    parts = [
        model.encode(images[start : start + ENCODE_IMAGES]).float().cpu()
        for start in range(0, len(images), ENCODE_IMAGES)
    ]
    if not parts:
        raise DataError(f"a translator is fitted on at least {MIN_IMAGES} images, not 0")
    return torch.cat(parts)
