"""One update k -> v for a device that was away: as exact as the chain it stands for.

Three forms give the same bits: the chain's layers one behind the other in each tensor, an exact
replacement of every weight that changed, a full adapter. The smallest is offered. The full one is a
policy, never silent: its reason is logged.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from driftline_cloud.release.packer import Packed, pack_exact, pack_full, pack_layers
from driftline_shared.codec.entropy import unpack_segments
from driftline_shared.codec.table import MAX_NAME_CHARS, join_layers
from driftline_shared.update import Adapter, Manifest, UpdateKind

_log = structlog.get_logger(__name__)


def pack_direct(
    base: Adapter, target: Adapter, steps: Sequence[tuple[Manifest, bytes]], *, line: str
) -> Packed:
    """The smallest update from `base` (C_k) to `target` (C_v). `steps`: manifest and blob of each
    version from k + 1 to v."""
    forms = [pack_exact(base, target), pack_full(target)]
    merged = merge(base, steps)
    if merged is not None:
        forms.insert(0, merged)
    smallest = min(forms, key=lambda form: len(form.blob))
    if smallest.kind is UpdateKind.FULL:
        _log.warning(
            "update.full_chosen",
            line=line,
            reason="smaller_than_any_delta",
            num_steps=len(steps),
            blob_bytes=len(smallest.blob),
        )
    return smallest


def merge(base: Adapter, steps: Sequence[tuple[Manifest, bytes]]) -> Packed | None:
    """The chain in one update; None if a step is no delta or the layers are too many to name."""
    layers: dict[str, list[tuple[str, bytes]]] = {}
    for manifest, blob in steps:
        if manifest.kind is not UpdateKind.DELTA:
            return None
        raw = unpack_segments(blob, manifest.raw_bytes)
        for entry in manifest.tensors:
            data = raw[entry.offset : entry.offset + entry.length]
            layers.setdefault(entry.name, []).append((entry.codec, data))
    coded = {name: join_layers(parts) for name, parts in layers.items()}
    if any(len(codec) > MAX_NAME_CHARS for codec, _ in coded.values()):
        return None
    return pack_layers(base, coded, f"{len(steps)} steps")
