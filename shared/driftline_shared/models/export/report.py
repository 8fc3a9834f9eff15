"""What `driftline models export` says of an export, as lines and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from driftline_shared.models.export.pair_export import Exported

_MEGABYTE = 1_000_000


def report_dict(made: Exported, folder: Path) -> dict[str, Any]:
    """The same as `report_lines`, for programs; sizes in bytes."""
    export = made.export
    return {
        "folder": str(folder),
        "pair": export.pair,
        "base_model": export.base_model,
        "num_bytes": sum(entry.num_bytes for entry in export.files.values()),
        "logit_error": made.logit_error,
        "tower": made.tower,
        "num_checked": made.num_checked,
        "precisions": {
            name: {"num_bytes": precision.num_bytes, "agreement": made.agreement.get(name)}
            for name, precision in export.precisions.items()
        },
    }


def report_lines(made: Exported, folder: Path) -> list[str]:
    """A line for each precision, and what comes next."""
    export = made.export
    total = sum(entry.num_bytes for entry in export.files.values())
    lines = [
        f"exported {export.pair} to {folder}: {total / _MEGABYTE:.1f} MB, base model "
        f"{export.base_model[:16]}…",
        f"fp32 differs from the student by {made.logit_error:.1e} of the largest logit",
        f"tower of int8 and int4: {made.tower}",
    ]
    for name, precision in export.precisions.items():
        agreed = made.agreement.get(name)
        share = (
            f"{agreed:.1%} of {made.num_checked} probe answers are the student's"
            if agreed is not None
            else "no probe questions to compare answers on"
        )
        lines.append(f"  {name}: {precision.num_bytes / _MEGABYTE:.1f} MB of graphs, {share}")
    return [
        *lines,
        f"next: on the device, `driftline device prepare {folder}` finds the fastest there, and "
        f"pair = {json.dumps(str(folder))} in its settings runs it",
    ]
