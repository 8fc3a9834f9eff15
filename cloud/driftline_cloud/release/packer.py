"""From a wanted change to bytes and back: one update for one (share, codec) setting.

What is returned has been decoded from the very bytes devices will get, by the code they run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from driftline_cloud.release.delta import delta, no_residual, residual_after
from driftline_cloud.release.rate import price_of, quantize
from driftline_cloud.release.selection import importance_of, select_share
from driftline_shared.bounds import TENSOR_DIGEST_BYTES
from driftline_shared.codec.entropy import pack_segments, shrink
from driftline_shared.codec.steps.body import encode_body, join_bodies
from driftline_shared.codec.table import EXACT, encode_exact, encode_layer
from driftline_shared.update import (
    STEPS_FORMAT,
    TENSORS_FORMAT,
    Adapter,
    TensorEntry,
    UpdateKind,
    adapter_digest,
)
from driftline_shared.update_apply import decode_steps, decode_update

STEPS = "steps"
"""The quantizer of `rate` and `codec.steps`: no tensor is named, zero is one of the numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PackSetting:
    """How small: `share` of the weights (0..1), `quantizer` by its codec name, values per scale.

    With `STEPS` as the quantizer the share is about how many weights change; `block` is not used.
    """

    share: float
    quantizer: str
    block: int = 512

    @property
    def label(self) -> str:
        return f"{100 * self.share:g}% {self.quantizer}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """An update without its place in a line: `adapter` is C_{v+1}, `residual` E_{v+1}. `format`:
    of its manifest.
    """

    label: str
    kind: UpdateKind
    tensors: tuple[TensorEntry, ...]
    blob: bytes
    raw_bytes: int
    base_digest: bytes
    target_digest: bytes
    adapter: Adapter
    residual: Adapter
    numbers: dict[str, float] = field(default_factory=dict)
    format: int = TENSORS_FORMAT


def pack(
    base: Adapter,
    target: Adapter,
    residual: Adapter,
    sqrt_fisher: Adapter,
    setting: PackSetting,
    *,
    feedback: float = 1.0,
) -> Packed:
    """The update from `base` (C_v) towards `target` (T) at `setting`."""
    wanted = delta(base, target, residual, feedback)
    if setting.quantizer == STEPS:
        weights = _weights(wanted, sqrt_fisher)
        changes = quantize(wanted, weights, price_of(wanted, weights, setting.share))
        body = encode_body(changes, {name: array.shape for name, array in wanted.items()})
        return pack_bodies(base, [body], setting.label, wanted)
    masks = select_share(importance_of(wanted, sqrt_fisher), setting.share)
    coded = {
        name: _encode(np.where(masks[name], wanted[name], np.float32(0.0)), weights, setting)
        for name, weights in _weights(wanted, sqrt_fisher).items()
        if masks[name].any()
    }
    return _finish(setting.label, UpdateKind.DELTA, coded, base, wanted)


def pack_exact(base: Adapter, target: Adapter) -> Packed:
    """Bit-exact replacement of the weights that changed; nothing is lost, nothing left over."""
    coded = {
        name: (EXACT, encode_exact(_flat(base[name]), _flat(target[name])))
        for name in sorted(base)
        if not np.array_equal(
            _flat(base[name]).view(np.uint32), _flat(target[name]).view(np.uint32)
        )
    }
    return _finish("exact", UpdateKind.DELTA, coded, base, None)


def pack_full(adapter: Adapter) -> Packed:
    """All tensors of `adapter`, bit for bit: applies to any version."""
    coded = {name: ("fp32", encode_layer("fp32", _flat(adapter[name]))) for name in sorted(adapter)}
    return _finish("full", UpdateKind.FULL, coded, adapter, None)


def pack_layers(base: Adapter, coded: Mapping[str, tuple[str, bytes]], label: str) -> Packed:
    """A delta of tensors that are coded already (codec, bytes), as merged updates are."""
    return _finish(label, UpdateKind.DELTA, dict(coded), base, None)


def pack_bodies(
    base: Adapter, bodies: Sequence[bytes], label: str, wanted: Adapter | None = None
) -> Packed:
    """The bodies of `codec.steps`, one behind the other; `wanted`: what they stand for."""
    blob = join_bodies(bodies)
    adapter = decode_steps(base, blob)
    return Packed(
        label=label,
        kind=UpdateKind.DELTA,
        tensors=(),
        blob=blob,
        raw_bytes=len(blob),
        base_digest=adapter_digest(base),
        target_digest=adapter_digest(adapter),
        adapter=adapter,
        residual=no_residual(base) if wanted is None else residual_after(wanted, base, adapter),
        format=STEPS_FORMAT,
    )


def _weights(wanted: Adapter, sqrt_fisher: Adapter) -> dict[str, NDArray[np.float32]]:
    """What an error costs at each weight: sqrt(F), a milder F, as one round's estimate is noisy."""
    return {
        name: np.abs(sqrt_fisher[name]) + np.float32(1e-12)
        if name in sqrt_fisher
        else np.ones_like(wanted[name])
        for name in sorted(wanted)
    }


def _encode(
    values: NDArray[np.float32], weights: NDArray[np.float32], setting: PackSetting
) -> tuple[str, bytes]:
    """(codec, bytes): positions apart, or zero as one of the levels, whichever gets smaller."""
    flat, costs = _flat(values), _flat(weights)
    name = f"{setting.quantizer}/{setting.block}"
    choices = [(name, encode_layer(name, flat, costs))]
    if np.count_nonzero(flat) < flat.size:
        sparse = f"sparse:{name}"
        choices.append((sparse, encode_layer(sparse, flat, costs)))
    return min(choices, key=lambda choice: min(len(choice[1]), len(shrink(choice[1]))))


def _finish(
    label: str,
    kind: UpdateKind,
    coded: dict[str, tuple[str, bytes]],
    base: Adapter,
    wanted: Adapter | None,
) -> Packed:
    if not coded:
        # An update that changes nothing still has to be one: the smallest tensor, untouched.
        name = min(base, key=lambda name: (base[name].size, name))
        zeros = np.zeros(base[name].size, dtype=np.float32)
        coded = {name: ("sparse:linear2", encode_layer("sparse:linear2", zeros))}
    # Like beside like: neighbours share a Huffman table.
    order = sorted(
        coded, key=lambda name: (coded[name][0], len(coded[name][1]) / base[name].size, name)
    )
    entries, offset = [], 0
    for name in order:
        codec, data = coded[name]
        entries.append(
            TensorEntry(
                name=name,
                shape=tuple(base[name].shape),
                codec=codec,
                offset=offset,
                length=len(data),
                digest=hashlib.sha256(data).digest()[:TENSOR_DIGEST_BYTES],
            )
        )
        offset += len(data)
    blob = pack_segments([coded[name][1] for name in order])
    adapter = decode_update(base, kind, entries, blob, offset)
    residual = no_residual(base) if wanted is None else residual_after(wanted, base, adapter)
    return Packed(
        label=label,
        kind=kind,
        tensors=tuple(entries),
        blob=blob,
        raw_bytes=offset,
        base_digest=adapter_digest(base) if kind is UpdateKind.DELTA else b"",
        target_digest=adapter_digest(adapter),
        adapter=adapter,
        residual=residual,
    )


def _flat(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, dtype=np.float32).reshape(-1)
