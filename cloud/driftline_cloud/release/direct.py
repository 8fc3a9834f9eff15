"""One update k -> v for a device that was away: as exact as the chain it stands for.

These forms give the same bits: the bodies of the chain's steps one behind the other; its layers one
behind the other in each tensor; an exact replacement of every weight that changed; a full adapter.
The smallest that the device can read is offered. The full one is a policy, never silent: its reason
is logged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import structlog

from driftline_cloud.release.packer import (
    Packed,
    pack_bodies,
    pack_exact,
    pack_full,
    pack_layers,
)
from driftline_shared.codec.entropy import unpack_segments
from driftline_shared.codec.steps.body import MAX_BODIES, decode_body, split_bodies
from driftline_shared.codec.steps.named import as_layer
from driftline_shared.codec.table import MAX_NAME_CHARS, join_layers
from driftline_shared.update import MANIFEST_FORMAT, STEPS_FORMAT, Adapter, Manifest, UpdateKind

_log = structlog.get_logger(__name__)


def pack_direct(
    base: Adapter,
    target: Adapter,
    steps: Sequence[tuple[Manifest, bytes]],
    *,
    line: str,
    manifest_format: int = MANIFEST_FORMAT,
) -> Packed:
    """The smallest update from `base` (C_k) to `target` (C_v). `steps`: manifest and blob of each
    version from k + 1 to v. `manifest_format`: the highest that the device reads."""
    forms = [pack_exact(base, target), pack_full(target)]
    in_a_row = merge_bodies(base, steps) if manifest_format >= STEPS_FORMAT else None
    merged = merge(base, steps) if in_a_row is None else in_a_row
    if merged is not None and merged.target_digest == forms[0].target_digest:
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


def merge_bodies(base: Adapter, steps: Sequence[tuple[Manifest, bytes]]) -> Packed | None:
    """The chain as bodies in a row; None if a step is of another form or there are too many."""
    if any(manifest.format != STEPS_FORMAT for manifest, _ in steps):
        return None
    bodies = [body for _, blob in steps for body in split_bodies(blob)]
    return pack_bodies(base, bodies, f"{len(steps)} steps") if len(bodies) <= MAX_BODIES else None


def merge(base: Adapter, steps: Sequence[tuple[Manifest, bytes]]) -> Packed | None:
    """The chain as named layers; None if a step is no delta or they are too many to name."""
    layers: dict[str, list[tuple[str, bytes]]] = {}
    for manifest, blob in steps:
        if manifest.kind is not UpdateKind.DELTA:
            return None
        for name, layer in _layers_of(base, manifest, blob):
            layers.setdefault(name, []).append(layer)
    coded = {name: join_layers(parts) for name, parts in layers.items()}
    if any(len(codec) > MAX_NAME_CHARS for codec, _ in coded.values()):
        return None
    return pack_layers(base, coded, f"{len(steps)} steps")


def _layers_of(
    base: Adapter, manifest: Manifest, blob: bytes
) -> Iterator[tuple[str, tuple[str, bytes]]]:
    """(tensor, (codec, bytes)) of one step, whatever its form."""
    if manifest.format == STEPS_FORMAT:
        shapes = {name: array.shape for name, array in base.items()}
        for body in split_bodies(blob):
            for name, change in decode_body(body, shapes).items():
                yield name, as_layer(change)
        return
    raw = unpack_segments(blob, manifest.raw_bytes)
    for entry in manifest.tensors:
        yield entry.name, (entry.codec, raw[entry.offset : entry.offset + entry.length])
