"""A cloud with an authority, by real TLS on loopback: who gets in, and who is told what."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from driftline_cloud.intake.database import Database
from driftline_cloud.trust.authority import make_authority
from driftline_cloud.trust.issuer import Role
from driftline_cloud.trust.members import State
from driftline_cloud.trust.tokens import EnrolTokens
from driftline_cloud.trust.trust import open_trust
from driftline_proto.v1 import (
    control_pb2,
    control_pb2_grpc,
    downlink_pb2,
    downlink_pb2_grpc,
    trust_pb2,
    trust_pb2_grpc,
    uplink_pb2,
    uplink_pb2_grpc,
)
from driftline_shared import wire
from driftline_shared.errors import LinkError, Reason
from driftline_shared.rpc import trust
from driftline_shared.rpc.channel import open_channel
from driftline_shared.rpc.status import fetch_status
from driftline_shared.trust.credentials import KEY, Credentials, keep_credentials
from driftline_shared.trust.invitation import Invitation
from driftline_shared.trust.keys import new_key, write_key
from tests.fakes.cloud import make_sample
from tests.fakes.samples import as_sent
from tests.fakes.trust import credentials, ended, foreigner, forged, stranger

from .conftest import TIMEOUT_S, Guarded, RunningCloud

pytestmark = pytest.mark.integration


def _outcome(call: Callable[[], Any]) -> str:
    """How a call ended: `ok`, the reason that it was refused for, or the bare status."""
    try:
        call()
    except grpc.RpcError as error:
        assert isinstance(error, grpc.Call)
        return dict(error.trailing_metadata() or ()).get(wire.REASON_KEY) or error.code().name
    return "ok"


def _calls(channel: grpc.Channel, device_id: str) -> dict[str, Callable[[], Any]]:
    """Every method, in the name of `device_id` where there is one."""
    control = control_pb2_grpc.ControlStub(channel)
    downlink = downlink_pb2_grpc.DownlinkStub(channel)
    batch = uplink_pb2.SampleBatch(device_id=device_id, token_space="x")
    push = uplink_pb2_grpc.UplinkStub(channel).Push
    named: dict[str, Any] = {"device_id": device_id}
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    reflection = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
    limit: dict[str, Any] = {"timeout": TIMEOUT_S}
    return {
        "Roots": lambda: trust_pb2_grpc.TrustStub(channel).Roots(trust_pb2.RootsRequest(), **limit),
        "Enrol": lambda: control.Enrol(control_pb2.EnrolRequest(**named), **limit),
        "GetPolicy": lambda: control.GetPolicy(control_pb2.PolicyRequest(**named), **limit),
        "GetStatus": lambda: control.GetStatus(control_pb2.StatusRequest(), **limit),
        "StartRound": lambda: control.StartRound(control_pb2.StartRoundRequest(), **limit),
        "Push": lambda: list(push(map(as_sent, [batch]), **limit)),
        "Check": lambda: downlink.Check(downlink_pb2.CheckRequest(**named), **limit),
        "Fetch": lambda: list(downlink.Fetch(downlink_pb2.FetchRequest(**named), **limit)),
        "Report": lambda: downlink.Report(downlink_pb2.ReportRequest(**named), **limit),
        "health": lambda: health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), **limit
        ),
        "reflection": lambda: list(reflection(iter([asked]), **limit)),
    }


_DEVICES = {"Enrol", "GetPolicy", "Push", "Check", "Fetch", "Report"}
_OPEN = {"Roots", "health"}


def test_no_certificate_another_authority_and_an_ended_one_get_no_connection(
    guarded: Guarded, tmp_path: Path
) -> None:
    shown = {
        "nothing": None,
        "another authority": foreigner(guarded.authority, tmp_path / "elsewhere"),
        "ended": ended(guarded.authority, Role.DEVICE),
    }
    for name, shows in shown.items():
        with open_channel(guarded.address, credentials=shows) as channel:
            found = {call: _outcome(do) for call, do in _calls(channel, "d" * 32).items()}
        assert set(found.values()) == {"UNAVAILABLE"}, name


@pytest.mark.parametrize("forges", [False, True])
def test_a_newcomer_may_ask_to_be_let_in_and_nothing_else(guarded: Guarded, forges: bool) -> None:
    shows = (
        # TLS alone takes it: the newcomers' authority is trusted, whatever it says of path lengths.
        forged(guarded.authority, Role.OPERATOR) if forges else stranger(guarded.authority)
    )
    with open_channel(guarded.address, credentials=shows) as channel:
        found = {call: _outcome(do) for call, do in _calls(channel, "d" * 32).items()}
    wanted = dict.fromkeys(found, str(Reason.NOT_ENROLLED)) | dict.fromkeys(_OPEN, "ok")
    assert found == wanted | {"reflection": "UNIMPLEMENTED"}


def test_a_device_gives_no_orders_and_speaks_for_itself_alone(guarded: Guarded) -> None:
    mine, other = guarded.device(), guarded.device()
    with open_channel(guarded.address, credentials=mine) as channel:
        found = {call: _outcome(do) for call, do in _calls(channel, other.identity).items()}
        own = {call: _outcome(do) for call, do in _calls(channel, mine.identity).items()}
    assert {found[call] for call in _DEVICES} == {str(Reason.NOT_YOUR_ID)}
    assert found["StartRound"] == Reason.NOT_ALLOWED
    assert not {str(Reason.NOT_YOUR_ID), str(Reason.NOT_ALLOWED)} & {own[call] for call in _DEVICES}
    assert own["GetPolicy"] == own["Push"] == "ok"


def test_a_device_sees_its_own_line_and_no_device(guarded: Guarded) -> None:
    mine, _other = guarded.device(), guarded.device()
    reader = credentials(guarded.authority, Role.READER)
    (line,) = fetch_status(guarded.address, credentials=mine).lines
    assert line.num_devices == 2
    assert line.devices == line.workers == ()
    (line,) = fetch_status(guarded.address, credentials=reader).lines
    assert {one.device_id for one in line.devices} >= {mine.identity}


def test_who_looks_changes_nothing_and_who_operates_is_no_device(guarded: Guarded) -> None:
    wanted = {Role.READER: Reason.NOT_ALLOWED, Role.OPERATOR: Reason.TOO_FEW_SAMPLES}
    for role, start in wanted.items():
        with open_channel(
            guarded.address, credentials=credentials(guarded.authority, role)
        ) as channel:
            found = {call: _outcome(do) for call, do in _calls(channel, "d" * 32).items()}
        assert found["GetStatus"] == "ok"
        assert found["StartRound"] == start
        assert {found[call] for call in _DEVICES} == {str(Reason.NOT_ALLOWED)}


def test_who_is_revoked_is_refused_and_its_open_stream_ends_within_a_second(
    guarded: Guarded,
) -> None:
    mine, other = guarded.device(), guarded.device()
    waiting, begun = threading.Event(), threading.Event()
    ended_after: list[tuple[str, float]] = []

    def stream(shows: Credentials) -> None:
        def batches() -> Iterator[Any]:
            space = guarded.running.pair.token_space
            sample = wire.to_sample(make_sample(1, space))
            batch = uplink_pb2.SampleBatch(
                device_id=shows.identity, token_space=space.digest, samples=[sample]
            )
            yield as_sent(batch)
            waiting.wait(TIMEOUT_S)

        def pull() -> None:
            with open_channel(guarded.address, credentials=shows) as channel:
                for _reply in uplink_pb2_grpc.UplinkStub(channel).Push(batches()):
                    begun.set()

        how = _outcome(pull)
        ended_after.append((how, time.monotonic()))

    thread = threading.Thread(target=stream, args=(mine,))
    thread.start()
    assert begun.wait(TIMEOUT_S)
    guarded.members.revoke(mine.identity, now_unix_s=1)
    at_s = time.monotonic()
    thread.join(TIMEOUT_S)
    waiting.set()
    ((how, ended_s),) = ended_after
    assert how == Reason.REVOKED
    assert ended_s - at_s < TIMEOUT_S / 2  # a second is what the guard looks in, see its bench
    with open_channel(guarded.address, credentials=mine) as channel:
        assert set(map(_outcome, _calls(channel, mine.identity).values())) >= {str(Reason.REVOKED)}
        assert _outcome(_calls(channel, mine.identity)["GetPolicy"]) == Reason.REVOKED
    with open_channel(guarded.address, credentials=other) as channel:
        assert _outcome(_calls(channel, other.identity)["GetPolicy"]) == "ok"
    with pytest.raises(LinkError) as caught:
        trust.enrol(guarded.invitation(guarded.token()), _key_of(mine), label="")
    assert caught.value.reason is Reason.REVOKED


def _key_of(shows: Credentials) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from driftline_shared.trust.keys import FileKey

    return FileKey(load_pem_private_key(shows.key, None))  # type: ignore[arg-type]


def test_a_certificate_that_ends_ends_what_is_open_with_it(guarded: Guarded) -> None:
    shows = credentials(guarded.authority, Role.OPERATOR, days=3 / 86_400)
    health = health_pb2.HealthCheckRequest()
    with open_channel(guarded.address, credentials=shows) as channel:
        calls = _calls(channel, shows.identity)
        assert calls["GetStatus"]()
        watching = health_pb2_grpc.HealthStub(channel).Watch(health, timeout=TIMEOUT_S)
        assert _outcome(lambda: list(watching)) == Reason.NOT_ENROLLED
        assert _outcome(calls["GetStatus"]) == Reason.NOT_ENROLLED


def test_whom_init_made_can_be_revoked_too(guarded: Guarded, tmp_path: Path) -> None:
    """`driftline cloud init` does it before there is a database; the next start knows them."""
    found = credentials(guarded.authority, Role.OPERATOR)
    folder = tmp_path / "state" / "trust" / "operator"
    keep_credentials(folder, chain=found.chain, roots=found.roots, address="")
    write_key(folder / KEY, _key_of(found))
    open_trust(tmp_path / "state", guarded.database, now_s=time.time, days=30.0)
    guarded.members.revoke(found.identity, now_unix_s=1)
    with open_channel(guarded.address, credentials=found) as channel:
        while _outcome(_calls(channel, found.identity)["GetStatus"]) == "ok":
            time.sleep(0.05)
        assert _outcome(_calls(channel, found.identity)["GetStatus"]) == Reason.REVOKED


def test_a_token_lets_in_as_many_as_it_says_and_each_again(guarded: Guarded) -> None:
    invited = guarded.invitation(guarded.token(uses=2))
    first, second, third = new_key(), new_key(), new_key()
    assert trust.enrol(invited, first, label="porch").chain
    assert trust.enrol(invited, first, label="porch").chain  # its reply was lost, say
    assert trust.enrol(invited, second, label="").chain
    with pytest.raises(LinkError) as caught:
        trust.enrol(invited, third, label="")
    assert caught.value.reason is Reason.TOKEN_INVALID
    assert [one.label for one in guarded.members.listed() if one.label] == ["porch"]


def test_without_a_token_an_operator_decides(guarded: Guarded) -> None:
    key = new_key()
    assert not trust.enrol(guarded.invitation(), key, label="porch").chain
    (waits,) = guarded.members.listed([State.PENDING])
    assert (waits.identity, waits.label) == (key.identity, "porch")
    guarded.members.accept(key.identity[:12], now_unix_s=1)
    found = trust.enrol(guarded.invitation(), key, label="porch")
    shows = Credentials(key=key.key_pem, chain=found.chain, roots=found.roots)
    with open_channel(guarded.address, credentials=shows) as channel:
        assert trust.certify(channel, key).chain != found.chain  # renewed over the same link


def test_a_cloud_that_is_not_the_one_that_invited_is_told_nothing(
    guarded: Guarded, tmp_path: Path
) -> None:
    other = make_authority(tmp_path / "other", name="other")
    token = guarded.token()
    false = Invitation(address=guarded.address, root=other.fingerprint, token=token)
    with pytest.raises(LinkError) as caught:
        trust.enrol(false, new_key(), label="")
    assert caught.value.reason is Reason.AUTHORITY_UNKNOWN
    assert EnrolTokens(guarded.database).listed(now_unix_s=0)[0].uses_left == 1
    # Nor does a device that is enrolled take it for its own.
    shows = credentials(other, Role.DEVICE)
    mixed = credentials(guarded.authority, Role.DEVICE)
    for one in (shows, Credentials(key=mixed.key, chain=mixed.chain, roots=shows.roots)):
        with open_channel(guarded.address, credentials=one) as channel:
            assert _outcome(_calls(channel, "d" * 32)["health"]) == "UNAVAILABLE"


def test_the_servers_certificate_changes_at_every_handshake_and_no_call_fails(
    tmp_path: Path, start_cloud: Callable[..., RunningCloud]
) -> None:
    authority = make_authority(tmp_path / "state", name="tests")
    # Two thirds of its time have passed when it is made, for it is dated back by five minutes.
    running = start_cloud("state", **{"trust.certificate_days": 2.4 / 1440})
    with contextlib.closing(Database(running.config.database)) as database:
        guarded = Guarded(running=running, authority=authority, database=database)
        shows = guarded.device()
        halt, found, seen = threading.Event(), [], set()

        def call() -> None:
            while not halt.is_set():
                with open_channel(guarded.address, credentials=shows) as channel:
                    for _ in range(3):
                        found.append(_outcome(_calls(channel, shows.identity)["GetPolicy"]))

        with open_channel(guarded.address, credentials=shows) as stays:
            threads = [threading.Thread(target=call) for _ in range(2)]
            for thread in threads:
                thread.start()
            try:
                while len(seen) < 100:
                    seen.add(_shown_at(running.port))
                    found.append(_outcome(_calls(stays, shows.identity)["health"]))
            finally:
                halt.set()
                for thread in threads:
                    thread.join(TIMEOUT_S)
    assert set(found) == {"ok"}


def _shown_at(port: int) -> bytes | None:
    """The certificate of a handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as plain,
        context.wrap_socket(plain) as connection,
    ):
        return connection.getpeercert(binary_form=True)
