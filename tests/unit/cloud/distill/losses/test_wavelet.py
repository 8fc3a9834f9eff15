"""db6: the filter's published properties, and the transform against its literal formula."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline_cloud.distill.losses import wavelet
from driftline_cloud.distill.losses.wavelet import DB6, num_levels, transform


def test_the_filter_is_orthonormal_to_its_even_shifts() -> None:
    for shift in range(0, 12, 2):
        product = sum(DB6[k] * DB6[k + shift] for k in range(12 - shift))
        assert product == pytest.approx(1.0 if shift == 0 else 0.0, abs=1e-12)
    assert sum(DB6) == pytest.approx(math.sqrt(2), abs=1e-12)


def test_the_high_pass_filter_has_six_vanishing_moments() -> None:
    high = [(-1) ** k * DB6[11 - k] for k in range(12)]
    for power in range(6):
        assert sum(g * k**power for k, g in enumerate(high)) == pytest.approx(0.0, abs=1e-6)
    assert abs(sum(g * k**6 for k, g in enumerate(high))) > 1.0


@pytest.mark.parametrize(
    ("length", "levels"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (32, 3), (64, 3)]
)
def test_levels_halve_the_signal_until_one_token_is_left(length: int, levels: int) -> None:
    assert num_levels(length) == levels


@given(length=st.sampled_from([2, 4, 8, 16, 24, 32, 64]), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_energy_is_preserved(length: int, seed: int) -> None:
    signal = torch.randn(2, length, 3, generator=torch.Generator().manual_seed(seed)).double()
    levels = int(math.log2(length & -length))
    details, rest = transform(signal, min(levels, 3))
    energy = sum(float(band.square().sum()) for band in details) + float(rest.square().sum())
    assert energy == pytest.approx(float(signal.square().sum()), rel=1e-10)


@pytest.mark.parametrize("length", [2, 3, 5, 12, 33])
def test_each_level_is_the_literal_formula(length: int) -> None:
    signal = torch.randn(1, length, 2, generator=torch.Generator().manual_seed(length)).double()
    details, rest = transform(signal)
    line = [[float(signal[0, i, d]) for i in range(length)] for d in range(2)]
    for band in details:
        for d in range(2):
            if len(line[d]) % 2:
                line[d].append(line[d][-1])
            n = len(line[d])
            high = [
                sum((-1) ** k * DB6[11 - k] * line[d][(2 * i + k) % n] for k in range(12))
                for i in range(n // 2)
            ]
            line[d] = [
                sum(DB6[k] * line[d][(2 * i + k) % n] for k in range(12)) for i in range(n // 2)
            ]
            assert band[0, :, d].tolist() == pytest.approx(high, abs=1e-12)
    for d in range(2):
        assert rest[0, :, d].tolist() == pytest.approx(line[d], abs=1e-12)


def test_a_constant_has_no_details() -> None:
    details, _ = transform(torch.full((1, 32, 1), 3.0).double())
    assert max(float(band.abs().max()) for band in details) < 1e-10


def test_gradients_flow_through() -> None:
    signal = torch.randn(1, 6, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: transform(x)[0], (signal,))


@pytest.mark.parametrize("length", [1, 2, 3, 7, 32, 33])
def test_details_are_the_bands_of_the_transform(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal = torch.randn(2, length, 3, generator=torch.Generator().manual_seed(length))
    bands, _ = transform(signal)
    expected = torch.cat(bands, dim=1) if bands else signal[:, :0]
    torch.testing.assert_close(wavelet.details(signal), expected, atol=1e-5, rtol=1e-5)
    monkeypatch.setattr(wavelet, "MAX_MATRIX_TOKENS", 0)
    torch.testing.assert_close(wavelet.details(signal), expected)
