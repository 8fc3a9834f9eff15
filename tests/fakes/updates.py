"""Real updates, coded by the real codec, and a link that offers them without a network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from driftline_device.updates.journal import Journal
from driftline_device.updates.slots import Slots
from driftline_shared.codec.entropy import pack_segments
from driftline_shared.codec.table import encode_exact, encode_layer
from driftline_shared.errors import LinkError
from driftline_shared.status import UpdateReport
from driftline_shared.update import Adapter, Manifest, TensorEntry, UpdateKind, adapter_digest
from tests.fakes.runtime import BASE_MODEL, PAIR, SPACE, base_adapter


def make_update(
    target: Adapter,
    version: int,
    *,
    base: Adapter | None = None,
    base_version: int = 0,
    kind: UpdateKind = UpdateKind.DELTA,
    **changes: Any,
) -> tuple[Manifest, bytes]:
    """The update from `base` (version 0 if None) to `target`; `changes` spoil the manifest."""
    base = base if base is not None else base_adapter()
    entries, parts, offset = [], [], 0
    for name in sorted(target):
        values = np.ascontiguousarray(target[name], dtype=np.float32).reshape(-1)
        if kind is UpdateKind.DELTA:
            codec, data = "exact", encode_exact(base[name].reshape(-1), values)
        else:
            codec, data = "fp32", encode_layer("fp32", values)
        entries.append(
            TensorEntry(
                name=name,
                shape=tuple(target[name].shape),
                codec=codec,
                offset=offset,
                length=len(data),
                digest=hashlib.sha256(data).digest()[:8],
            )
        )
        parts.append(data)
        offset += len(data)
    blob = pack_segments(parts)
    manifest = Manifest(
        pair=PAIR,
        base_model=BASE_MODEL,
        token_space=SPACE,
        base_version=base_version,
        target_version=version,
        base_digest=adapter_digest(base),
        target_digest=adapter_digest(target),
        kind=kind,
        tensors=tuple(entries),
        blob_digest=hashlib.sha256(blob).digest(),
        blob_bytes=len(blob),
        raw_bytes=offset,
        created_unix_s=1_700_000_000,
    )
    return replace(manifest, **changes), blob


@contextmanager
def stages_followed(follow: Callable[[str], None]) -> Iterator[None]:
    """Calls `follow` with the name of each stage of an update that the disk holds just now.

    A stage is a phase that was saved, or `remembered` (as failed), `pointed` and `fell_back` (the
    pointer to the slot in force).
    """
    patch = pytest.MonkeyPatch()

    def after(owner: type, name: str, stage_of: Callable[..., str]) -> None:
        real = getattr(owner, name)

        def call(self: Any, *args: Any, **options: Any) -> Any:
            result = real(self, *args, **options)
            follow(stage_of(*args))
            return result

        patch.setattr(owner, name, call)

    after(Journal, "save", lambda state: state.phase)
    after(Journal, "remember", lambda *_: "remembered")
    after(Slots, "activate", lambda *_: "pointed")
    after(Slots, "fall_back", lambda *_: "fell_back")
    try:
        yield
    finally:
        patch.undo()


class FakeUpdateLink:
    """Offers one update after the other, as a cloud would: the newest that has not failed.

    `offers`: (manifest, blob). `fetches`: target versions asked for. `broken_fetches`: so many
    fetches raise LinkError. `stubborn`: offers what failed or is old, too.
    """

    def __init__(self, *offers: tuple[Manifest, bytes], stubborn: bool = False) -> None:
        self.offers = list(offers)
        self.stubborn = stubborn
        self.fetches: list[int] = []
        self.reports: list[UpdateReport] = []
        self.broken_fetches = 0
        self.broken_reports = 0
        self.asked: list[tuple[int, tuple[int, ...]]] = []

    def check(self, *, adapter_version: int, failed_versions: Sequence[int]) -> Manifest | None:
        self.asked.append((adapter_version, tuple(failed_versions)))
        for manifest, _ in reversed(self.offers):
            version = manifest.target_version
            if self.stubborn or (version > adapter_version and version not in failed_versions):
                return manifest
        return None

    def fetch(self, manifest: Manifest) -> bytes:
        self.fetches.append(manifest.target_version)
        if self.broken_fetches:
            self.broken_fetches -= 1
            raise LinkError("the line broke")
        return next(blob for each, blob in self.offers if each == manifest)

    def report(self, report: UpdateReport) -> None:
        if self.broken_reports:
            self.broken_reports -= 1
            raise LinkError("the line broke")
        self.reports.append(report)
