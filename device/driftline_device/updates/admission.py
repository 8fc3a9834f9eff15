"""Whether a manifest may be fetched at all: a pure check before any byte is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from driftline_shared import bounds
from driftline_shared.errors import Reason, UpdateError
from driftline_shared.program.section import Section, setting
from driftline_shared.update import Manifest, UpdateKind

FORGIVEN = frozenset(
    {
        Reason.VERSION_NOT_NEWER,
        Reason.UPDATE_EXPIRED,
        Reason.BASE_MISMATCH,
        Reason.BASE_MODEL_UNKNOWN,
        Reason.TOKEN_SPACE_UNKNOWN,
        Reason.MARKS_UNREADABLE,
        Reason.NOT_SIGNED,
        Reason.SIGNATURE_INVALID,
        Reason.METADATA_EXPIRED,
        Reason.METADATA_OLDER,
        Reason.METADATA_INVALID,
    }
)
"""Refusals of a manifest that say nothing about its version: another manifest, or another time, may
bring it, so the version is not remembered as failed. Such a manifest is refused each time, and
never fetched.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Holdings:
    """What this device runs: an update must fit all of it. `digest`: of the adapter in force."""

    pair: str
    base_model: str
    token_space: str
    version: int
    digest: bytes


class SizeLimits(Section):
    """Most bytes of an update, as fetched and once decompressed."""

    max_blob_bytes: int = setting(64 << 20, "of an update as fetched", ge=0)
    max_raw_bytes: int = setting(256 << 20, "of an update once decompressed", ge=0)


def check_manifest(
    manifest: Manifest, holdings: Holdings, *, limits: SizeLimits, now_unix_s: float
) -> None:
    """Raise UpdateError with the reason if `manifest` is not acceptable here and now."""
    _check_line(manifest, holdings)
    if manifest.target_version <= holdings.version:
        raise UpdateError(
            f"version {manifest.target_version} is not newer than {holdings.version}",
            reason=Reason.VERSION_NOT_NEWER,
        )
    bounds.check_manifest(manifest)
    if manifest.expires_unix_s and now_unix_s >= manifest.expires_unix_s:
        raise UpdateError(
            f"version {manifest.target_version} expired at {manifest.expires_unix_s}",
            reason=Reason.UPDATE_EXPIRED,
        )
    _check_sizes(manifest, limits)
    if manifest.kind is UpdateKind.DELTA:
        _check_base(manifest, holdings)


def _check_line(manifest: Manifest, holdings: Holdings) -> None:
    if manifest.token_space != holdings.token_space:
        raise UpdateError(
            "the update is for another token space", reason=Reason.TOKEN_SPACE_UNKNOWN
        )
    if manifest.pair != holdings.pair or manifest.base_model != holdings.base_model:
        raise UpdateError(
            f"the update is for pair {manifest.pair!r} on base {manifest.base_model[:12]!r}, this"
            f" device runs {holdings.pair!r} on {holdings.base_model[:12]!r}",
            reason=Reason.BASE_MODEL_UNKNOWN,
        )


def _check_sizes(manifest: Manifest, limits: SizeLimits) -> None:
    sizes = {
        "bytes to fetch": (manifest.blob_bytes, limits.max_blob_bytes),
        "raw bytes": (manifest.raw_bytes, limits.max_raw_bytes),
    }
    for what, (size, most) in sizes.items():
        if size > most:
            raise UpdateError(
                f"the update has {size} {what}, this device takes at most {most}",
                reason=Reason.MANIFEST_INVALID,
            )


def _check_base(manifest: Manifest, holdings: Holdings) -> None:
    if manifest.base_version != holdings.version or manifest.base_digest != holdings.digest:
        raise UpdateError(
            f"the update starts from version {manifest.base_version}, this device holds"
            f" {holdings.version}",
            reason=Reason.BASE_MISMATCH,
        )
