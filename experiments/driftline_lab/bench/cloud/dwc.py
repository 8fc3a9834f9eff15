"""What coding costs: every update of a finished demo beside its uncompressed candidate, on test
sets.

Reads the state that `driftline demo --keep-state` leaves: candidates of the rounds, released
versions, test sets.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from driftline_cloud.blobs.folder import FolderStore
from driftline_cloud.release.manifests import update_bytes
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.workers.artifacts import load_distilled
from driftline_device.runtime.factory import make_runtime
from driftline_device.runtime.runtime import Runtime
from driftline_lab.demo.evaluate import TestSet, accuracy, device_answers, read_test_set
from driftline_shared.errors import DataError
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.update import Adapter, adapter_fp16_bytes


def run_dwc(states: Sequence[Path], pair_name: str = "tiny") -> dict[str, Any]:
    """A row an update: bytes, mean accuracy over drifted domains before, of T, of C_{v+1}, share
    kept.

    `kept` of all: the sum of what updates gained over the sum of what candidates gained.
    """
    pair = load_pair(pair_name)
    # The number of threads changes the time and not the answers.
    runtime = make_runtime(pair, threads=0)
    rows = [row for state in states for row in _rows(pair, runtime, state)]
    if not rows:
        raise DataError(f"no released update below {[str(state) for state in states]}")
    gained = sum(row["released"] - row["before"] for row in rows)
    possible = sum(row["candidate"] - row["before"] for row in rows)
    return {
        "pair": pair_name,
        "num_updates": len(rows),
        "kept": gained / possible if possible else None,
        "update_bytes": statistics.mean(row["update_bytes"] for row in rows),
        "of_fp16_adapter": statistics.mean(row["of_fp16_adapter"] for row in rows),
        "rows": rows,
    }


def _rows(pair: Pair, runtime: Runtime, state: Path) -> list[dict[str, Any]]:
    test = read_test_set("drifted", state / "data" / "test.jsonl")
    registry = ReleaseRegistry(state / "cloud" / "releases")
    line = f"{pair.name}-{pair.base_model[:12]}"
    rows = []
    for version in range(1, registry.newest_version(line) + 1):
        manifest = registry.manifest(line, version)
        found = load_distilled(FolderStore(state / "cloud" / "rounds" / manifest.round_id))
        if found is None:
            continue
        base, released = registry.canonical(line, version - 1), registry.canonical(line, version)
        num_bytes = update_bytes(manifest)
        rows.append(
            {
                "version": version,
                "update_bytes": num_bytes,
                "of_fp16_adapter": num_bytes / adapter_fp16_bytes(released),
                "before": _accuracy(runtime, base, test),
                "candidate": _accuracy(runtime, found.adapter, test),
                "released": _accuracy(runtime, released, test),
            }
        )
    return rows


def _accuracy(runtime: Runtime, adapter: Adapter, test: TestSet) -> float:
    runtime.swap(adapter, runtime.version + 1)
    return accuracy(test, device_answers(runtime, [test], lambda _: None)[test.domain])
