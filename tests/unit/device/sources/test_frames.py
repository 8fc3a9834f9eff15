"""Which frames are kept: at a fixed rate, on change, or both."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from driftline_device.sources.frames import FrameSampler, FrameSettings, change, thumbnail


def grey(value: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, dtype=np.uint8)


def kept(settings: FrameSettings, frames: list[tuple[float, int]]) -> list[float]:
    sampler = FrameSampler(settings)
    return [at_s for at_s, value in frames if sampler.due(at_s) and sampler.keep(grey(value), at_s)]


def test_a_fixed_rate_does_not_drift_with_the_frames() -> None:
    frames = [(number / 30, 0) for number in range(301)]
    times = kept(FrameSettings(every_s=0.25), frames)
    assert len(times) == 41
    assert times == pytest.approx([number * 0.25 for number in range(41)], abs=1 / 30)


def test_every_frame_where_nothing_is_asked() -> None:
    frames = [(number / 10, 0) for number in range(20)]
    assert len(kept(FrameSettings(every_s=0.0), frames)) == 20


def test_a_rate_at_the_frames_own_rate_keeps_all() -> None:
    times, at_s = [], 0.0
    for _ in range(100):
        times.append((at_s, 0))
        at_s += 0.1
    assert len(kept(FrameSettings(every_s=0.1), times)) == 100


def test_after_a_gap_the_rate_goes_on_from_there() -> None:
    frames = [(0.0, 0), (1.0, 0), (100.0, 0), (100.5, 0), (101.0, 0)]
    assert kept(FrameSettings(every_s=1.0), frames) == [0.0, 1.0, 100.0, 101.0]


def test_only_what_differs_from_the_last_kept_one() -> None:
    # Slow drift adds up: it is compared with what was kept, not with the frame before.
    values = [100, 101, 105, 110, 115, 120, 200, 199]
    frames = [(float(number), value) for number, value in enumerate(values)]
    assert kept(FrameSettings(every_s=0.0, min_change=14.5 / 255), frames) == [0.0, 4.0, 6.0]


def test_both_need_time_and_change() -> None:
    frames = [(0.0, 0), (0.5, 255), (1.0, 0), (1.2, 255), (1.4, 0)]
    assert kept(FrameSettings(every_s=1.0, min_change=0.5), frames) == [0.0, 1.2]


def test_a_thumbnail_is_small_and_its_difference_is_the_share_of_brightness() -> None:
    for height, width in ((1080, 1920), (48, 64), (33, 7), (1, 1)):
        small = thumbnail(grey(51, height, width))
        assert max(small.shape) <= 32
        assert small.dtype == np.float32
        assert np.allclose(small, 0.2)
    assert change(thumbnail(grey(0)), thumbnail(grey(255))) == pytest.approx(1.0)
    assert change(thumbnail(grey(0, 4, 4)), thumbnail(grey(0, 5, 4))) == 1.0


def test_half_of_the_view_is_half_of_the_change() -> None:
    image = grey(0, 480, 640)
    image[:, 320:] = 255
    assert change(thumbnail(grey(0, 480, 640)), thumbnail(image)) == pytest.approx(0.5, abs=0.02)


def test_noise_of_single_pixels_is_averaged() -> None:
    rng = np.random.default_rng(0)
    one, other = (rng.normal(128, 20, (480, 640, 3)).astype(np.uint8) for _ in range(2))
    assert change(thumbnail(one), thumbnail(other)) < 0.02
