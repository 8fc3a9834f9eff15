"""Processors that this process may use."""

from __future__ import annotations

import os

import pytest

from driftline_shared.host.processors import num_processors


def test_affinity_counts_not_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 5}, raising=False)
    assert num_processors() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert num_processors() == 64
