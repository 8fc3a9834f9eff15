"""A device's link with a certificate, against a cloud with an authority: it enrols, renews in time,
comes back after long, and says in words what is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from driftline_cloud.trust.authority import renew_issuing
from driftline_cloud.trust.issuer import LocalIssuer, Role
from driftline_device.doctor.examination import check_cloud
from driftline_device.doctor.identity import check_identity
from driftline_device.link.channel import open_channel
from driftline_device.link.identity import Identity, enrol_by, identity_in
from driftline_device.link.link import Link
from driftline_device.link.settings import LinkSettings
from driftline_device.spool.sqlite import SqliteSpool
from driftline_shared.errors import LinkError, Reason
from driftline_shared.retry import Backoff
from driftline_shared.rpc.trust import Certified
from driftline_shared.trust.certificates import fingerprint, trouble_with
from driftline_shared.trust.credentials import (
    IDENTITY,
    KEY,
    keep_credentials,
    read_credentials,
)
from driftline_shared.trust.keys import own_key

from .conftest import TIMEOUT_S, Guarded, RunningCloud

pytestmark = pytest.mark.integration


@contextmanager
def _link(guarded: Guarded, state: Path) -> Iterator[tuple[Link, Identity]]:
    identity = identity_in(state, guarded.address)
    assert identity is not None
    spool = SqliteSpool(state / "spool.sqlite", max_bytes=1 << 20, max_samples=10)
    link = Link(
        LinkSettings(
            address=guarded.address, poll_s=0.05, backoff=Backoff(first_s=0.05, cap_s=0.2)
        ),
        lambda: guarded.running.enrolment(identity.device_id),
        spool,
        folder=state / "link",
        identity=identity,
    )
    link.start()
    try:
        yield link, identity
    finally:
        link.stop()
        spool.close()


def _until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not holds():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def _enrolled(guarded: Guarded, state: Path) -> str:
    found = enrol_by(guarded.invitation(guarded.token()), state, label="porch", timeout_s=TIMEOUT_S)
    assert found.chain
    return found.identity


def _age(guarded: Guarded, state: Path, days: float) -> str:
    """Give the device a certificate that has only so long to go; its fingerprint."""
    folder = state / IDENTITY
    public = own_key(folder / KEY).key.public_key()
    chain = LocalIssuer(guarded.authority, days=days).issue(public, Role.DEVICE)
    keep_credentials(
        folder, chain=chain, roots=guarded.authority.roots_pem, address=guarded.address
    )
    return fingerprint(read_credentials(folder).certificate)


def test_a_device_enrols_by_an_invitation_and_its_link_speaks_in_its_name(
    guarded: Guarded, tmp_path: Path
) -> None:
    state = tmp_path / "device"
    identity = _enrolled(guarded, state)
    assert (state / "device_id").read_text().strip() == identity
    with _link(guarded, state) as (link, _):
        _until(lambda: link.stats().connected)
        assert link.check(adapter_version=0, failed_versions=()) is None
        (line,) = link.status().lines
        assert line.num_devices == 1


@pytest.mark.parametrize("minutes_left", [1.0, -1.0], ids=["in time", "after it ended"])
def test_a_certificate_is_renewed_and_what_is_open_goes_on(
    guarded: Guarded, tmp_path: Path, minutes_left: float
) -> None:
    state = tmp_path / "device"
    _enrolled(guarded, state)
    old = _age(guarded, state, minutes_left / 1440)
    with _link(guarded, state) as (link, identity):
        _until(lambda: link.stats().connected)
        _until(lambda: fingerprint(identity.credentials.certificate) != old)
        assert link.check(adapter_version=0, failed_versions=()) is None
    kept = read_credentials(state / IDENTITY)
    assert fingerprint(kept.certificate) == fingerprint(identity.credentials.certificate)
    assert trouble_with(kept.certificate) == ""


def test_a_renewal_that_fails_holds_nothing_up_and_is_not_asked_for_at_every_turn(
    guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "device"
    _enrolled(guarded, state)
    _age(guarded, state, 1.0 / 1440)
    tries: list[str] = []

    def fails(*_: object, **__: object) -> Certified:
        tries.append("")
        raise LinkError("the issuer is away", reason=Reason.INTERNAL)

    monkeypatch.setattr("driftline_shared.rpc.trust.certify", fails)
    with _link(guarded, state) as (link, identity):
        _until(lambda: link.stats().connected)
        assert link.check(adapter_version=0, failed_versions=()) is None
        assert "the issuer is away" in link.stats().last_error
        assert identity.is_good
        for _ in range(20):
            assert not identity.renew(
                link._channel, now_s=time.time(), monotonic_s=time.monotonic(), timeout_s=1.0
            )
    assert len(tries) == 1


def test_one_that_waits_for_an_operator_asks_now_and_then(
    guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "device"
    _enrolled(guarded, state)
    _age(guarded, state, -1.0 / 1440)
    tries: list[str] = []

    def waits(*_: object, **__: object) -> Certified:
        tries.append("")
        return Certified(chain=b"", roots=b"", identity="")

    monkeypatch.setattr("driftline_shared.rpc.trust.enrol", waits)
    identity = identity_in(state, guarded.address)
    assert identity is not None and not identity.is_good
    with open_channel(guarded.address) as channel:
        for second in range(3_600):
            assert not identity.renew(
                channel, now_s=time.time(), monotonic_s=100.0 + second, timeout_s=1.0
            )
    assert 2 <= len(tries) <= 60


def test_a_device_comes_back_by_itself_when_the_issuing_key_was_stolen(
    guarded: Guarded, tmp_path: Path, start_cloud: Callable[..., RunningCloud]
) -> None:
    device = tmp_path / "device"
    _enrolled(guarded, device)
    old = fingerprint(read_credentials(device / IDENTITY).certificate)
    guarded.running.stop_serving()
    state = guarded.running.config.state
    authority = renew_issuing(state, state / "trust" / "root.key", distrust=True)
    after = Guarded(running=start_cloud("state"), authority=authority, database=guarded.database)
    with _link(after, device) as (link, identity):
        _until(lambda: fingerprint(identity.credentials.certificate) != old)
        _until(lambda: link.stats().connected)
        assert link.check(adapter_version=0, failed_versions=()) is None


def test_a_revoked_device_is_told_and_goes_on_when_it_is_let_in_again(
    guarded: Guarded, tmp_path: Path
) -> None:
    state = tmp_path / "device"
    name = _enrolled(guarded, state)
    with _link(guarded, state) as (link, _):
        _until(lambda: link.stats().connected)
        guarded.members.revoke(name, now_unix_s=1)
        _until(lambda: _is_refused(link))
        assert "revoked" in link.stats().last_error
        guarded.members.accept(name, now_unix_s=2)
        _until(lambda: not _is_refused(link))


def _is_refused(link: Link) -> bool:
    try:
        link.check(adapter_version=0, failed_versions=())
    except LinkError as error:
        return error.reason is Reason.REVOKED
    return False


def test_doctor_says_why_a_cloud_is_not_reached(guarded: Guarded, tmp_path: Path) -> None:
    state = tmp_path / "device"
    assert "enrol" in check_cloud(guarded.address, state).fix  # no certificate yet
    name = _enrolled(guarded, state)
    assert check_cloud(guarded.address, state).verdict == "ok"
    who = check_identity(state)
    assert who is not None and who.verdict == "ok" and who.found.startswith(name)
    _age(guarded, state, -1 / 1440)
    ended = check_identity(state)
    assert ended is not None and ended.verdict == "warn" and "ended on" in ended.found
    told = check_cloud(guarded.address, state)
    assert "ended on" in told.found
