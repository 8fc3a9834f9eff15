"""ImageNet-C's families of corruptions, drawn by the package `corrupt-tta`.

They are for judging alone: no recipe may train on them, and an import contract says so. The
families and their five severities are those of Hendrycks and Dietterich, "Benchmarking Neural
Network Robustness to Common Corruptions and Perturbations" (ICLR 2019), who made them for pictures
of 224 pixels: on 64 a blur of the same radius hides more.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType, ModuleType

import numpy as np

from driftline_lab.drift.base import Drift, Picture
from driftline_shared.errors import MissingPackageError

PREFIX = "corrupt-"
SEVERITY = 3
SEVERITIES = (SEVERITY, 5)
"""Of 1..5: the middle, which a name alone means, and the strongest, which it says: `-5`."""

COMMON = (
    "gaussian_noise",
    "shot_noise",
    "impulse_noise",
    "defocus_blur",
    "glass_blur",
    "motion_blur",
    "zoom_blur",
    "snow",
    "frost",
    "fog",
    "brightness",
    "contrast",
    "elastic_transform",
    "pixelate",
    "jpeg_compression",
)
"""The fifteen families of the benchmark."""

EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""The four that its authors set apart for choosing settings."""

FAMILIES = COMMON + EXTRA

DEVELOPMENT = ("speckle_noise", "gaussian_blur")
"""Whose accuracy may be looked at while a recipe's settings are chosen; never trained on either."""

# The package draws from numpy's one global generator: one picture at a time.
_DRAWING = threading.Lock()


def corruption_name(family: str, severity: int = SEVERITY) -> str:
    """The domain's name: `corrupt-fog`, or `corrupt-fog-5`."""
    return f"{PREFIX}{family}" + ("" if severity == SEVERITY else f"-{severity}")


def corrupted(picture: Picture, rng: np.random.Generator, *, family: str, severity: int) -> Picture:
    """The picture with one corruption of strength 1..5; numpy's global generator stays as it was.

    Raises ConfigError when the package is missing.
    """
    package = _package()
    with _DRAWING, _seeded(package, rng):
        changed = package.corrupt(picture, severity=severity, corruption_name=family)
    return np.clip(changed, 0, 255).astype(np.uint8)


def _drift(family: str, severity: int) -> Drift:
    return Drift(
        name=corruption_name(family, severity),
        summary=f"ImageNet-C's {family.replace('_', ' ')}, severity {severity}",
        picture=partial(corrupted, family=family, severity=severity),
    )


CORRUPTIONS: Mapping[str, Drift] = MappingProxyType(
    {
        drift.name: drift
        for severity in SEVERITIES
        for drift in (_drift(family, severity) for family in FAMILIES)
    }
)
"""Every family at both severities, by the name of its domain."""


@contextmanager
def _seeded(package: ModuleType, rng: np.random.Generator) -> Iterator[None]:
    """Draws of the package follow from `rng`: of numpy's global state, and of scikit-image's
    `random_noise`, which asks the system for a seed unless it is handed a generator.
    """
    kept = np.random.get_state()
    noise = package.corruptions.random_noise
    np.random.seed(rng.integers(2**32, size=8, dtype=np.uint32))
    package.corruptions.random_noise = partial(noise, rng=rng)
    try:
        yield
    finally:
        package.corruptions.random_noise = noise
        np.random.set_state(kept)


def _package() -> ModuleType:
    try:
        import corrupt_tta
    except ImportError as error:
        fix = "pip install 'driftline[corruptions]', then pip install --no-deps corrupt-tta==0.1.7"
        raise MissingPackageError(
            f"the {PREFIX}* domains need one more package: {fix}", f"{fix}."
        ) from error
    return corrupt_tta
