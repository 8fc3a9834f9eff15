"""Signed updates, the whole way: a device enrols over TLS, gets the root with its certificate,
installs what its cloud signed, and nothing that somebody released who has all but the keys.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from driftline_cloud.intake.database import Database
from driftline_cloud.lines.book import ACTIVE, DROPPED, LineBook
from driftline_cloud.release.manifests import Lineage
from driftline_cloud.release.packer import pack_exact
from driftline_cloud.release.registry import ReleaseRegistry
from driftline_cloud.release.restore import publish_restored
from driftline_cloud.rounds.board import IDLE
from driftline_cloud.rounds.ledger import RoundLedger
from driftline_cloud.service.assembly import line_of
from driftline_cloud.signing.ceremony import make_signing, rotate
from driftline_cloud.signing.files import SigningFiles
from driftline_cloud.trust.authority import make_authority, read_authority
from driftline_cloud.trust.issuer import Role
from driftline_cloud.trust.tokens import EnrolTokens
from driftline_device.link.channel import open_channel
from driftline_device.link.identity import enrol_by, identity_in
from driftline_device.link.link import Link
from driftline_device.link.settings import LinkSettings
from driftline_device.signatures.opened import open_signatures
from driftline_device.spool.sqlite import SqliteSpool
from driftline_device.updates.applier import Applier
from driftline_shared.errors import LinkError
from driftline_shared.host.clock import SystemClock
from driftline_shared.pair.pair import Pair, load_pair
from driftline_shared.retry import Backoff
from driftline_shared.rpc.status import fetch_status
from driftline_shared.status import CloudStatus, UpdateReport
from driftline_shared.trust.credentials import IDENTITY, UPDATE_ROOT
from driftline_shared.trust.invitation import Invitation
from driftline_shared.update import Adapter, Manifest
from tests.fakes.runtime import FakeRuntime, adapter, base_adapter, probe_set, write_pair
from tests.fakes.trust import credentials
from tests.fakes.waiting import until

from .conftest import TIMEOUT_S, RunningCloud

pytestmark = pytest.mark.integration


class Device:
    """Link, applier and signatures of a device that was enrolled in `state`."""

    def __init__(self, running: RunningCloud, state: Path) -> None:
        pair, address = running.pair, f"127.0.0.1:{running.port}"
        identity = identity_in(state, address)
        assert identity is not None
        self.runtime = FakeRuntime()
        self.runtime.base_model = pair.base_model
        self.signatures = open_signatures(state, pair, base_model=pair.base_model, now_s=time.time)
        self.reports: list[UpdateReport] = []
        self.spool = SqliteSpool(state / "spool.sqlite", max_bytes=1 << 20, max_samples=10)
        self.link = Link(
            LinkSettings(address=address, backoff=Backoff(first_s=0.05, cap_s=0.2)),
            lambda: running.enrolment(identity.device_id),
            self.spool,
            folder=state / "link",
            identity=identity,
            signatures=self.signatures,
        )
        self.applier = Applier(
            state_dir=state,
            runtime=self.runtime,
            pair_name=pair.name,
            token_space=pair.token_space.digest,
            probe_set=probe_set(4),
            clock=SystemClock(),
            signatures=self.signatures,
        )
        self.applier.recover()
        self.link.start()
        until(lambda: self.link.stats().connected, TIMEOUT_S)

    def check(self, *, adapter_version: int, failed_versions: Sequence[int]) -> Manifest | None:
        return self.link.check(adapter_version=adapter_version, failed_versions=failed_versions)

    def fetch(self, manifest: Manifest) -> bytes:
        return self.link.fetch(manifest)

    def report(self, report: UpdateReport) -> None:
        self.reports.append(report)
        self.link.report(report)

    def poll(self) -> None:
        self.applier.poll(self)

    def close(self) -> None:
        self.link.stop()
        self.spool.close()


@dataclass(kw_only=True)
class Site:
    """A cloud's state folder, with who starts and enrols."""

    state: Path
    pair: Pair
    start: Callable[..., RunningCloud]
    running: RunningCloud

    def stop(self) -> None:
        self.running.channel.close()
        self.running.stop_serving()

    def start_again(self) -> None:
        self.running = self.start(self.state.name, pair=self.pair, initial=base_adapter())

    def enrol(self, device_state: Path) -> None:
        database = Database(self.running.config.database)
        token = EnrolTokens(database).make(uses=1, ttl_s=600, now_unix_s=int(time.time()))
        database.close()
        invitation = Invitation(
            address=f"127.0.0.1:{self.running.port}",
            root=read_authority(self.state).fingerprint,
            token=token,
        )
        assert enrol_by(invitation, device_state, label="", timeout_s=TIMEOUT_S).chain

    def status(self) -> CloudStatus:
        """As an operator sees it."""
        shown = credentials(read_authority(self.state), Role.OPERATOR)
        address = f"127.0.0.1:{self.running.port}"
        return fetch_status(address, timeout_s=TIMEOUT_S, credentials=shown)

    @property
    def registry(self) -> ReleaseRegistry:
        """As a worker has it."""
        found = ReleaseRegistry(self.state / "releases")
        found.open_line(line_of(self.pair), base_adapter())
        return found

    def release(self, wanted: Adapter) -> None:
        # No round is under way: whoever starts to work now would see half of a release.
        until(lambda: any(one.state == IDLE for one in self.status().lines[0].workers), TIMEOUT_S)
        registry, line = self.registry, line_of(self.pair).id
        newest = registry.newest_version(line)
        packed = pack_exact(registry.canonical(line, newest), wanted)
        lineage = Lineage(round_id=f"r{newest}", num_samples=1, created_unix_s=1)
        manifest = registry.publish(line, packed, lineage)
        database = Database(self.running.config.database)
        RoundLedger(database).add_version(
            line,
            newest + 1,
            round_id=lineage.round_id,
            digest=manifest.target_digest.hex(),
            now_unix_s=1,
        )
        database.close()


@pytest.fixture
def site(tmp_path: Path, start_cloud: Callable[..., RunningCloud]) -> Site:
    state, pair = tmp_path / "state", load_pair(write_pair(tmp_path / "pair"))
    make_authority(state, name="tests")
    make_signing(state, now_s=time.time(), timestamp_days=1)
    running = start_cloud("state", pair=pair, initial=base_adapter())
    return Site(state=state, pair=pair, start=start_cloud, running=running)


@pytest.fixture
def open_device(site: Site) -> Iterator[Callable[[Path], Device]]:
    opened: list[Device] = []

    def open_(state: Path) -> Device:
        opened.append(Device(site.running, state))
        return opened[-1]

    yield open_
    for device in opened:
        device.close()


def test_a_device_installs_what_its_cloud_signed_and_follows_new_keys(
    site: Site, open_device: Callable[[Path], Device], tmp_path: Path
) -> None:
    site.enrol(tmp_path / "device")
    device = open_device(tmp_path / "device")
    assert device.signatures is not None
    site.release(adapter(skill=1.0))
    device.poll()
    assert device.runtime.version == 1
    publish_restored(
        site.registry, line_of(site.pair).id, 0, round_id="back", created_unix_s=1
    )  # a rollback is a signed act like any
    rotate(site.state, SigningFiles(site.state).offline, now_s=time.time(), timestamp_days=1)

    def rolled_back() -> bool:
        device.poll()
        return device.runtime.version == 2 and device.signatures.status.root == 2

    until(rolled_back, TIMEOUT_S)
    assert [(one.version, str(one.outcome)) for one in device.reports] == [
        (1, "applied"),
        (2, "applied"),
    ]


@pytest.mark.parametrize(
    ("keys", "reasons"),
    # By other keys: told by the signature, or not looked at, as nothing says that it is newer.
    [("none", {"not_signed"}), ("others", {"signature_invalid", "not_signed"})],
)
def test_who_has_all_but_the_signing_keys_makes_no_device_install_anything(
    site: Site, open_device: Callable[[Path], Device], tmp_path: Path, keys: str, reasons: set[str]
) -> None:
    site.enrol(tmp_path / "device")
    device = open_device(tmp_path / "device")
    site.release(adapter(skill=1.0))
    device.poll()
    device.close()
    site.stop()
    shutil.rmtree(site.state / "trust" / "updates")
    if keys == "others":
        shutil.rmtree(site.state / "trust" / "offline")
        make_signing(site.state, now_s=time.time(), timestamp_days=1)
    site.start_again()
    device = open_device(tmp_path / "device")
    site.release(adapter(skill=2.0))
    device.poll()
    device.poll()
    assert device.runtime.version == 1
    assert {str(one.outcome) for one in device.reports} == {"refused"}
    assert {str(one.reason) for one in device.reports} <= reasons


def test_a_device_that_was_enrolled_before_takes_unsigned_updates(
    site: Site, open_device: Callable[[Path], Device], tmp_path: Path
) -> None:
    site.enrol(tmp_path / "device")
    (tmp_path / "device" / IDENTITY / UPDATE_ROOT).unlink()
    device = open_device(tmp_path / "device")
    assert device.signatures is None
    site.release(adapter(skill=1.0))
    device.poll()
    assert device.runtime.version == 1


def test_a_renewal_never_replaces_the_root(site: Site, tmp_path: Path) -> None:
    state = tmp_path / "device"
    site.enrol(state)
    root = state / IDENTITY / UPDATE_ROOT
    was = root.read_bytes()
    rotate(site.state, SigningFiles(site.state).offline, now_s=time.time(), timestamp_days=1)
    identity = identity_in(state, f"127.0.0.1:{site.running.port}")
    assert identity is not None
    due_s = time.time() + 25 * 86_400
    with open_channel(f"127.0.0.1:{site.running.port}", identity.credentials) as channel:
        assert identity.renew(channel, now_s=due_s, monotonic_s=0.0, timeout_s=TIMEOUT_S)
        assert root.read_bytes() == was
        root.unlink()  # as of a device that was enrolled before updates were signed
        assert identity.renew(
            channel, now_s=due_s + 30 * 86_400, monotonic_s=1e6, timeout_s=TIMEOUT_S
        )
    assert b'"root"' in root.read_bytes()


def test_a_cloud_that_cannot_sign_serves_and_says_so(
    site: Site, open_device: Callable[[Path], Device], tmp_path: Path
) -> None:
    site.enrol(tmp_path / "device")
    device = open_device(tmp_path / "device")
    site.release(adapter(skill=1.0))
    device.poll()
    device.close()
    site.stop()
    key = SigningFiles(site.state).key("targets")
    kept = key.read_bytes()
    key.unlink()
    site.start_again()
    assert "targets.key is missing" in " ".join(site.status().troubles)
    device = open_device(tmp_path / "device")
    site.release(adapter(skill=2.0))
    device.poll()
    assert device.runtime.version == 1 and not device.signatures.status.reason  # type: ignore[union-attr]
    site.enrol(tmp_path / "other")
    assert b'"root"' in (tmp_path / "other" / IDENTITY / UPDATE_ROOT).read_bytes()
    key.write_bytes(kept)
    until(lambda: not site.status().troubles, TIMEOUT_S)
    until(lambda: device.poll() or device.runtime.version == 2, TIMEOUT_S)


def test_nobody_is_let_in_while_no_root_can_be_given(site: Site, tmp_path: Path) -> None:
    site.stop()
    root = SigningFiles(site.state).root(1)
    kept = root.read_bytes()
    root.write_bytes(b"{")
    site.start_again()
    with pytest.raises(LinkError, match="root that vouches"):
        site.enrol(tmp_path / "device")
    root.write_bytes(kept)
    until(lambda: not site.status().troubles, TIMEOUT_S)
    site.enrol(tmp_path / "device")


def test_a_line_that_is_dropped_loses_its_key_and_its_devices_are_told(
    site: Site, open_device: Callable[[Path], Device], tmp_path: Path
) -> None:
    site.enrol(tmp_path / "device")
    device = open_device(tmp_path / "device")
    site.release(adapter(skill=1.0))
    device.poll()
    files, line = SigningFiles(site.state), line_of(site.pair).id
    assert files.line(line).exists()
    database = Database(site.running.config.database)
    book = LineBook(database)
    book.set_state(line, DROPPED, now_unix_s=int(time.time()))
    until(lambda: not files.line(line).exists() and not files.line_key(line).exists(), TIMEOUT_S)

    def is_told() -> bool:
        with suppress(LinkError):
            device.poll()
        return "was dropped" in device.link.stats().last_error

    until(is_told, TIMEOUT_S)
    assert device.runtime.version == 1  # it answers on
    book.set_state(line, ACTIVE, now_unix_s=int(time.time()))
    until(lambda: files.line(line).exists(), TIMEOUT_S)
    database.close()
