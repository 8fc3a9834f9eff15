"""Memory with and without control groups, of both versions, below a folder that stands for /."""

from __future__ import annotations

from pathlib import Path

import pytest

from driftline_shared.host.memory import available_bytes, total_bytes

MIB = 1 << 20
MEMINFO = {"proc/meminfo": "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\nHugePages_Total: 0\n"}
V2 = {"proc/self/cgroup": "0::/system.slice/driftline.service\n"}
UNIT = "sys/fs/cgroup/system.slice/driftline.service"
V1 = {"proc/self/cgroup": "5:cpu,cpuacct:/docker/ab\n3:memory:/docker/ab\n1:name=systemd:/x\n"}
V1_TOP = "sys/fs/cgroup/memory"


def group(folder: str, limit: object, used: int, inactive: int = 0) -> dict[str, str]:
    """A group of version 2."""
    return {
        f"{folder}/memory.max": f"{limit}\n",
        f"{folder}/memory.current": f"{used}\n",
        f"{folder}/memory.stat": f"anon 5\ninactive_file {inactive}\n",
    }


def group_v1(folder: str, limit: int, used: int, inactive: int = 0) -> dict[str, str]:
    return {
        f"{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"{folder}/memory.usage_in_bytes": f"{used}\n",
        f"{folder}/memory.stat": f"inactive_file 1\ntotal_inactive_file {inactive}\n",
    }


@pytest.mark.parametrize(
    ("files", "available", "total"),
    [
        ({}, None, None),
        (MEMINFO, 4096, 8192),
        ({"proc/meminfo": "MemAvailable: many kB\n"}, None, None),
        (MEMINFO | V2 | group(UNIT, "max", 9 * MIB), 4096, 8192),
        (MEMINFO | V2 | group(UNIT, 512 * MIB, 200 * MIB), 312, 512),
        (MEMINFO | V2 | group(UNIT, 512 * MIB, 500 * MIB, 100 * MIB), 112, 512),
        (MEMINFO | V2 | group(UNIT, 512 * MIB, 600 * MIB), 0, 512),
        # The slice around it is the tighter one.
        (
            MEMINFO
            | V2
            | group(UNIT, 512 * MIB, 100 * MIB)
            | group("sys/fs/cgroup/system.slice", 256 * MIB, 128 * MIB),
            128,
            256,
        ),
        # A container with its own namespace sees itself as the root.
        (
            MEMINFO | {"proc/self/cgroup": "0::/\n"} | group("sys/fs/cgroup", 64 * MIB, 24 * MIB),
            40,
            64,
        ),
        (V2 | group(UNIT, 64 * MIB, 24 * MIB), 40, 64),
        (MEMINFO | V1 | group_v1(f"{V1_TOP}/docker/ab", 300 * MIB, 99 * MIB), 201, 300),
        # The path is the host's; the container's own group is mounted at the top.
        (MEMINFO | V1 | group_v1(V1_TOP, 300 * MIB, 200 * MIB, 50 * MIB), 150, 300),
        (MEMINFO | V1 | group_v1(V1_TOP, (1 << 63) - 4096, 9 * MIB), 4096, 8192),
    ],
)
def test_the_least_of_machine_and_groups(
    tmp_path: Path, files: dict[str, str], available: int | None, total: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = (available_bytes(tmp_path), total_bytes(tmp_path))
    assert found == tuple(None if each is None else each * MIB for each in (available, total))


def test_memory_is_known_on_this_machine() -> None:
    available, total = available_bytes(), total_bytes()
    assert available is not None and total is not None
    assert 0 < available <= total
