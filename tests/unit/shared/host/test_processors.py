"""Processors that this process may use."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from driftline_shared.host.processors import busy_share, num_processors, processor_name


def test_affinity_counts_not_what_the_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {3, 5}, raising=False)
    assert num_processors(tmp_path) == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert num_processors(tmp_path) == 64


V1 = "4:cpu,cpuacct:/docker/ab\n1:name=systemd:/x\n"


@pytest.mark.parametrize(
    ("files", "num"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "250000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "50000 100000\n"}, 1),
        # The group around it is the tighter one.
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/a/cpu.max": "300000 100000\n",
            },
            3,
        ),
        # The path is the host's; the container's own group is the top.
        ({"proc/self/cgroup": "0::/x/y\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/docker/ab/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu/docker/ab/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "100000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "50000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": V1,
                "sys/fs/cgroup/cpu/docker/ab/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/docker/ab/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "many 0\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 0\n"}, 8),
    ],
)
def test_the_least_of_affinity_and_quotas(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], num: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert num_processors(tmp_path) == num


def test_the_work_of_others_is_what_was_not_idle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert busy_share(0.0, tmp_path) is None
    stat = tmp_path / "proc" / "stat"
    stat.parent.mkdir()
    stat.write_text("cpu 100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3 4 5\n")

    def works(_seconds: float) -> None:
        stat.write_text("cpu 120 0 110 760 110 0 0 0 0 0\n")

    monkeypatch.setattr(time, "sleep", works)
    assert busy_share(0.5, tmp_path) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC\n", "AMD EPYC"),
        ("CPU implementer\t: 0x41\nCPU part\t: 0xd0b\n", "0x41 0xd0b"),
        ("Hardware : BCM2835\nModel : Raspberry Pi 4\n", "Raspberry Pi 4 BCM2835"),
        ("", ""),
    ],
)
def test_the_processor_is_named_as_far_as_the_system_says(
    tmp_path: Path, text: str, name: str
) -> None:
    assert processor_name(tmp_path) == ""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "cpuinfo").write_text(text)
    assert processor_name(tmp_path) == name
