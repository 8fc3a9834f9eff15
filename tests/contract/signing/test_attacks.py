"""TUF's attacks on the updates of a device, each by who has what it needs for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile

from driftline_cloud.signing.ceremony import replace_root_key, rotate, signers_in
from driftline_cloud.signing.files import SigningFiles
from driftline_cloud.signing.keys import read_signer
from driftline_device.signatures.trusted import TrustedUpdates
from driftline_shared.codec.entropy import shrink
from driftline_shared.errors import Reason, UpdateError
from driftline_shared.signing.bundle import (
    MAX_METADATA_BYTES,
    MAX_ROOTS,
    MAX_SIGNED_BYTES,
    SignedBundle,
    SignedState,
)
from driftline_shared.update import Manifest, UpdateKind
from driftline_shared.wire import pack_signed, unpack_signed
from tests.fakes.adapters import LINE
from tests.fakes.signing import (
    DAY_S,
    SigningCloud,
    ask,
    bring,
    changed,
    new_device,
)


@pytest.fixture
def cloud(tmp_path: Path) -> SigningCloud:
    made = SigningCloud(state=tmp_path / "cloud")
    made.publish()
    return made


@pytest.fixture
def device(cloud: SigningCloud, tmp_path: Path) -> Iterator[TrustedUpdates]:
    made = new_device(cloud, tmp_path / "device")
    ask(cloud, made)
    made.check(cloud.registry.manifest(LINE.id, 1))
    yield made


@pytest.fixture
def fresh(cloud: SigningCloud, tmp_path: Path) -> TrustedUpdates:
    """A device that has the root alone."""
    return new_device(cloud, tmp_path / "fresh")


def refused(device: TrustedUpdates, manifest: Manifest) -> Reason:
    with pytest.raises(UpdateError) as caught:
        device.check(manifest)
    return caught.value.reason


def test_what_the_cloud_signed_is_believed_and_nothing_else_of_it(
    cloud: SigningCloud, device: TrustedUpdates
) -> None:
    manifest = cloud.publish(head=b"a head")
    assert refused(device, manifest) is Reason.NOT_SIGNED  # not heard of yet
    ask(cloud, device)
    device.check(manifest)
    for false in (
        {"target_digest": b"x" * 32},
        {"blob_digest": b"x" * 32},
        {"blob_bytes": 9},
        {"ik_head": b"another head"},
        {"base_model": "ef" * 32},
        {"token_space": "ef" * 32},
        {"expires_unix_s": 2_000_000_000},
        {"target_version": 3},
        {"target_version": 1},
    ):
        assert refused(device, replace(manifest, **false)) is Reason.NOT_SIGNED, false
    device.check(manifest)


def test_a_shortcut_over_versions_is_bound_by_what_it_gives(
    cloud: SigningCloud, device: TrustedUpdates
) -> None:
    cloud.publish()
    newest = cloud.publish()
    ask(cloud, device)
    direct = cloud.registry.offer(LINE.id, 1)
    whole = cloud.registry.offer(LINE.id, 0, full_reason="test")
    assert direct is not None and whole is not None
    assert direct.blob_digest != newest.blob_digest and whole.kind is UpdateKind.FULL
    device.check(direct)
    device.check(whole)
    assert refused(device, replace(direct, target_digest=b"x" * 32)) is Reason.NOT_SIGNED


def test_rollback_of_metadata(cloud: SigningCloud, device: TrustedUpdates) -> None:
    old = cloud.bundle()
    manifest = cloud.publish()
    ask(cloud, device)
    bring(device, old)
    assert refused(device, manifest) is Reason.METADATA_OLDER
    ask(cloud, device)
    device.check(manifest)


def test_rollback_to_an_earlier_version_that_is_still_listed(
    cloud: SigningCloud, device: TrustedUpdates
) -> None:
    second = cloud.publish()
    ask(cloud, device)
    device.check(second)
    assert refused(device, cloud.registry.manifest(LINE.id, 1)) is Reason.VERSION_NOT_NEWER
    device.check(second)  # what was cut short begins again


def test_freeze_stops_updates_and_says_so(cloud: SigningCloud, tmp_path: Path) -> None:
    cloud.ahead_s = -2 * DAY_S
    cloud.signing.step()
    stale = cloud.copy(tmp_path / "stale")
    stale.publish()
    device = new_device(stale, tmp_path / "device")
    bring(device, stale.bundle())
    assert refused(device, stale.registry.manifest(LINE.id, 1)) is Reason.METADATA_EXPIRED
    assert device.status.reason == "metadata_expired"
    cloud.ahead_s = 0.0
    cloud.start()
    ask(cloud, device)
    device.check(cloud.registry.manifest(LINE.id, 1))
    assert device.status.reason == ""


def test_mix_and_match_of_two_moments(cloud: SigningCloud, device: TrustedUpdates) -> None:
    first = cloud.bundle()
    manifest = cloud.publish()
    second = cloud.bundle()
    for mixed in (
        replace(second, snapshot=first.snapshot),
        replace(second, line_targets=first.line_targets),
        replace(first, timestamp=second.timestamp),
    ):
        bring(device, mixed)
        assert refused(device, manifest) in (Reason.METADATA_OLDER, Reason.METADATA_INVALID)
    bring(device, second)
    device.check(manifest)


def test_another_lines_metadata(cloud: SigningCloud, device: TrustedUpdates) -> None:
    cloud.registry.ensure_fork(replace(LINE, group="g"), LINE.id, 1)
    other = replace(LINE, group="g").id
    cloud.signing.ensure(other, newest=1, settled=1)
    manifest = cloud.publish()
    theirs = cloud.bundle(line=other).line_targets
    bring(device, replace(cloud.bundle(), line_targets=theirs))
    assert refused(device, manifest) is Reason.SIGNATURE_INVALID
    ask(cloud, device)
    device.check(manifest)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "line_targets"])
@pytest.mark.parametrize("forge", ["its own key", "no new signature"])
def test_wrong_key(cloud: SigningCloud, fresh: TrustedUpdates, role: str, forge: str) -> None:
    manifest = cloud.publish()
    bundle = cloud.bundle()
    signers = [CryptoSigner.generate_ed25519()] if forge == "its own key" else []
    data: bytes = getattr(bundle, role)
    version = Metadata.from_bytes(data).signed.version
    forged = changed(data, *signers, version=version if signers else version + 1)
    bring(fresh, replace(bundle, **{role: forged}))
    assert refused(fresh, manifest) is Reason.SIGNATURE_INVALID
    ask(cloud, fresh)
    fresh.check(manifest)


def test_threshold_not_met_by_a_new_root(cloud: SigningCloud, device: TrustedUpdates) -> None:
    files = SigningFiles(cloud.state)
    evil = CryptoSigner.generate_ed25519()
    root = Metadata.from_bytes(cloud.signing.root)
    root.signed.version = 2
    root.signed.revoke_key(root.signed.roles["timestamp"].keyids[0], "timestamp")
    root.signed.add_key(evil.public_key, "timestamp")
    for signers in ([read_signer(files.root_key(1))], [evil, evil], []):
        root.signatures.clear()
        for signer in signers:
            root.sign(signer, append=True)
        bring(device, replace(cloud.bundle(), roots=(root.to_bytes(),)))
        assert device.status.reason == "signature_invalid"
        assert device.status.root == 1
    ask(cloud, device)
    device.check(cloud.registry.manifest(LINE.id, 1))


def test_roots_come_one_after_the_other(cloud: SigningCloud, device: TrustedUpdates) -> None:
    for _ in range(2):
        rotate(
            cloud.state, SigningFiles(cloud.state).offline, now_s=cloud.now_s(), timestamp_days=1
        )
    cloud.signing.step()
    cloud.sign()
    skipped = cloud.bundle(SignedState(root=2))
    bring(device, skipped)
    assert device.status.root == 1 and device.status.reason
    ask(cloud, device)
    assert device.status.root == 3 and not device.status.reason


def test_more_roots_than_one_reply_brings(cloud: SigningCloud, device: TrustedUpdates) -> None:
    for _ in range(MAX_ROOTS + 3):
        cloud.rotate()
    ask(cloud, device)
    assert device.status.root == 1 + MAX_ROOTS
    ask(cloud, device)
    assert device.status.root == 4 + MAX_ROOTS and not device.status.reason
    device.check(cloud.registry.manifest(LINE.id, 1))


def test_fast_forward_is_undone_by_new_keys(
    cloud: SigningCloud, device: TrustedUpdates, tmp_path: Path
) -> None:
    thief = cloud.copy(tmp_path / "thief")
    bundle, far = thief.bundle(), 1 << 60
    snapshot = Metadata.from_bytes(bundle.snapshot).signed
    meta = {name: MetaFile(version=far) for name in snapshot.meta}
    bring(
        device,
        replace(
            bundle,
            timestamp=changed(
                bundle.timestamp,
                thief.signer("timestamp"),
                version=far,
                snapshot_meta=MetaFile(version=far),
            ),
            snapshot=changed(bundle.snapshot, thief.signer("snapshot"), version=far, meta=meta),
            targets=changed(bundle.targets, thief.signer("targets"), version=far),
            line_targets=changed(
                bundle.line_targets,
                read_signer(SigningFiles(thief.state).line_key(LINE.id)),
                version=far,
            ),
        ),
    )
    assert device.held().line == far  # the thief had every key
    ask(cloud, device)
    assert device.status.reason == "metadata_older"
    cloud.rotate()
    manifest = cloud.publish()
    ask(cloud, device)
    device.check(manifest)
    assert device.held().line < far


def test_a_stolen_key_signs_nothing_after_it_was_replaced(
    cloud: SigningCloud, device: TrustedUpdates, tmp_path: Path
) -> None:
    thief = cloud.copy(tmp_path / "thief")
    cloud.rotate()
    ask(cloud, device)
    stolen = thief.publish()
    bring(device, replace(thief.bundle(), roots=()))
    assert refused(device, stolen) in (Reason.SIGNATURE_INVALID, Reason.METADATA_OLDER)
    ask(cloud, device)
    assert refused(device, stolen) is Reason.NOT_SIGNED
    device.check(cloud.registry.manifest(LINE.id, 1))


def test_a_root_key_is_replaced_and_the_lost_one_signs_no_root(
    cloud: SigningCloud, device: TrustedUpdates, tmp_path: Path
) -> None:
    files, found = SigningFiles(cloud.state), tmp_path / "found"
    found.mkdir()
    lost = files.root_key(1).rename(found / "root-1.key")
    (lost_signer,) = signers_in(found)
    (tmp_path / "new").mkdir()
    replace_root_key(
        cloud.state,
        files.offline,
        lost_signer.public_key.keyid[:8],
        files.offline / "root-4.key",
        now_s=cloud.now_s(),
    )
    cloud.signing.step()
    ask(cloud, device)
    assert device.status.root == 2
    forged = Metadata.from_bytes(cloud.signing.root)
    forged.signed.version = 3
    for signer in (read_signer(lost), read_signer(files.root_key(2))):
        forged.sign(signer, append=True)
    bring(device, replace(cloud.bundle(), roots=(forged.to_bytes(),)))
    assert device.status.root == 2
    cloud.rotate()
    ask(cloud, device)
    assert device.status.root == 3 and not device.status.reason


def _endless(size: int) -> tuple[bytes, int]:
    return shrink(bytes(size), 1), size


@pytest.mark.parametrize(
    "make",
    [
        lambda: (b"x" * (MAX_SIGNED_BYTES + 1), 10),
        lambda: _endless(MAX_SIGNED_BYTES + 1),
        lambda: (_endless(64 << 20)[0], MAX_SIGNED_BYTES),  # claims less than it gives
        lambda: (b"", 10),
        lambda: (b"\xff" * 50, 50),
        lambda: pack_signed(SignedBundle(line="a", timestamp=b"x" * (MAX_METADATA_BYTES + 1))),
        lambda: pack_signed(SignedBundle(line="a", roots=(b"x",) * (MAX_ROOTS + 1))),
        lambda: pack_signed(SignedBundle(line="../../etc", timestamp=b"x")),
    ],
)
def test_endless_data_is_refused_before_it_is_unpacked(
    make: Callable[[], tuple[bytes, int]],
) -> None:
    with pytest.raises(UpdateError) as caught:
        unpack_signed(*make())
    assert caught.value.reason is Reason.METADATA_INVALID


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "line_targets", "roots"])
@pytest.mark.parametrize(
    "junk", [b"{}", b"\x00\xff", b"[" * 20_000, b'{"signed": {}}', b"1" * 5000]
)
def test_what_is_no_metadata_is_refused(
    cloud: SigningCloud, fresh: TrustedUpdates, role: str, junk: bytes
) -> None:
    manifest = cloud.publish()
    bring(fresh, replace(cloud.bundle(), **{role: (junk,) if role == "roots" else junk}))
    assert refused(fresh, manifest) is Reason.METADATA_INVALID
    ask(cloud, fresh)
    fresh.check(manifest)
