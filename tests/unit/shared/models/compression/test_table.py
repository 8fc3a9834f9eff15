"""The table of methods: their budgets are the published ones."""

from __future__ import annotations

from typing import Any

import pytest

from driftline_shared.errors import ConfigError
from driftline_shared.models.compression.portable import NEED_TORCH, PORTABLE, checked_portable
from driftline_shared.models.compression.table import METHODS, checked
from driftline_shared.program.compressor import CompressorChoice

PUBLISHED: list[tuple[str, dict[str, Any], float]] = [
    ("dart", {}, 128 / 576),
    ("divprune", {}, 0.098),
    ("dycoke", {}, 0.475),  # K = 0.7: (1 + 3 * 0.3) / 4
    ("evs", {}, 0.25),  # q = 75 %
    ("fastv", {}, 0.5),  # R = 50 %
    ("holitom", {}, 0.1),
    ("mod", {}, 0.2),
    ("prumerge", {}, 0.055),
    ("prumerge", {"plus": True}, 0.25),
    ("prumerge", {"plus": True, "keep": 0.5}, 0.5),
    ("pyramiddrop", {}, 0.125),  # 0.5 behind each of three stages
    ("quecc", {}, 36 / 576),
    ("sparsevlm", {}, 192 / 576),
    ("ts_llava", {}, (576 + 2880) / (50 * 576)),
    ("vidcom2", {}, 0.25),
    ("visionzip", {}, 64 / 576),
    ("voco", {}, 1 / 576),
    ("vtw", {}, 15 / 32),
]


@pytest.mark.parametrize(("name", "options", "keep"), PUBLISHED)
def test_published_budgets_are_the_defaults(
    name: str, options: dict[str, Any], keep: float
) -> None:
    assert checked(name, options).keep == pytest.approx(keep)


def test_every_method_runs_on_exports_or_is_named_as_one_that_does_not() -> None:
    assert METHODS.keys() - PORTABLE.keys() == NEED_TORCH


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("pruemrge", {}, r"'pruemrge'; known are .*; did you mean 'prumerge'\?$"),
        ("voco", {}, r"'voco'; exports run .* runtime = .torch"),
        ("fastv", {"kep": 1}, r"fastv: compressor_options\.kep: unknown key; .*mean 'keep'"),
        ("fastv", {"keep": 2}, r"fastv: compressor_options\.keep: is at most 1\.0, not 2$"),
        ("prumerge", {"plus": "so"}, r"options\.plus: is true or false$"),
        ("tome", {"where": "head"}, r"options\.where: is 'tower' or 'projector'$"),
    ],
)
def test_what_is_wrong_is_said_in_plain_words(
    name: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        checked_portable(CompressorChoice(name=name, options=options))
