"""The authority's root is rolled over: who comes in between stays connected, who did not enrols
anew; a real cloud on loopback, started anew at each step, and real links.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from driftline_cloud.cli import app
from driftline_cloud.intake.database import Database
from driftline_cloud.trust.authority import make_authority, read_authority
from driftline_cloud.trust.issuer import LocalIssuer, Role
from driftline_cloud.trust.rollover import served_since
from driftline_device.link.channel import open_channel
from driftline_device.link.identity import enrol_by, identity_in
from driftline_shared.errors import DataError, LinkError, Reason
from driftline_shared.rpc.status import fetch_status
from driftline_shared.rpc.trust import enrol
from driftline_shared.trust.certificates import fingerprint, leads_to, read_chain
from driftline_shared.trust.credentials import (
    IDENTITY,
    KEY,
    Credentials,
    keep_credentials,
    read_credentials,
)
from driftline_shared.trust.keys import new_key, own_key
from tests.fakes.waiting import until

from .conftest import TIMEOUT_S, Guarded, RunningCloud

pytestmark = pytest.mark.integration


def _run(*words: str) -> Any:
    done = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.fixture
def serve(start_cloud: Callable[..., RunningCloud], tmp_path: Path) -> Any:
    """A cloud on the authority as it is now, until the block ends."""

    @contextmanager
    def serving() -> Iterator[Guarded]:
        running = start_cloud("state")
        database = Database(running.config.database)
        try:
            yield Guarded(
                running=running, authority=read_authority(tmp_path / "state"), database=database
            )
        finally:
            database.close()
            running.stop_serving()

    return serving


def _renewed(guarded: Guarded, state: Path) -> Credentials:
    """What the device has after it renewed over the link that its certificate opens."""
    identity = identity_in(state, guarded.address)
    assert identity is not None
    identity.doubt()
    with open_channel(guarded.address, identity.credentials) as channel:
        assert identity.renew(
            channel, now_s=time.time(), monotonic_s=time.monotonic(), timeout_s=TIMEOUT_S
        )
    return read_credentials(state / IDENTITY)


def _is_taken(guarded: Guarded, shown: Credentials) -> bool:
    try:
        fetch_status(guarded.address, timeout_s=TIMEOUT_S, credentials=shown)
    except LinkError as error:
        if error.reason is Reason.UNKNOWN_DEVICE:  # known by its certificate, and on no line yet
            return True
        assert error.reason in (Reason.UNREACHABLE, Reason.AUTHORITY_UNKNOWN), error
        return False
    return True


def test_a_root_is_rolled_over_while_devices_stay(serve: Any, tmp_path: Path) -> None:
    state, safe = tmp_path / "state", tmp_path / "safe" / "root-2.key"
    old = make_authority(state, name="tests").root
    given = ["renew-root", "--state", str(state)]
    comes, late, away = (tmp_path / name for name in ("comes", "late", "away"))
    with serve() as guarded:
        for folder in (comes, late, away):
            found = enrol_by(
                guarded.invitation(guarded.token()), folder, label="", timeout_s=TIMEOUT_S
            )
            assert found.chain
    told = _run(*given, "--out", str(safe))
    assert told["offline"] == [str(safe)] and safe.is_file()

    with serve() as guarded:  # both roots
        assert guarded.authority.fingerprint == fingerprint(old), "invitations name the old one"
        assert all(_is_taken(guarded, read_credentials(one / IDENTITY)) for one in (comes, away))
        (new,) = [one for one in read_chain(guarded.authority.roots_pem) if one != old]
        assert fingerprint(new) == told["fingerprint"]
        # Certificates end on a second: those of the first one could be of the cloud before.
        until(lambda: time.time() > served_since(state) + 1)
        kept = _renewed(guarded, comes)
        assert {fingerprint(one) for one in read_chain(kept.roots)} == {
            fingerprint(old),
            fingerprint(new),
        }
        assert leads_to(read_chain(kept.chain), new)
        assert _is_taken(guarded, kept)
        # Who is new now is in, too, by an invitation that names the old root.
        fresh = new_key()
        invitation = guarded.invitation(guarded.token())
        newcomer = enrol(invitation, fresh, label="", timeout_s=TIMEOUT_S)
        assert _is_taken(
            guarded,
            Credentials(key=fresh.key_pem, chain=newcomer.chain, roots=newcomer.roots),
        )
        _renewed(guarded, late)
    # One whose leaf ended after that: it knows both roots, and comes back by itself.
    _ends(state, late)
    assert len(_run(*given)["yet_to_come"]) == 1
    with pytest.raises(DataError, match="1 devices know the old root alone"):
        _run(*given, "--finish")
    _run(*given, "--finish", "--force")

    with serve() as guarded:  # the new one alone
        assert guarded.authority.fingerprint == fingerprint(new)
        assert read_chain(guarded.authority.roots_pem) == [new]
        assert _is_taken(guarded, read_credentials(comes / IDENTITY))
        assert not _is_taken(guarded, read_credentials(away / IDENTITY))
        back = _renewed(guarded, late)
        assert [fingerprint(one) for one in read_chain(back.roots)] == [fingerprint(new)]
        again = _renewed(guarded, comes)
        assert _is_taken(guarded, again)
        found = enrol_by(guarded.invitation(guarded.token()), away, label="", timeout_s=TIMEOUT_S)
        assert found.chain and _is_taken(guarded, read_credentials(away / IDENTITY))
    assert _run("renew-issuing", "--root-key", str(safe), "--state", str(state))["ends"]


def _ends(state: Path, device: Path) -> None:
    """The device's certificate has ended; what else it has stays."""
    folder = device / IDENTITY
    before = read_credentials(folder)
    public = own_key(folder / KEY).key.public_key()
    chain = LocalIssuer(read_authority(state), days=-1 / 1440).issue(public, Role.DEVICE)
    keep_credentials(folder, chain=chain, roots=before.roots, address="127.0.0.1:1")
