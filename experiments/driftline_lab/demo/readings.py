"""What the two programs say of themselves, as the demo's screen and report want it."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open

from driftline_lab.demo.evaluate import jpeg90_bytes
from driftline_lab.demo.options import DemoData
from driftline_lab.demo.report import Downlink, Uplink
from driftline_lab.demo.screen import View
from driftline_lab.runs.run import RunUpdate
from driftline_shared.pair.pair import Pair
from driftline_shared.status import CloudStatus
from driftline_shared.update import Adapter, adapter_fp16_bytes


def view_of(
    device: dict[str, Any], cloud: CloudStatus | None, num_rows: int, curve: list[float]
) -> View:
    """One refresh; appends to `curve` when there are new answers."""
    accuracy = device.get("accuracy")
    if isinstance(accuracy, float):
        curve.append(accuracy)
    lines = cloud.lines if cloud is not None else ()
    newest = next((each.round for each in lines if each.round is not None), None)
    update = device.get("update") or {}
    return View(
        segment=str(device.get("domain") or device.get("segment") or device.get("activity", "-")),
        answered=int(device.get("num_answered", 0)),
        total=num_rows,
        accuracy=accuracy,
        uncertainty=device.get("uncertainty"),
        seen=int(device.get("num_seen", 0)),
        sent=int(device.get("num_sent", 0)),
        bytes_up=int(device.get("bytes_up", 0)),
        bytes_down=int(device.get("bytes_down", 0)),
        spooled=int((device.get("spool") or {}).get("num_samples", 0)),
        version=int(device.get("version", 0)),
        last_update=str(update.get("outcome", "-")),
        round_state=newest.state if newest is not None else "-",
        round_progress=newest.progress if newest is not None else 0.0,
        num_rounds=sum(each.num_rounds for each in lines),
        curve=tuple(curve),
    )


def uplink_of(device: dict[str, Any], pair: Pair, data: DemoData, sample_bytes: int) -> Uplink:
    """What went up. `sample_bytes`: of all samples; what the stream adds to them (some bytes a
    batch) depends on when they left. fp16 tokens: all V tokens of an image, uncoded."""
    space = pair.token_space
    sent = int(device["num_sent"])
    return Uplink(
        seen=int(device["num_seen"]),
        sent=sent,
        bytes_per_sample=sample_bytes / max(1, sent),
        jpeg90_bytes_per_sample=jpeg90_bytes(data.tests[-1].rows),
        fp16_tokens_bytes_per_sample=2.0 * space.grid.num_tokens * space.width,
    )


def downlink_of(
    device: dict[str, Any], pair: Pair, adapter: Adapter | None, updates_made: Sequence[RunUpdate]
) -> Downlink:
    """What came down; the pause is the median over updates.

    Bytes are those of `updates_made`, as in the run folder: what messages add to an update depends
    on how often it was asked for.
    """
    pauses = [float(pause) for pause in device.get("apply_pause_ms", [])]
    updates = int(device.get("num_updates", 0))
    sizes = [each.bytes for each in updates_made]
    return Downlink(
        updates=updates,
        bytes_per_update=statistics.fmean(sizes) if updates and sizes else 0.0,
        fp16_adapter_bytes=adapter_fp16_bytes(adapter) if adapter is not None else 0,
        fp16_model_bytes=_model_bytes(pair),
        apply_pause_ms=statistics.median(pauses) if pauses else 0.0,
    )


def _model_bytes(pair: Pair) -> int:
    """Bytes of the student in fp16, tower included: what shipping a new model would cost."""
    count = 0
    for path in pair.student_dir.glob("*.safetensors"):
        with safe_open(path, framework="numpy") as file:
            count += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
    return 2 * count


def read_status(folder: Path) -> dict[str, Any]:
    """The device's status file; empty before it is written."""
    path = folder / "status.json"
    if not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
